"""What a finished search gives: its family, one network a condition."""

import functools
from typing import NamedTuple

import jax
import msgspec

from hwnas_jax.config import method
from hwnas_jax.config.problem import Problem
from hwnas_jax.core.types import Genotype
from hwnas_jax.data.arrays import Dataset
from hwnas_jax.derive import collapse, sweep
from hwnas_jax.derive import family as families
from hwnas_jax.derive.family import Derived
from hwnas_jax.io.records import Collapse, Shares, SweepPoint
from hwnas_jax.runs import searching
from hwnas_jax.runs.searching import Searched
from hwnas_jax.spaces import architecture

TERNARY_SIDE = 12  # points along a side of the report's ternary map
DEAD = "it is dead: nothing reaches its output, so it is left out"


class Swept(NamedTuple):
  """What is derived from a search.

  networks: the family: all that are alive, all different.
  genotypes: [N] the architecture at each condition of the sweep, a dead one
    too.
  points: [N] the conditions, with the ids of these architectures.
  shares: the mean distribution over operations at many conditions.
  """

  networks: list[Derived]
  genotypes: list[Genotype]
  points: list[SweepPoint]
  shares: list[Shares]


def derive(problem: Problem, searched: Searched) -> Swept:
  """Derives the family of a search.

  Raises:
    ValueError: all of its networks are dead.
  """
  config, net = problem.config, problem.nets.derived
  space = net.space()
  logits_at = functools.partial(
    sweep.logits_of,
    searched.parts.controller,
    searched.parts.conditions,
    searched.state.controller,
  )
  points = list(problem.points)
  conditions = [point.condition for point in points]
  logits = logits_at(conditions)
  if config.derive.num_samples:
    points, logits = families.sampled(
      points[0], logits[0], config.derive.num_samples, config.seed
    )
  networks, swept = families.derive(space, problem.rule, points, logits)
  by_id = {architecture.identity(space, n.genotype): n for n in networks}
  living = [n for n in networks if net.alive(n.genotype)]
  if not living:
    raise ValueError(
      "every network that the search derives is dead: nothing reaches its"
      " output. The search is kept and can be queried; for a family search"
      " again, with a smaller condition.high or derive.rule=top_k"
    )
  conditions = [point.condition for point in points]
  middle = conditions[len(conditions) // 2].scale
  conditions += sweep.simplex_grid(len(problem.columns), middle, TERNARY_SIDE)
  shares = [
    sweep.shares(condition, rows, space.ops)
    for condition, rows in zip(conditions, logits_at(conditions), strict=True)
  ]
  genotypes = [by_id[point.id].genotype for point in swept]
  return Swept(living, genotypes, swept, shares)


def with_collapse(
  problem: Problem, searched: Searched, dataset: Dataset, swept: Swept
) -> tuple[SweepPoint, ...]:
  """The points of a sweep with their signs of collapse; prints the alarms."""
  parts = searched.parts
  conditions = [point.condition for point in swept.points]
  signs = collapse.signs(
    searching.shared_weights(problem, dataset, searched),
    jax.vmap(parts.conditions.features)(sweep.stack(conditions)),
    sweep.logits_of(
      parts.controller,
      parts.conditions,
      searched.state.controller,
      conditions,
    ),
    swept.genotypes,
    parts.skip,
    paths=method.paths_of(problem.config),
  )
  net = problem.nets.derived
  signs = [
    sign if net.alive(genotype) else _dead(sign)
    for sign, genotype in zip(signs, swept.genotypes, strict=True)
  ]
  for point, sign in zip(swept.points, signs, strict=True):
    for alarm in sign.alarms:
      print(f"{point.name}: {alarm}")
  return tuple(
    msgspec.structs.replace(point, collapse=sign)
    for point, sign in zip(swept.points, signs, strict=True)
  )


def _dead(sign: Collapse) -> Collapse:
  return msgspec.structs.replace(sign, alarms=(DEAD, *sign.alarms))
