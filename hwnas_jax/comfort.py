"""SurgeNAS's Comfort Zone: larger for nothing (Luo et al. 2022; research 7.1).

A device seldom uses all its arithmetic on a small network: channels that fill
up its vectors, or pixels that fill up its cores, can cost no time. A found
network is scaled in width and resolution, every candidate is compiled and
measured, and the one of most multiply-accumulates that still takes no more
than a tolerance above the network's own latency is the knee. The paper gives
no procedure: the grid is a reconstruction.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from hwnas_jax import build, checks
from hwnas_jax.core.types import Genotype
from hwnas_jax.costs import analytic, timing
from hwnas_jax.io import versions, writers
from hwnas_jax.io.progress import Progress
from hwnas_jax.report import scaling
from hwnas_jax.search.query import Measurement
from hwnas_jax.spaces import architecture, mobile
from hwnas_jax.spaces.darts import Darts
from hwnas_jax.spaces.mobile import Chain
from hwnas_jax.spaces.nasbench201 import NasBench201
from hwnas_jax.spaces.spec import Spec

GROUP = 8  # networks measured in turn

# networks, all measured in turn -> their latencies
Measure = Callable[[Sequence[Spec]], list[Measurement]]


class Point(NamedTuple):
  """A scaled network; width and side are relative to the found one's."""

  width: float
  side: float
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
) -> list[Point]:
  """Measures a network at every width and side, the first being its own.

  Args:
    net: the network's space.
    genotype: the network.
    widths: beside 1.
    sides: beside 1.
    measure: the device.
  """
  grid = [
    (width, side)
    for width in sorted({1.0, *widths})
    for side in sorted({1.0, *sides})
  ]
  grid.sort(key=lambda at: at != (1.0, 1.0))
  nets = {at: scaled(net, *at) for at in grid}
  # Several widths may round to the same channels.
  different = list(dict.fromkeys(nets.values()))
  found = dict(zip(different, measure(different), strict=True))
  return [
    Point(*at, *_counts(nets[at], genotype), *found[nets[at]]) for at in grid
  ]


def _counts(net: Spec, genotype: Genotype) -> tuple[int, int]:
  """(multiply-accumulates, parameters) of a network."""
  macs, params = (
    analytic.genotype_cost(
      net, genotype, analytic.site_costs(net.space(), count)
    )
    for count in (analytic.macs, analytic.params)
  )
  return int(macs), int(params)


def knee(points: Sequence[Point], tolerance: float) -> Point:
  """The most work within the tolerance of the first point's latency."""
  limit_ms = (1 + tolerance) * points[0].latency_ms
  return max(
    (p for p in points if p.latency_ms <= limit_ms), key=lambda p: p.macs
  )


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
) -> dict[str, Any]:
  """Explores a run's network; writes networks/<name>/comfort.json and .svg.

  Raises:
    FileNotFoundError: there is no such run or network.
    ValueError: its space cannot be scaled.
  """
  folder = pathlib.Path(workdir).expanduser()
  config = checks.read_run(folder)
  net = build.make_nets(config)[1]
  home = folder / "networks" / name
  edges = writers.read_json(home / "architecture.json")["edges"]
  genotype = architecture.from_json(net.space(), edges)
  part = config.latency
  measure = measure_here(genotype, part.batch_size, part.repeats)
  points = explore(net, genotype, widths, sides, measure)
  best = knee(points, tolerance)
  rows = [point._asdict() for point in points]
  document = {
    "id": name,
    "batch_size": part.batch_size,
    "tolerance": tolerance,
    "own": points[0]._asdict(),
    "knee": best._asdict(),
    "points": rows,
    "versions": versions.versions(),
    "device": versions.device_fingerprint(),
  }
  writers.write_json(home / "comfort.json", document)
  fig = scaling.figure(rows, best._asdict(), tolerance)
  fig.savefig(home / "comfort.svg")
  return document
