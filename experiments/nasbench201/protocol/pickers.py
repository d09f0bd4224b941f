"""Who picks a cell for each budget: lists of candidates, and who chooses.

A list is int[D, B, k], rows of the problem's cells for D settings and B
budgets, -1 where fewer than k cells fit. Ties, wherever there are some, are
broken by `tie`, a random order of the cells. A committee is the package's.
The lists are made here: the package's are of latencies that are sums over
operations, and these are measurements of whole cells. Where latency is a sum,
both are the same but for one case (README.md; tests/test_protocol_lists.py).
"""

from collections.abc import Mapping

import numpy as np

from experiments.nasbench201.protocol.data import Cells
from experiments.nasbench201.protocol.score import Problem
from hwnas_jax.derive import committee

ABSENT = -1


def shuffle(cells: Cells, seed: int) -> np.ndarray:
  """A random order of the cells, float[N] in [0, 1), to break ties with."""
  count = len(cells.indices)
  return np.random.default_rng(seed).permutation(count) / count


def first_that_fit(
  problem: Problem, values: np.ndarray, tie: np.ndarray, k: int
) -> np.ndarray:
  """The k cells of largest value [N] that keep each budget, in that order."""
  order = np.lexsort((tie, values))[::-1]
  found = np.full((*problem.budgets_ms.shape, k), ABSENT)
  for device, latency_ms in enumerate(problem.cells.latency_ms[:, order]):
    for place, budget_ms in enumerate(problem.budgets_ms[device]):
      rows = order[np.flatnonzero(latency_ms <= budget_ms)[:k]]
      found[device, place, : len(rows)] = rows
  return found


def random_that_fit(problem: Problem, seed: int, k: int) -> np.ndarray:
  """k different random living cells that keep each budget."""
  rng, alive = np.random.default_rng(seed), ~problem.cells.dead
  found = np.full((*problem.budgets_ms.shape, k), ABSENT)
  for device, latency_ms in enumerate(problem.cells.latency_ms):
    for place, budget_ms in enumerate(problem.budgets_ms[device]):
      fits = np.flatnonzero((latency_ms <= budget_ms) & alive)
      rows = rng.choice(fits, min(k, len(fits)), replace=False)
      found[device, place, : len(rows)] = rows
  return found


def union(first: np.ndarray, second: np.ndarray) -> np.ndarray:
  """The different cells of two lists."""
  both = np.sort(np.concatenate([first, second], -1), -1)
  repeated = np.diff(both, axis=-1, prepend=ABSENT - 1) == 0
  return np.where(repeated, ABSENT, both)


def rank_sum(
  lists: np.ndarray,
  judges: Mapping[str, np.ndarray],
  weights: Mapping[str, float],
) -> np.ndarray:
  """A committee's judgement within each list.

  Args:
    lists: int[D, B, k].
    judges: [N] by name, higher is better.
    weights: of some of the judges.

  Returns:
    [D, B, k], weighted means of ranks; 0 where a list has no cell.

  Raises:
    ValueError: a judge has no score for a cell of a list.
  """
  for name in weights:
    if np.isnan(judges[name][lists[lists != ABSENT]]).any():
      raise ValueError(f"the judge {name} has no score for some candidates")
  found = np.zeros(lists.shape)
  for at in np.ndindex(lists.shape[:-1]):
    present = lists[at] != ABSENT
    scores = {name: judges[name][lists[at][present]] for name in weights}
    found[at][present] = committee.committee(scores, weights).total
  return found


def keep(
  lists: np.ndarray, values: np.ndarray, tie: np.ndarray, count: int
) -> np.ndarray:
  """The `count` of each list [D, B, k] with the largest values [D, B, k]."""
  values = np.where(lists == ABSENT, -np.inf, values)
  order = np.lexsort((tie[lists], values), -1)[..., ::-1][..., :count]
  return np.take_along_axis(lists, order, -1)


def choose(
  lists: np.ndarray, values: np.ndarray, tie: np.ndarray
) -> np.ndarray:
  """The cell of each list with the largest value of all cells [N]: [D, B]."""
  return keep(lists, values[lists], tie, 1)[..., 0]
