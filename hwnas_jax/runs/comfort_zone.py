"""SurgeNAS's Comfort Zone: larger for nothing (Luo et al. 2022; research 7.1).

A device seldom uses all its arithmetic on a small network: channels that fill
up its vectors, or pixels that fill up its cores, can cost no time. A found
network is scaled in width and resolution, and every network that this gives is
compiled and measured. The knee is the one of most multiply-accumulates that
takes no more than a tolerance above the found network's latency, and does so
again: the largest of many noisy medians that fit is often one that was lucky,
so it is measured anew beside the found network, and the next smaller one after
it if it does not hold.

The paper gives no procedure: this is a reconstruction. All of the grid is
measured, and the knee may lie beyond a smaller network that takes too long:
latency need not rise with width (more channels may fill a vector that fewer
leave half empty), and one unlucky median must not end the search. Networks
beyond the knee are what shows that it is one.
"""

import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from hwnas_jax.core.types import Genotype
from hwnas_jax.costs import counts
from hwnas_jax.costs.measure import timing
from hwnas_jax.io import versions
from hwnas_jax.io.progress import Progress
from hwnas_jax.io.records import ComfortZone, Measurement, ScaledNetwork
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.nets.models import kind_of
from hwnas_jax.report import scaling
from hwnas_jax.report.html import write_report
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.spec import Spec

GROUP = 8  # networks measured in turn
AGAIN = 3  # more times that a candidate is measured, each beside the own one

WIDTHS = (1.25, 1.5, 1.75, 2.0, 2.5, 3.0)
SIDES = (1.25, 1.5)
TOLERANCE = 0.02


class Measure(Protocol):
  """A device: measures one architecture at several dimensions, in turn."""

  def __call__(self, nets: Sequence[Spec], /) -> list[Measurement]:
    """Their latencies in ms."""


class Grid(NamedTuple):
  """What is tried, and what counts as no longer.

  widths, sides: factors of channels and of the image's sides, beside 1.
  tolerance: of the network's latency, that a larger one may take more.
  """

  widths: tuple[float, ...] = WIDTHS
  sides: tuple[float, ...] = SIDES
  tolerance: float = TOLERANCE


class Point(NamedTuple):
  """A network by its real size, whatever factors were tried.

  channels: of the layers that are searched, the fewest and the most.
  image: (height, width).
  """

  channels: tuple[int, int]
  image: tuple[int, int]
  macs: int
  params: int
  latency: Measurement


def scaled(net: Spec, width: float, side: float) -> Spec:
  """The networks of a space, wider and of larger images.

  Channels go up in multiples of 8, sides in multiples of 4.

  Raises:
    ValueError: a user's own model, whose shapes are its own.
  """
  widen = kind_of(net).widen
  if widen is None:
    raise ValueError("a model of your own has no width to scale")
  return widen(net, width, side)


def explore(
  net: Spec,
  genotype: Genotype,
  grid: Grid,
  measure: Measure,
) -> dict[Spec, Point]:
  """Measures a network at every width and side, the first as it is.

  Args:
    net: the network's dimensions.
    genotype: the network.
    grid: what is tried.
    measure: the device.

  Returns:
    One point a network: several factors may round to the same channels.
  """
  factors = itertools.product(
    sorted({1.0, *grid.widths}), sorted({1.0, *grid.sides})
  )
  # By space: chains of different widths may have the same channels.
  different = {net.space(): net}
  for width, side in factors:
    other = scaled(net, width, side)
    different.setdefault(other.space(), other)
  nets = list(different.values())
  return {
    one: Point(*_size(one), *_counts(one, genotype), latency)
    for one, latency in zip(nets, measure(nets), strict=True)
  }


def _size(net: Spec) -> tuple[tuple[int, int], tuple[int, int]]:
  """(fewest and most channels of the searched layers, image)."""
  rows = net.space().sites
  channels = {s.channels_out for row in rows for cell in row for s in cell}
  return (min(channels), max(channels)), net.image[:2]


def _counts(net: Spec, genotype: Genotype) -> tuple[int, int]:
  """(multiply-accumulates, parameters) of a network."""
  macs, params = (
    counts.genotype_cost(net, genotype, counts.site_costs(net.space(), count))
    for count in (counts.macs, counts.params)
  )
  return int(macs), int(params)


def knee(
  points: Mapping[Spec, Point], tolerance: float, measure: Measure
) -> tuple[Spec, dict[Spec, list[float]]]:
  """The most work that fits into the first point's time, and does so again.

  Args:
    points: of `explore`.
    tolerance: of the first point's latency, that the knee may take more.
    measure: the device.

  Returns:
    (the knee, which is the first where nothing larger holds; the latency of
    every candidate over the first's, each of the AGAIN times that the two were
    measured together). A candidate holds if the median does.
  """
  first, *others = points
  limit_ms = (1 + tolerance) * points[first].latency.median_ms
  fits = [
    net
    for net in others
    if points[net].macs > points[first].macs
    and points[net].latency.median_ms <= limit_ms
  ]
  again: dict[Spec, list[float]] = {}
  for net in sorted(fits, key=lambda n: points[n].macs, reverse=True):
    pairs = [measure([first, net]) for _ in range(AGAIN)]
    again[net] = [m.median_ms / base.median_ms for base, m in pairs]
    if statistics.median(again[net]) <= 1 + tolerance:
      return net, again
  return first, again


def overrides(net: Spec, wanted: Spec) -> tuple[str, ...]:
  """The flags that make a run's networks as wide as a scaled one.

  Args:
    net: the run's.
    wanted: of `scaled`.
  """
  say = kind_of(net).overrides
  fields = say(net, wanted) if say else []
  return tuple(f"--config.{field}={value}" for field, value in fields)


def _record(
  first: Spec,
  net: Spec,
  points: Mapping[Spec, Point],
  again: Mapping[Spec, list[float]],
) -> ScaledNetwork:
  """A point as comfort.json has it."""
  point = points[net]
  once = point.latency.median_ms / points[first].latency.median_ms
  return ScaledNetwork(
    channels=point.channels,
    image=point.image,
    macs=point.macs,
    params=point.params,
    latency=point.latency,
    over_found=(once, *again.get(net, [])),
    overrides=overrides(first, net),
    needs_images=None if net.image == first.image else net.image[:2],
  )


def measure_here(genotype: Genotype, batch_size: int, repeats: int) -> Measure:
  """Measures on this device, a few networks at a time, each with the first."""

  def measure(nets: Sequence[Spec]) -> list[Measurement]:
    first, *others = nets
    latencies: list[Measurement] = []
    starts = range(0, len(others), GROUP) if others else [0]
    with Progress(len(nets), "comfort zone") as progress:
      for start in starts:
        group = [first, *others[start : start + GROUP]]
        rows = _measure(group, genotype, batch_size, repeats)
        ratio = latencies[0].median_ms / rows[0].median_ms if latencies else 1.0
        # The first network's time in each group shows a drift of the device.
        rows = [
          Measurement(ratio * m.median_ms, ratio * m.iqr_ms) for m in rows
        ]
        latencies += rows[1:] if latencies else rows
        progress.update(len(latencies))
    return latencies

  return measure


def _measure(
  nets: Sequence[Spec], genotype: Genotype, batch_size: int, repeats: int
) -> list[Measurement]:
  compiled = {
    str(i): timing.compile_network(net, genotype, batch_size)
    for i, net in enumerate(nets)
  }
  return list(timing.measure_networks(compiled, repeats).values())


def run(
  folder: RunFolder,
  net: Spec,
  genotype: Genotype,
  grid: Grid,
  measure: Measure,
) -> ComfortZone:
  """Explores a run's network; writes its comfort.json and comfort.svg.

  Args:
    folder: the run's; its report is written again.
    net: the run's networks.
    genotype: the network.
    grid: what is tried.
    measure: the device, as of `measure_here`.

  Raises:
    ValueError: its space cannot be scaled.
  """
  points = explore(net, genotype, grid, measure)
  best, again = knee(points, grid.tolerance, measure)
  rows = {one: _record(net, one, points, again) for one in points}
  home = folder.network(architecture.identity(net.space(), genotype))
  zone = ComfortZone(
    id=home.id,
    batch_size=folder.settings().config["latency"]["batch_size"],
    tolerance=grid.tolerance,
    knee=rows[best],
    points=tuple(rows.values()),
    versions=versions.versions(),
    device=versions.device_fingerprint(),
  )
  home.write_comfort_zone(zone)
  scaling.figure(zone).savefig(home.comfort_figure)
  if folder.family():
    write_report(folder)
  return zone
