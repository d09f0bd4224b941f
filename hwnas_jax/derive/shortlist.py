"""The shortlist: the architectures that a query considers for a budget.

A query goes from a family and a budget to one network in five steps:

1. The device's prices give a point of the simplex (`simplex_of`); there the
   controller gives logits at many scales.
2. At each scale, the most likely architectures that keep every budget and take
   most of the latency (`shortlist`), and beside them the largest that keep
   every budget (`capacity.largest`).
3. A committee of judges ranks their union (`judges`, `committee`).
4. The best are measured, until one keeps the budget and uses most of it
   (`settle.settle`).
5. If it is asked for, the best that keep the budget are trained briefly, and
   the most accurate of these finalists is the answer (`finalists`).
"""

import collections
import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from hwnas_jax.core.types import Genotype
from hwnas_jax.derive.exact import (
  Constraint,
  at_least,
  best,
  in_order,
  spent,
)
from hwnas_jax.spaces.spec import Space

NUM_SCALES = 16  # of a query's logits, and the least scale
PER_SCALE = 3  # architectures
MOST = 20  # architectures of all scales
BAND = 0.1  # of a latency budget, what a candidate may leave
AIMED = (0.02, 0.05, 1.0)  # how far below a target a network may be, of it


def simplex_of(
  prices: np.ndarray, reference: np.ndarray, columns: Sequence[int]
) -> tuple[np.ndarray, float]:
  """(a device's prices as a point of the simplex, the residual of that).

  Args:
    prices: [E, O] in ms, of the device; negative sums count as 0.
    reference: [E, O] in ms, of the device that the search priced with.
    columns: the K priced operations.

  Returns:
    (S[K], residual). S is uniform for the reference device itself. The residual
    is the part of the prices that one factor for each operation does not
    explain, as a share of their norm.

  Raises:
    ValueError: the device prices no operation above 0.
  """
  columns = list(columns)
  device = np.asarray(prices, float)[:, columns]
  searched = np.asarray(reference, float)[:, columns]
  ratios = np.maximum(device.sum(0), 0.0) / searched.sum(0)
  if not ratios.sum() > 0:
    raise ValueError("the table prices no operation above 0 ms")
  residual = np.linalg.norm(device - ratios * searched) / np.linalg.norm(device)
  return ratios / ratios.sum(), float(residual)


def log_softmax(logits: np.ndarray) -> np.ndarray:
  """Log probabilities over the last axis."""
  shifted = logits - logits.max(-1, keepdims=True)
  return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def shortlist(
  space: Space,
  rule: str,
  logits: np.ndarray,
  constraints: Sequence[Constraint],
  per_scale: int = PER_SCALE,
) -> list[Genotype]:
  """The most likely architectures of each scale that keep and fill the budgets.

  They take at least 1 - BAND of the latency budget. Where fewer than
  `per_scale` architectures do, they are the MOST slowest that fit.

  Args:
    space: the space.
    rule: a name in `rules.RULES`.
    logits: [N, E, O], one for each scale.
    constraints: budgets over additive costs; operations that do not reach the
      output count too. The first is the latency, if its name is that; without
      it there is nothing to fill.
    per_scale: architectures a scale.

  Returns:
    At most MOST different genotypes: the best of each scale, in order of scale,
    then the second best, and so on; [] where no architecture fits.
  """
  scores = log_softmax(np.asarray(logits, float))
  filling = list(constraints)
  if constraints and constraints[0].name == "latency":
    filling.append(at_least(constraints[0], 1 - BAND))
  orders = [in_order(space, rule, rows, filling) for rows in scores]
  first = list(itertools.islice(orders[0], per_scale))
  if len(first) < per_scale and len(filling) > len(constraints):
    slow = best(space, rule, constraints[0].cost, constraints, MOST)
    by_scale = [iter(_likeliest(rows, slow)) for rows in scores]
  else:
    others = [itertools.islice(order, per_scale) for order in orders[1:]]
    by_scale = [iter(first), *others]
  listed: dict[Genotype, None] = {}
  for genotype in _in_turn(by_scale):
    listed[genotype] = None
    if len(listed) == MOST:
      break
  return list(listed)


def _in_turn(orders: Iterable[Iterator[Genotype]]) -> Iterator[Genotype]:
  """The first of each, then the second of each, and so on."""
  waiting = collections.deque(orders)
  while waiting:
    order = waiting.popleft()
    for genotype in itertools.islice(order, 1):
      yield genotype
      waiting.append(order)


def _likeliest(
  scores: np.ndarray, genotypes: Sequence[Genotype]
) -> list[Genotype]:
  """Sorts genotypes by their scores, the sums of [E, O], best first."""
  timed = Constraint("score", scores, 0.0, 0.0)
  return sorted(genotypes, key=lambda g: -spent(timed, g))


def aim(
  space: Space, rows: np.ndarray, *, rule: str, timed: Constraint
) -> Genotype:
  """The most likely architecture just below a latency.

  The shares in AIMED say how far below; the first that any architecture keeps
  counts.

  Args:
    space: the space.
    rows: logits [E, O].
    rule: a name in `rules.RULES`.
    timed: its budget is the latency.

  Raises:
    ValueError: every architecture takes longer.
  """
  scores = log_softmax(np.asarray(rows, float))
  for share in AIMED:
    near = [timed, at_least(timed, 1 - share)]
    genotypes = best(space, rule, scores, near)
    if genotypes:
      return genotypes[0]
  raise ValueError(f"no architecture keeps {timed.budget:.4g} ms")


def capped(
  space: Space, rows: np.ndarray, *, rule: str, cap: Constraint
) -> Genotype:
  """The most likely architecture with a limited count of an operation.

  Args:
    space: the space.
    rows: logits [E, O].
    rule: a name in `rules.RULES`.
    cap: the limit, named after the operation; its costs are 1 in its column.

  Raises:
    ValueError: every architecture has more of this operation.
  """
  scores = log_softmax(np.asarray(rows, float))
  genotypes = best(space, rule, scores, [cap])
  if not genotypes:
    raise ValueError(
      f"every architecture has more than {cap.budget} {cap.name}"
    )
  return genotypes[0]
