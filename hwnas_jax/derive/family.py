"""The family of a search: one network a condition.

>>> import numpy as np
>>> from hwnas_jax.method import CONDITIONS
>>> settings = FamilySettings(low=0.1, high=10.0, num_scales=3)
>>> [point.name for point in points_of(CONDITIONS["cone"], 4, settings)]
['scale 0.1', 'scale 1', 'scale 10']
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hwnas_jax.core.types import Genotype
from hwnas_jax.derive import sweep
from hwnas_jax.io.records import Condition, MemberKind, SweepPoint
from hwnas_jax.method.conditions import ConditionKind
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.rules import Rule
from hwnas_jax.spaces.spec import Space


class Point(NamedTuple):
  """A condition that a network is derived at, and its name in the report."""

  name: str
  condition: Condition


class Derived(NamedTuple):
  """A network of the family, or a baseline, which has no condition.

  width: factor of the channels of the run's networks.
  """

  name: str
  genotype: Genotype
  condition: Condition | None
  kind: MemberKind = "member"
  width: float = 1.0


@dataclasses.dataclass(frozen=True)
class FamilySettings:
  """The conditions at which a family is derived.

  low, high: range of the scale; a fixed scale is `high`.
  num_scales: how many, if the scale varies.
  vectors: {name: prices, one for each priced operation}, if only prices vary.
  """

  low: float
  high: float
  num_scales: int
  vectors: Mapping[str, Sequence[float]] = dataclasses.field(
    default_factory=dict
  )


def points_of(
  kind: ConditionKind, size: int, settings: FamilySettings
) -> list[Point]:
  """The named conditions at which the family of a search is derived.

  Args:
    kind: the kind of the search's conditions.
    size: K, the number of priced operations.
    settings: numbers and prices.

  Raises:
    ValueError: the conditions have no scale, and settings.vectors is empty or
      has a vector that is not K prices of at least 0 with a sum above 0.
  """
  if kind.scaled:
    grid = sweep.scale_grid(
      size, settings.low, settings.high, settings.num_scales
    )
    return [Point(f"scale {c.scale:.3g}", c) for c in grid]
  if kind.single:
    return [Point("found", Condition((1.0 / size,) * size, settings.high))]
  names = sorted(settings.vectors)
  vectors = [np.asarray(settings.vectors[name], float) for name in names]
  right = [
    len(v) == size and bool((v >= 0).all()) and v.sum() > 0 for v in vectors
  ]
  if not names or not all(right):
    raise ValueError(
      f"derive.vectors needs names with {size} prices >= 0 each, got"
      f" {dict(settings.vectors)}"
    )
  return [
    Point(name, Condition(tuple((v / v.sum()).tolist()), 1.0))
    for name, v in zip(names, vectors, strict=True)
  ]


def sampled(
  point: Point, logits: np.ndarray, count: int, seed: int
) -> tuple[list[Point], np.ndarray]:
  """Logits whose architectures are samples, in place of the most likely one.

  FBNet trains several samples and keeps the best (Wu et al. 2019, section 3.3).
  A rule gives a sample if it reads logits with Gumbel noise.

  Args:
    point: the condition of the logits.
    logits: [E, O].
    count: N.
    seed: of numpy's generator.

  Returns:
    (a point for each sample, noisy logits [N, E, O]).
  """
  rng = np.random.default_rng(seed)
  noisy = logits + rng.gumbel(size=(count, *logits.shape))
  points = [Point(f"sample {i}", point.condition) for i in range(count)]
  return points, noisy


def derive(
  space: Space, rule: Rule, points: Sequence[Point], logits: np.ndarray
) -> tuple[list[Derived], list[SweepPoint]]:
  """The network of each point.

  Points with the same architecture share a network, named after the first.

  Args:
    space: the space.
    rule: turns logits into an architecture.
    points: [N].
    logits: [N, E, O] at the points.

  Returns:
    (different networks, in order; the id of each point's network).
  """
  networks: dict[Genotype, Derived] = {}
  swept = []
  for point, rows in zip(points, logits, strict=True):
    genotype = rule(space, rows)
    networks.setdefault(
      genotype, Derived(point.name, genotype, point.condition)
    )
    name = architecture.identity(space, genotype)
    swept.append(SweepPoint(point.name, point.condition, name))
  return list(networks.values()), swept
