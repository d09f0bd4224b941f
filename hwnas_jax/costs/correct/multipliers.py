"""Multipliers of a table's parts, one for each type of operation.

The prior: multipliers are 1, but the whole table may be off by a common
factor, standard deviation COMMON (wide: a batch of tiny images measured in a
loop was off by a third), and each type by its own. How much types differ (OWN)
and the measurements' relative noise (NOISE) are those of the grid under which
the measured networks predict each other best: the largest leave-one-out
density. No other network is looked at.
"""

import itertools
from collections.abc import Callable

import numpy as np

from hwnas_jax.costs.correct import regression

COMMON = 0.5
OWN = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
NOISE = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)

# (rows [N, F] in ms, measured_ms [N]) -> (multipliers [F], relative noise)
Fit = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, float]]


def fit(rows: np.ndarray, measured_ms: np.ndarray) -> tuple[np.ndarray, float]:
  """(multipliers [F], relative noise) of features [N, F] and latencies [N].

  The grid's choice is part of the fit, so that a leave-one-out fit makes it
  anew: jackknife+ wants the same procedure on every N - 1 networks.
  """
  grid = [
    (regression.common_and_own(np.ones(rows.shape[1]), COMMON, own), noise)
    for own, noise in itertools.product(OWN, NOISE)
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
  """Multipliers [N, F]: row i by the whole fit to all networks but i."""
  keep = ~np.eye(len(rows), dtype=bool)
  return np.stack([fit(rows[k], measured_ms[k])[0] for k in keep])
