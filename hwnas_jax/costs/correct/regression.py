"""Bayesian linear regression of latencies, and jackknife+ bounds.

A latency is features[F] . coefficients[F] times (1 + noise). Errors of latency
measurements and of latency models grow with the latency, so each row is divided
by its measured latency: its target is then 1, and `noise` is a relative
standard deviation. Dividing by the measured latency and not by the unknown true
one keeps the problem linear; the bias of that is of the order of noise squared
(0.0025 at 5 %), far below the noise.

The equations are in the space of the N rows, so a prior may be singular: the
variance of a known coefficient is zero.
"""

import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy

from hwnas_jax.io.records import Record


class Prior(NamedTuple):
  """A Gaussian over coefficients: mean [F], covariance [F, F]."""

  mean: np.ndarray
  covariance: np.ndarray


class Error(Record, frozen=True):
  """How wrong predictions of latencies are.

  median_absolute_error: median of |predicted / measured - 1|.
  bias: median of predicted / measured - 1.
  spearman: rank correlation; None where it is not defined, as for one network.
  """

  median_absolute_error: float
  bias: float
  spearman: float | None


class Posterior(NamedTuple):
  """A Gaussian over coefficients: mean [F], covariance [F, F]."""

  mean: np.ndarray
  covariance: np.ndarray


class LeaveOneOut(NamedTuple):
  """Results of the N fits that leave out one row each.

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
  """The rank, of `count` sorted scores, that bounds a new score at a level.

  ceil(level * (count + 1)), at most `count`: fewer than level / (1 - level)
  scores cannot reach the level, and the rank is then that of the largest.
  """
  if not 0 < level < 1:
    raise ValueError(f"level is {level}, expected a number between 0 and 1")
  if count < 1:
    raise ValueError("a bound needs one score at least")
  # The product of 0.95 and 20 is 19.000000000000004 on some machines.
  return min(math.ceil(round(level * (count + 1), 9)), count)


def attained_level(count: int, level: float) -> float:
  """The level that the score at `rank_of_level` attains.

  rank / (count + 1), the chance that a new score, exchangeable with the
  others, is not above it. 20 scores at 0.95 give 20 / 21 = 0.952; 10 scores
  give at most 10 / 11 = 0.909. The level that jackknife+ is *proved* to keep is
  lower: 1 - 2 * (1 - attained) (Barber et al. 2021, theorem 1).
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
    level: nominal, such as 0.95; see `attained_level`.

  Returns:
    A bound in the unit of the predictions.
  """
  scores = np.sort(np.asarray(predictions) * np.asarray(ratios))
  return float(scores[rank_of_level(len(scores), level) - 1])


def correlated_prior(
  mean: Sequence[float] | np.ndarray, common: float, individual: float
) -> Prior:
  """A prior of coefficients whose errors have a common part.

  Args:
    mean: [F].
    common: standard deviation of the part that all coefficients share.
    individual: standard deviation of the part of each coefficient.
  """
  size = len(mean)
  covariance = common**2 * np.ones((size, size)) + individual**2 * np.eye(size)
  return Prior(np.asarray(mean, float), covariance)


def error_of(
  predicted_ms: Sequence[float] | np.ndarray,
  measured_ms: Sequence[float] | np.ndarray,
) -> Error:
  """How wrong N predictions are."""
  measured = np.asarray(measured_ms, float)
  relative = np.asarray(predicted_ms) / measured - 1
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", scipy.stats.ConstantInputWarning)
    spearman = float(scipy.stats.spearmanr(predicted_ms, measured).statistic)
  return Error(
    median_absolute_error=float(np.median(np.abs(relative))),
    bias=float(np.median(relative)),
    spearman=spearman if math.isfinite(spearman) else None,
  )


def _rows(
  prior: Prior, features: np.ndarray, latencies_ms: np.ndarray, noise: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """(rows over their latency [N, F], K^-1 [N, N], 1 - the prior's mean [N])."""
  features = np.asarray(features, float)
  latencies_ms = np.asarray(latencies_ms, float)
  _require_valid(prior, features, latencies_ms, noise)
  rows = features / latencies_ms[:, None]
  covariance = rows @ prior.covariance @ rows.T
  covariance += noise**2 * np.eye(len(rows))
  inverse = scipy.linalg.cho_solve(
    scipy.linalg.cho_factor(covariance), np.eye(len(covariance))
  )
  return rows, inverse, 1 - rows @ prior.mean


def _require_valid(
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
