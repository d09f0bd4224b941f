"""Bayesian linear regression of latencies, and jackknife+ bounds.

A latency is features[F] . coefficients[F] times (1 + noise). Errors of latency
measurements and of latency models grow with the latency, so a row is divided
by its measured latency: every row then asks for the value 1, and `noise` is a
relative standard deviation. Dividing by the measured latency and not by the
unknown true one keeps the problem linear; the bias it brings is of the order
of noise squared (0.0025 at 5 %), far below the noise.

All of it is written on the N rows, so that a prior may be singular: its
variance is zero where a coefficient is known.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import linalg, stats


class Prior(NamedTuple):
  """A Gaussian over coefficients: mean [F], covariance [F, F]."""

  mean: np.ndarray
  covariance: np.ndarray


class Posterior(NamedTuple):
  """A Gaussian over coefficients: mean [F], covariance [F, F]."""

  mean: np.ndarray
  covariance: np.ndarray


class LeaveOneOut(NamedTuple):
  """What the fits without one row each say.

  means: [N, F] coefficients of the fit without row i.
  predicted_ms: [N] what that fit predicts for row i.
  log_density: the sum over rows of log p(row i | the others).
  """

  means: np.ndarray
  predicted_ms: np.ndarray
  log_density: float


def fit(
  prior: Prior, features: np.ndarray, latencies_ms: np.ndarray, noise: float
) -> Posterior:
  """The posterior of the coefficients.

  Args:
    prior: of the F coefficients.
    features: [N, F], in ms a unit of coefficient.
    latencies_ms: [N] measured, above 0.
    noise: relative standard deviation of a measurement, above 0.

  Raises:
    ValueError: shapes do not agree, or a value cannot be.
  """
  rows, inverse, residual = _rows(prior, features, latencies_ms, noise)
  gain = prior.covariance @ rows.T @ inverse
  mean = prior.mean + gain @ residual
  covariance = prior.covariance - gain @ rows @ prior.covariance
  return Posterior(mean, (covariance + covariance.T) / 2)


def leave_one_out(
  prior: Prior, features: np.ndarray, latencies_ms: np.ndarray, noise: float
) -> LeaveOneOut:
  """All N fits without one row, from one matrix inverse.

  Rasmussen and Williams 2006, section 5.4.2: with K the covariance of the
  rows, row i's residual by the others is [K^-1 r]_i / [K^-1]_ii, its variance
  1 / [K^-1]_ii. Arguments and errors are those of `fit`.
  """
  rows, inverse, residual = _rows(prior, features, latencies_ms, noise)
  weights, precision = inverse @ residual, np.diag(inverse)
  error = weights / precision
  without = weights[:, None] - inverse * error  # column i: without row i
  means = prior.mean + (prior.covariance @ rows.T @ without).T
  density = np.log(precision / (2 * math.pi)) - error**2 * precision
  predicted_ms = np.asarray(latencies_ms, float) * (1 - error)
  return LeaveOneOut(means, predicted_ms, float(density.sum() / 2))


def rank_of_level(count: int, level: float) -> int:
  """Which of `count` sorted scores bounds a new one at a nominal level.

  ceil(level * (count + 1)), at most `count`: fewer than level / (1 - level)
  scores cannot give the level, and the largest is all there is.
  """
  if not 0 < level < 1:
    raise ValueError(f"level is {level}, expected a number between 0 and 1")
  if count < 1:
    raise ValueError("a bound needs one score at least")
  # The product of 0.95 and 20 is 19.000000000000004 on some machines.
  return min(math.ceil(round(level * (count + 1), 9)), count)


def attained_level(count: int, level: float) -> float:
  """The level that the score of `rank_of_level` really stands for.

  rank / (count + 1), the chance that a new score, exchangeable with the
  others, is not above it; 20 scores at 0.95 give 20 / 21 = 0.952, and 10 give
  10 / 11 = 0.909, whatever was asked. What jackknife+ is *proved* to keep is
  less: 1 - 2 * (1 - this) (Barber et al. 2021, theorem 1).
  """
  return rank_of_level(count, level) / (count + 1)


def upper_bound(
  predictions: np.ndarray, ratios: np.ndarray, level: float
) -> float:
  """The one-sided jackknife+ bound of a positive quantity, in ratios.

  Barber et al. 2021, "Predictive inference with the jackknife+", with the
  score measured / predicted in place of the absolute residual: the theorem
  holds for any score that rises with the measured value.

  Args:
    predictions: [N] what the fit without row i predicts for the new point.
    ratios: [N] measured / predicted of row i by the fit without it.
    level: nominal, such as 0.95; `attained_level` says what it comes to.

  Returns:
    A bound in the unit of the predictions.
  """
  scores = np.sort(np.asarray(predictions) * np.asarray(ratios))
  return float(scores[rank_of_level(len(scores), level) - 1])


def common_and_own(
  mean: Sequence[float] | np.ndarray, common: float, own: float
) -> Prior:
  """A prior of coefficients that share one error and have one each.

  Args:
    mean: [F].
    common: standard deviation of what all coefficients share.
    own: standard deviation of what each has for itself.
  """
  size = len(mean)
  covariance = common**2 * np.ones((size, size)) + own**2 * np.eye(size)
  return Prior(np.asarray(mean, float), covariance)


def error_of(
  predicted_ms: Sequence[float] | np.ndarray, measured_ms: np.ndarray
) -> dict[str, float]:
  """How wrong N predictions are.

  Returns:
    median_absolute_error (relative), bias (median of predicted / measured - 1)
    and spearman.
  """
  relative = np.asarray(predicted_ms) / measured_ms - 1
  return {
    "median_absolute_error": float(np.median(np.abs(relative))),
    "bias": float(np.median(relative)),
    "spearman": float(stats.spearmanr(predicted_ms, measured_ms).statistic),
  }


def _rows(
  prior: Prior, features: np.ndarray, latencies_ms: np.ndarray, noise: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """(relative rows [N, F], K^-1 [N, N], what the prior leaves of 1 [N])."""
  features = np.asarray(features, float)
  latencies_ms = np.asarray(latencies_ms, float)
  _check(prior, features, latencies_ms, noise)
  rows = features / latencies_ms[:, None]
  covariance = rows @ prior.covariance @ rows.T
  covariance += noise**2 * np.eye(len(rows))
  inverse = linalg.cho_solve(
    linalg.cho_factor(covariance), np.eye(len(covariance))
  )
  return rows, inverse, 1 - rows @ prior.mean


def _check(
  prior: Prior, features: np.ndarray, latencies_ms: np.ndarray, noise: float
) -> None:
  size = len(prior.mean)
  if prior.covariance.shape != (size, size):
    raise ValueError(
      f"the prior's covariance is {prior.covariance.shape}, its mean has {size}"
    )
  if features.shape != (len(latencies_ms), size) or not len(features):
    raise ValueError(
      f"features are {features.shape}, expected [{len(latencies_ms)}, {size}]:"
      " a row a latency, one at least, and a column a coefficient"
    )
  if not np.isfinite(features).all():
    raise ValueError("a feature is not finite")
  if not (np.isfinite(latencies_ms) & (latencies_ms > 0)).all():
    raise ValueError("latencies_ms: expected finite numbers above 0")
  if not (math.isfinite(noise) and noise > 0):
    raise ValueError(f"noise is {noise}, expected a number above 0")
