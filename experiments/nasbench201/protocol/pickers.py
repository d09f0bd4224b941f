"""Who picks a cell for each budget: lists of candidates, and who chooses.

A list is int[D, B, k], rows of the problem's cells for D settings and B
budgets, -1 where fewer than k cells fit. Ties, wherever there are some, are
broken by `tie`, a random order of the cells.
"""

from collections.abc import Mapping

import numpy as np

from experiments.nasbench201.protocol.data import Cells
from experiments.nasbench201.protocol.score import Problem

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
  """k different random cells that keep each budget."""
  rng = np.random.default_rng(seed)
  found = np.full((*problem.budgets_ms.shape, k), ABSENT)
  for device, latency_ms in enumerate(problem.cells.latency_ms):
    for place, budget_ms in enumerate(problem.budgets_ms[device]):
      fits = np.flatnonzero(latency_ms <= budget_ms)
      rows = rng.choice(fits, min(k, len(fits)), replace=False)
      found[device, place, : len(rows)] = rows
  return found


def union(first: np.ndarray, second: np.ndarray) -> np.ndarray:
  """The different cells of two lists."""
  both = np.sort(np.concatenate([first, second], -1), -1)
  repeated = np.diff(both, axis=-1, prepend=ABSENT - 1) == 0
  return np.where(repeated, ABSENT, both)


def ranks(values: np.ndarray, present: np.ndarray) -> np.ndarray:
  """Ranks within the last axis, equal values in the middle of theirs.

  Args:
    values: [..., k].
    present: bool[..., k]; the others count for nobody.

  Returns:
    [..., k], 0 for the smallest; of no meaning where not present.
  """
  shape, k = values.shape, values.shape[-1]
  found = np.zeros((values.size // k, k))
  rows = zip(found, values.reshape(-1, k), present.reshape(-1, k), strict=True)
  for ranked, row, there in rows:
    sorted_row = np.sort(row[there])
    below = np.searchsorted(sorted_row, row, "left")
    upto = np.searchsorted(sorted_row, row, "right")
    ranked[:] = (below + upto - 1) / 2
  return found.reshape(shape)


def rank_sum(
  lists: np.ndarray,
  judges: Mapping[str, np.ndarray],
  weights: Mapping[str, float],
) -> np.ndarray:
  """A committee's judgement: the weighted sum of ranks within each list.

  Args:
    lists: int[D, B, k].
    judges: [N] by name, higher is better.
    weights: of some of the judges.

  Returns:
    [D, B, k].

  Raises:
    ValueError: a judge has no score for a cell of a list.
  """
  present = lists != ABSENT
  total = np.zeros(lists.shape)
  for name, weight in weights.items():
    values = judges[name][lists]
    if np.isnan(values[present]).any():
      raise ValueError(f"the judge {name} has no score for some candidates")
    total += weight * ranks(values, present)
  return total


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
