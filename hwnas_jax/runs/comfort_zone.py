"""SurgeNAS's Comfort Zone: a larger network that takes no more time.

A small network seldom uses all the arithmetic of a device: channels that fill
its vectors, or pixels that fill its cores, can cost no time. So a derived
network is scaled in width and image size, and every scaled network is compiled
and measured. The knee is the one with most multiply-accumulates whose latency
exceeds that of the unscaled network by at most a tolerance. Of many noisy
medians the largest that fits is often a lucky one, so a candidate is measured
again beside the unscaled network; if it is too slow then, the next smaller
candidate is measured.

This is a reconstruction (docs/latency.md#comfort-zone). The whole grid is
measured, because latency need not rise with width (more channels may fill a
vector that fewer leave half empty), and because one unlucky median must not end
the search. So a smaller network than the knee may take too long.
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
from hwnas_jax.nets.models import kind_of, scaled
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.spec import Spec

GROUP = 8  # scaled networks measured in turn, with the unscaled one
AGAIN = 3  # times that a candidate is measured again, beside the unscaled one

WIDTHS = (1.25, 1.5, 1.75, 2.0, 2.5, 3.0)
SIDES = (1.25, 1.5)
TOLERANCE = 0.02


class Measure(Protocol):
  """A device: measures one architecture in networks of several sizes."""

  def __call__(self, nets: Sequence[Spec], /) -> list[Measurement]:
    """The latency of each network in ms; the networks run in turn."""


class Grid(NamedTuple):
  """Which scaled networks are measured, and how slow the knee may be.

  widths, sides: factors of channels and of the image's sides; 1 is always
    measured too.
  tolerance: share of the unscaled latency by which the knee may exceed it.
  """

  widths: tuple[float, ...] = WIDTHS
  sides: tuple[float, ...] = SIDES
  tolerance: float = TOLERANCE


class Point(NamedTuple):
  """A scaled network: its sizes after rounding, and its latency.

  channels: fewest and most of the searched layers.
  image: (height, width).
  """

  channels: tuple[int, int]
  image: tuple[int, int]
  macs: int
  params: int
  latency: Measurement


def explore(
  net: Spec,
  genotype: Genotype,
  grid: Grid,
  measure: Measure,
) -> dict[Spec, Point]:
  """Measures an architecture at every width and side of a grid.

  Args:
    net: the dimensions of the unscaled network.
    genotype: the architecture.
    grid: the factors.
    measure: the device.

  Returns:
    One point for each different network, the unscaled one first. Several
    factors may round to the same channels.
  """
  factors = itertools.product(
    sorted({1.0, *grid.widths}), sorted({1.0, *grid.sides})
  )
  # Keyed by space: chains of different widths may have the same channels.
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
  """The network of most multiply-accumulates that is no slower than the first.

  Args:
    points: of `explore`; the first is the unscaled network.
    tolerance: share of the first latency by which the knee may exceed it.
    measure: the device.

  Returns:
    (the knee, which is the first network if no larger one is fast enough;
    {candidate: its latency over the first's, AGAIN times}). A candidate is fast
    enough if the median of these ratios is at most 1 + tolerance.
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
  """The config flags that make a run's networks as wide as a scaled one.

  Args:
    net: the dimensions of the run's networks.
    wanted: dimensions that `nets.models.scaled` returned.
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


def measure_here(
  genotype: Genotype,
  batch_size: int,
  repeats: int,
  dtype: str = "float32",
) -> Measure:
  """Makes a `Measure` for this device, GROUP networks at a time.

  The first network is in every group: its latencies show how the device drifts
  from group to group, and the others are corrected by it.
  """

  def measure(nets: Sequence[Spec]) -> list[Measurement]:
    first, *others = nets
    latencies: list[Measurement] = []
    starts = range(0, len(others), GROUP) if others else [0]
    with Progress(len(nets), "comfort zone") as progress:
      for start in starts:
        group = [first, *others[start : start + GROUP]]
        rows = _measure(group, genotype, batch_size, repeats, dtype)
        ratio = latencies[0].median_ms / rows[0].median_ms if latencies else 1.0
        rows = [
          Measurement(ratio * m.median_ms, ratio * m.iqr_ms) for m in rows
        ]
        latencies += rows[1:] if latencies else rows
        progress.update(len(latencies))
    return latencies

  return measure


def _measure(
  nets: Sequence[Spec],
  genotype: Genotype,
  batch_size: int,
  repeats: int,
  dtype: str,
) -> list[Measurement]:
  compiled = {
    str(i): timing.compile_network(net, genotype, batch_size, dtype)
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
  """Finds the knee of a network; writes its comfort.json and comfort.svg.

  Args:
    folder: the run's folder; its report is written again.
    net: the dimensions of the run's networks.
    genotype: the architecture.
    grid: the factors and the tolerance.
    measure: the device, such as `measure_here` returns.

  Raises:
    ValueError: the space cannot be scaled.
  """
  from hwnas_jax.report import html, scaling  # import matplotlib

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
    html.write_report(folder)
  return zone
