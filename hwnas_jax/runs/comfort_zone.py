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

import dataclasses
import itertools
import pathlib
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from hwnas_jax.config import checks, method
from hwnas_jax.core.types import Genotype
from hwnas_jax.costs import counts
from hwnas_jax.costs.measure import timing
from hwnas_jax.derive.shortlist import Measurement
from hwnas_jax.io import versions, writers
from hwnas_jax.io.progress import Progress
from hwnas_jax.report import scaling
from hwnas_jax.report.html import write_report
from hwnas_jax.spaces import architecture, mobile
from hwnas_jax.spaces.darts import Darts
from hwnas_jax.spaces.mobile import Chain
from hwnas_jax.spaces.nasbench201 import NasBench201
from hwnas_jax.spaces.spec import Spec

GROUP = 8  # networks measured in turn
AGAIN = 3  # more times that a candidate is measured, each beside the own one

# networks, all measured in turn -> their latencies
Measure = Callable[[Sequence[Spec]], list[Measurement]]


class Point(NamedTuple):
  """A network by its real size, whatever factors were asked for.

  channels: of the layers that are searched, the fewest and the most.
  image: (height, width).
  """

  channels: tuple[int, int]
  image: tuple[int, int]
  macs: int
  params: int
  latency_ms: float
  spread_ms: float


def scaled(net: Spec, width: float, side: float) -> Spec:
  """The networks of a space, wider and of larger images.

  Channels go up in multiples of 8, sides in multiples of 4.

  Raises:
    ValueError: a user's own model, whose shapes are its own.
  """
  height, breadth, depth = net.image
  if side != 1:
    height, breadth = (max(4, 4 * round(n * side / 4)) for n in net.image[:2])
  image = height, breadth, depth
  if isinstance(net, Chain):
    return dataclasses.replace(net, image=image, width=net.width * width)
  if isinstance(net, Darts | NasBench201):
    wide = mobile.scaled(net.channels, width) if width != 1 else net.channels
    return dataclasses.replace(net, image=image, channels=wide)
  raise ValueError("a model of one's own has no width to scale")


def explore(
  net: Spec,
  genotype: Genotype,
  widths: Iterable[float],
  sides: Iterable[float],
  measure: Measure,
) -> dict[Spec, Point]:
  """Measures a network at every width and side, the first being its own.

  Args:
    net: the network's space.
    genotype: the network.
    widths: beside 1.
    sides: beside 1.
    measure: the device.

  Returns:
    One point a network: several factors may round to the same channels.
  """
  grid = itertools.product(sorted({1.0, *widths}), sorted({1.0, *sides}))
  # By space: chains of different widths may have the same channels.
  different = {net.space(): net}
  for at in grid:
    other = scaled(net, *at)
    different.setdefault(other.space(), other)
  nets = list(different.values())
  return {
    one: Point(*_size(one), *_counts(one, genotype), *found)
    for one, found in zip(nets, measure(nets), strict=True)
  }


def _size(net: Spec) -> tuple[tuple[int, int], tuple[int, int]]:
  """(fewest and most channels of the searched layers, image)."""
  rows = net.space().sites
  channels = {site.channels_out for row in rows for at in row for site in at}
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
  own, *others = points
  limit_ms = (1 + tolerance) * points[own].latency_ms
  fits = [
    net
    for net in others
    if points[net].macs > points[own].macs
    and points[net].latency_ms <= limit_ms
  ]
  again: dict[Spec, list[float]] = {}
  for net in sorted(fits, key=lambda n: points[n].macs, reverse=True):
    pairs = [measure([own, net]) for _ in range(AGAIN)]
    again[net] = [m.median_ms / base.median_ms for base, m in pairs]
    if statistics.median(again[net]) <= 1 + tolerance:
      return net, again
  return own, again


def overrides(net: Spec, wanted: Spec) -> list[str]:
  """The flags that make a run's networks as wide as a scaled one.

  Args:
    net: the run's.
    wanted: of `scaled`.
  """
  if isinstance(net, Chain) and isinstance(wanted, Chain):
    changed = wanted.width != net.width
    return [f"--config.space.width={wanted.width}"] * changed
  assert isinstance(net, Darts | NasBench201)
  assert isinstance(wanted, Darts | NasBench201)
  changed = wanted.channels != net.channels
  return [f"--config.derive.channels={wanted.channels}"] * changed


def _row(
  own: Spec,
  net: Spec,
  points: Mapping[Spec, Point],
  again: Mapping[Spec, list[float]],
) -> dict[str, Any]:
  """A point as comfort.json has it.

  over_own: latency over the found network's, each time it was measured.
  overrides: flags. needs_images: (height, width) that no flag can make.
  """
  point = points[net]
  once = point.latency_ms / points[own].latency_ms
  return {
    **point._asdict(),
    "over_own": [once, *again.get(net, [])],
    "overrides": overrides(own, net),
    "needs_images": None if net.image == own.image else net.image[:2],
  }


def measure_here(genotype: Genotype, batch_size: int, repeats: int) -> Measure:
  """Measures on this device, a few networks at a time, each with the first."""

  def measure(nets: Sequence[Spec]) -> list[Measurement]:
    own, *others = nets
    found: list[Measurement] = []
    starts = range(0, len(others), GROUP) if others else [0]
    with Progress(len(nets), "comfort zone") as progress:
      for start in starts:
        group = [own, *others[start : start + GROUP]]
        rows = _measure(group, genotype, batch_size, repeats)
        ratio = found[0].median_ms / rows[0].median_ms if found else 1.0
        # The network's own time in each group tells a drift of the device.
        rows = [Measurement(ratio * m, ratio * s) for m, s in rows]
        found += rows[1:] if found else rows
        progress.update(len(found))
    return found

  return measure


def _measure(
  nets: Sequence[Spec], genotype: Genotype, batch_size: int, repeats: int
) -> list[Measurement]:
  compiled = {
    str(i): timing.compile_network(net, genotype, batch_size)
    for i, net in enumerate(nets)
  }
  rows = timing.measure_networks(compiled, repeats)
  return [Measurement.of(row) for row in rows.values()]


def run(
  workdir: str,
  name: str,
  widths: Iterable[float],
  sides: Iterable[float],
  tolerance: float,
  measure: Measure | None = None,
) -> dict[str, Any]:
  """Explores a run's network; writes networks/<name>/comfort.json and .svg.

  Args:
    workdir: the run folder; its report is written again.
    name: the network's id.
    widths: beside 1.
    sides: beside 1.
    tolerance: of the network's latency.
    measure: the device, where it is not the one this runs on.

  Raises:
    FileNotFoundError: there is no such run or network.
    ValueError: its space cannot be scaled.
  """
  folder = pathlib.Path(workdir).expanduser()
  config = checks.read_run(folder)
  net = method.make_nets(config)[1]
  home = folder / "networks" / name
  edges = writers.read_json(home / "architecture.json")["edges"]
  genotype = architecture.from_json(net.space(), edges)
  part = config.latency
  measure = measure or measure_here(genotype, part.batch_size, part.repeats)
  points = explore(net, genotype, widths, sides, measure)
  best, again = knee(points, tolerance, measure)
  rows = {one: _row(net, one, points, again) for one in points}
  document = {
    "id": name,
    "batch_size": part.batch_size,
    "tolerance": tolerance,
    "own": rows[net],
    "knee": rows[best],
    "points": list(rows.values()),
    "versions": versions.versions(),
    "device": versions.device_fingerprint(),
  }
  writers.write_json(home / "comfort.json", document)
  fig = scaling.figure(document["points"], rows[best], tolerance)
  fig.savefig(home / "comfort.svg")
  if (folder / "family.json").exists():
    write_report(folder)
  return document
