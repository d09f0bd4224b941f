"""Multipliers of a table's parts, one for each type of operation.

The prior: multipliers are 1, but the whole table may be off by a common factor
(standard deviation COMMON, which is wide: a batch of tiny images measured in a
loop was off by a third), and each type by an individual factor. How much types
differ (INDIVIDUAL) and the measurements' relative noise (NOISE) are chosen from
a grid: the values under which the measured networks predict each other best, by
the leave-one-out density.
"""

import itertools
from typing import Protocol

import numpy as np

from hwnas_jax.costs.correct import regression

COMMON = 0.5
INDIVIDUAL = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
NOISE = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)


class Fit(Protocol):
  """Fits multipliers to measured networks."""

  def __call__(
    self, rows: np.ndarray, measured_ms: np.ndarray, /
  ) -> tuple[np.ndarray, float]:
    """Returns (multipliers [F], relative noise of a measurement).

    Args:
      rows: [N, F] each network's ms by type of operation, by the raw table.
      measured_ms: [N] above 0.
    """


def fit(
  rows: np.ndarray, measured_ms: np.ndarray, /
) -> tuple[np.ndarray, float]:
  """(multipliers [F], relative noise) of rows [N, F] and latencies [N].

  The choice from the grid is a part of the fit, so every leave-one-out fit
  repeats it: jackknife+ needs the same procedure on every N - 1 networks.
  """
  ones = np.ones(rows.shape[1])
  grid = [
    (regression.correlated_prior(ones, COMMON, individual), noise)
    for individual, noise in itertools.product(INDIVIDUAL, NOISE)
  ]
  density = [
    regression.leave_one_out(prior, rows, measured_ms, noise).log_density
    for prior, noise in grid
  ]
  prior, noise = grid[int(np.argmax(density))]
  return regression.fit(prior, rows, measured_ms, noise).mean, noise


def leave_one_out(
  rows: np.ndarray, measured_ms: np.ndarray, fit: Fit = fit
) -> np.ndarray:
  """Multipliers [N, F]: row i is of the fit to all networks but i."""
  keep = ~np.eye(len(rows), dtype=bool)
  return np.stack([fit(rows[k], measured_ms[k])[0] for k in keep])
