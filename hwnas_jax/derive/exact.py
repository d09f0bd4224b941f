"""The most likely architectures that keep every budget, exactly.

    maximise sum log p[e, o_e]   so that   base + sum cost[e, o_e] <= budget

for every constraint, over what the rule allows: one operation a choice
(argmax), or DARTS's `space.keep` edges a node without `none` (top_k). It is an
integer program of E * O binary variables; where no budget binds, its best
solution is what the rule itself gives. Small spaces are enumerated instead,
which is exact too (docs/methods.md#exact-search-under-budgets).
"""

import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import optimize, sparse

from hwnas_jax.core.types import ABSENT, Genotype
from hwnas_jax.spaces.spec import Space

ENUMERATED = 20_000  # architectures; NAS-Bench-201 has 15,625


class Constraint(NamedTuple):
  """base + sum of cost[E, O] over an architecture's choices <= budget."""

  name: str
  cost: np.ndarray
  base: float
  budget: float


def limit(
  name: str, space: Space, site_cost: Mapping[str, float], budget: float
) -> Constraint:
  """The budget of a cost of sites, such as latency or parameters.

  Args:
    name: the cost's.
    space: the space.
    site_cost: cost of a site by its key.
    budget: in the unit of `site_cost`.
  """
  return Constraint(
    name, space.cost_array(site_cost), space.base_cost(site_cost), budget
  )


def at_least(constraint: Constraint, share: float) -> Constraint:
  """The constraint that a share of a budget is used."""
  least = -share * constraint.budget
  return Constraint("least", -constraint.cost, -constraint.base, least)


def spent(constraint: Constraint, genotype: Genotype) -> float:
  """The cost of an architecture, in the constraint's unit."""
  chosen = [(e, o) for e, o in enumerate(genotype) if o != ABSENT]
  return constraint.base + float(sum(constraint.cost[c] for c in chosen))


def best(
  space: Space,
  rule: str,
  scores: np.ndarray,
  constraints: Sequence[Constraint],
  count: int = 1,
) -> list[Genotype]:
  """The `count` architectures of highest score that keep every budget.

  Args:
    space: the space.
    rule: "argmax" or "top_k", see `rules.RULES`.
    scores: [E, O], such as log softmax of the logits.
    constraints: the budgets.
    count: how many.

  Returns:
    `count` genotypes, best first; fewer if fewer fit, [] if none does.

  Raises:
    ValueError: there is no such rule.
  """
  return list(
    itertools.islice(in_order(space, rule, scores, constraints), count)
  )


def in_order(
  space: Space,
  rule: str,
  scores: np.ndarray,
  constraints: Sequence[Constraint],
) -> Iterator[Genotype]:
  """Every architecture that keeps the budgets, best first, one at a time.

  Args:
    space, rule, scores, constraints: as those of `best`.

  Raises:
    ValueError: there is no such rule.
  """
  size = math.prod(int(n) for n in space.allowed().sum(1))
  if rule == "argmax" and size <= ENUMERATED:
    yield from _enumerate(space, scores, constraints)
    return
  program = _program(space, rule)
  cuts: list[np.ndarray] = []
  while (chosen := _solve(program, scores, constraints, cuts)) is not None:
    cuts.append(chosen)
    yield _genotype(chosen.reshape(space.shape))


@functools.cache
def _all(space: Space) -> np.ndarray:
  """Every architecture with one operation a choice: int[N, E]."""
  rows = itertools.product(*(np.flatnonzero(r) for r in space.allowed()))
  return np.asarray(list(rows), np.int32)


def _enumerate(
  space: Space,
  scores: np.ndarray,
  constraints: Sequence[Constraint],
) -> Iterator[Genotype]:
  rows = _all(space)
  fits = np.ones(len(rows), bool)
  for c in constraints:
    fits &= c.base + _sum(c.cost, rows) <= c.budget
  rows = rows[fits]
  order = np.argsort(-_sum(scores, rows), kind="stable")
  return (tuple(int(o) for o in rows[i]) for i in order)


def _sum(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
  """Sums values [E, O] over architectures [N, E]: [N]."""
  return np.asarray(values, float)[np.arange(rows.shape[1]), rows].sum(-1)


class _Program(NamedTuple):
  """low <= matrix @ x <= high, 0 <= x <= upper, x flat [E * O]."""

  matrix: sparse.csr_array
  low: np.ndarray
  high: np.ndarray
  upper: np.ndarray


@functools.cache
def _program(space: Space, rule: str) -> _Program:
  """The architectures that a rule allows."""
  num_choices, num_ops = space.shape
  one = np.kron(np.eye(num_choices), np.ones(num_ops))
  upper = space.allowed().astype(float)
  ones = np.ones(num_choices)
  if rule == "argmax":
    return _Program(sparse.csr_array(one), ones, ones, upper.ravel())
  if rule != "top_k":
    raise ValueError(f"no exact search for the rule {rule!r}: argmax or top_k")
  if "none" in space.ops:
    upper[:, space.ops.index("none")] = 0
  group = np.asarray(space.group)
  member = (group == np.unique(group)[:, None]).astype(float)
  kept = np.minimum(member.sum(1), space.keep)
  return _Program(
    sparse.csr_array(np.vstack([one, member @ one])),
    np.concatenate([0 * ones, kept]),
    np.concatenate([ones, kept]),
    upper.ravel(),
  )


def _solve(
  program: _Program,
  scores: np.ndarray,
  constraints: Sequence[Constraint],
  cuts: Sequence[np.ndarray],
) -> np.ndarray | None:
  """The best x that is none of `cuts`, bool[E * O], or None."""
  budget_rows = [np.asarray(c.cost, float).ravel() for c in constraints]
  budgets = [c.budget - c.base for c in constraints]
  # An architecture is cut off by asking for one of its choices less.
  cut_rows = [cut.astype(float) for cut in cuts]
  cut_limits = [cut.sum() - 1.0 for cut in cuts]
  extra_rows = sparse.csr_array(
    np.reshape([*budget_rows, *cut_rows], (-1, scores.size))
  )
  limits = np.asarray([*budgets, *cut_limits])
  result = optimize.milp(
    -np.asarray(scores, float).ravel(),
    integrality=np.ones(scores.size),
    bounds=optimize.Bounds(0, program.upper),
    constraints=optimize.LinearConstraint(
      sparse.vstack([program.matrix, extra_rows]),
      np.concatenate([program.low, np.full(len(limits), -np.inf)]),
      np.concatenate([program.high, limits]),
    ),
    options={"mip_rel_gap": 0.0},
  )
  return None if result.x is None else result.x > 0.5


def _genotype(chosen: np.ndarray) -> Genotype:
  """bool[E, O] -> one operation a choice, or ABSENT."""
  return tuple(
    int(row.argmax()) if row.any() else ABSENT for row in chosen.astype(int)
  )
