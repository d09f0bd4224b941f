"""The protocol's score: hypervolume of picked cells over the true front's.

Budgets are spread evenly over latency; one cell is picked for each. Settings
are the first axis everywhere: D devices and batch sizes.
"""

from typing import NamedTuple

import numpy as np

from experiments.nasbench201.protocol.data import Cells

NUM_BUDGETS = 24
LAST_PERCENTILE = 99.5  # of latency: where the last budget is
FLOOR = 85.0  # %, accuracy from which the hypervolume counts


class Problem(NamedTuple):
  """Cells, their latencies and accuracies, and the budgets.

  budgets_ms: [D, NUM_BUDGETS], increasing.
  front: [D] hypervolume of the true front.
  """

  cells: Cells
  budgets_ms: np.ndarray
  front: np.ndarray


def budgets(latency_ms: np.ndarray) -> np.ndarray:
  """Budgets of latencies [D, N]: [D, NUM_BUDGETS] in ms.

  Even steps from the fastest cell, which is left out, to LAST_PERCENTILE,
  which is in.
  """
  first = latency_ms.min(1)
  last = np.percentile(latency_ms, LAST_PERCENTILE, axis=1)
  return np.linspace(first, last, NUM_BUDGETS + 1, axis=1)[:, 1:]


def hypervolume(
  latency_ms: np.ndarray, accuracy: np.ndarray, end_ms: np.ndarray
) -> np.ndarray:
  """Area below the best accuracy that a latency buys, above FLOOR.

  Args:
    latency_ms: [..., n].
    accuracy: [..., n] in %.
    end_ms: [...] the largest latency that counts.

  Returns:
    [...] in ms times %.
  """
  latency_ms = np.minimum(latency_ms, end_ms[..., None])
  order = latency_ms.argsort(-1, kind="stable")
  latency_ms = np.take_along_axis(latency_ms, order, -1)
  above = np.take_along_axis(accuracy, order, -1) - FLOOR
  best = np.maximum.accumulate(np.maximum(above, 0.0), -1)
  widths = np.diff(latency_ms, axis=-1, append=end_ms[..., None])
  return (best * widths).sum(-1)


def make_problem(cells: Cells) -> Problem:
  """The problem of all settings of these cells."""
  budgets_ms = budgets(cells.latency_ms)
  accuracy = np.broadcast_to(cells.test_200, cells.latency_ms.shape)
  front = hypervolume(cells.latency_ms, accuracy, budgets_ms[:, -1])
  return Problem(cells, budgets_ms, front)


def score(problem: Problem, picks: np.ndarray) -> np.ndarray:
  """Hypervolume of picked cells over that of the true front.

  Args:
    problem: of D settings.
    picks: int[D, NUM_BUDGETS] rows of the problem's cells.

  Returns:
    [D].

  Raises:
    ValueError: a pick takes longer than its budget.
  """
  latency_ms = np.take_along_axis(problem.cells.latency_ms, picks, 1)
  if (picks < 0).any() or (latency_ms > problem.budgets_ms).any():
    raise ValueError("a pick is missing, or takes longer than its budget")
  accuracy = problem.cells.test_200[picks]
  end_ms = problem.budgets_ms[:, -1]
  return hypervolume(latency_ms, accuracy, end_ms) / problem.front
