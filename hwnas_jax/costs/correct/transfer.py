"""Latency on a new device from a few measurements of whole networks.

A new device's latency is the reference table's, with every type of operation
multiplied by a factor: rows [N, F] in ms by type of operation on the reference
device R (`calibration.features`) times multipliers. What one device's
operations cost beside another's is not arbitrary, and how much it varies is
learned from devices that were measured: a Gaussian prior over the *log
multipliers* on R. Ten measurements then do as well as a meta-learned neural
predictor with ten (Lee et al. 2021, HELP; `experiments/transfer`).

Devices are compared in log ms by type of operation, "coefficients", shifted so
that a typical network takes 1 ms: what is learned is the shape of a device,
not its speed, which the measurements tell. Coefficients of different spaces
(shapes, numbers of cells) differ by an unknown factor for each type, so only
the scatter of devices *within* a space is pooled, and R's own space gives the
mean. With R alone the mean is 0, and the covariance that of a difference of
two devices.

What is known of devices from the start is in `costs.devices`: 27 of them for
NAS-Bench-201's operations, none for DARTS's. There, without two tables of the
user's own, the prior is that of `costs.multipliers` around the reference table.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hwnas_jax.core.types import Genotype
from hwnas_jax.costs.correct import (
  calibration,
  devices,
  multipliers,
  regression,
)
from hwnas_jax.costs.correct.calibration import Calibration
from hwnas_jax.costs.correct.regression import Prior
from hwnas_jax.costs.table import LatencyTable
from hwnas_jax.io import versions
from hwnas_jax.spaces.spec import Spec

# Chosen on HELP's training devices (experiments/transfer/README.md).
SHRINK = 0.3  # of covariances towards their diagonal: few devices, many types
OWN = 0.1  # standard deviation of a log multiplier, whatever was learned
COMMON = 0.3  # of the speed, once the measurements' mean is divided out
NOISE = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16)
_STEPS = 30  # of Gauss-Newton, at most; 5 to 15 do


def learn_prior(
  own: np.ndarray,
  reference: np.ndarray,
  others: Sequence[np.ndarray] = (),
  *,
  shrink: float = SHRINK,
  minimum: float = OWN,
) -> Prior | None:
  """The prior of a new device's log multipliers on R, [F].

  With log coefficients normal around a mean of their space, and one covariance
  in all spaces: the prediction of one more device of `own`, relative to R.

  Args:
    own: [T, F] log coefficients (`Devices.shapes`) of the devices known in the
      networks' space, R among them where R is a table.
    reference: [F] log coefficients of R.
    others: [T, F] of devices in other spaces, each compared with its own.
    shrink: see SHRINK.
    minimum: see OWN.

  Returns:
    The prior, or None where no space has two devices to compare.
  """
  spaces = [own, *others]
  degrees = sum(len(logs) - 1 for logs in spaces)
  if degrees < 1:
    return None
  centred = np.concatenate([logs - logs.mean(0) for logs in spaces])
  scatter = centred.T @ centred / degrees
  covariance = (1 - shrink) * scatter + shrink * np.diag(np.diag(scatter))
  covariance += minimum**2 * np.eye(len(scatter))
  return Prior(own.mean(0) - reference, covariance * (1 + 1 / len(own)))


def fit(
  prior: Prior,
  rows: np.ndarray,
  measured_ms: np.ndarray,
  noises: Sequence[float] = NOISE,
) -> tuple[np.ndarray, float]:
  """(multipliers [F], relative noise), most probable given measurements.

  The device's speed is what the measurements say it is; the noise is that
  under which they predict each other best, as in `costs.multipliers`.

  Args:
    prior: of log multipliers.
    rows: [N, F] in ms by type of operation on R.
    measured_ms: [N] on the new device.
    noises: relative standard deviations to choose from.
  """
  expected = rows @ np.exp(prior.mean)
  speed = np.log(measured_ms / expected).mean()
  shifted = Prior(prior.mean + speed, prior.covariance + COMMON**2)
  fits = [_fit_logs(shifted, rows, measured_ms, noise) for noise in noises]
  best = int(np.argmax([density for _, density in fits]))
  return np.exp(fits[best][0]), noises[best]


def _fit_logs(
  prior: Prior, rows: np.ndarray, measured_ms: np.ndarray, noise: float
) -> tuple[np.ndarray, float]:
  """(log multipliers, leave-one-out log density), by Gauss-Newton.

  Around logs z, exp(log) is exp(z) * (1 + log - z): linear regression of the
  factor in brackets. Where that goes back and forth, the noise is too small
  for the measurements, and the density is minus infinity.
  """
  logs = prior.mean
  for _ in range(_STEPS):
    around = Prior(1 + prior.mean - logs, prior.covariance)
    problem = around, rows * np.exp(logs), measured_ms, noise
    step = regression.fit(*problem).mean - 1
    if np.abs(step).max() < 1e-4:
      return logs + step, regression.leave_one_out(*problem).log_density
    logs = logs + np.clip(step, -1, 1)
  return logs, -np.inf


def choose(
  prior: Prior, rows: np.ndarray, count: int, noise: float = 0.05
) -> list[int]:
  """The networks to measure on a new device, of candidates.

  One by one, the one whose measurement leaves the least uncertainty about the
  candidates' latencies, in sum of relative variances; the prior is taken at
  its mean.

  Args:
    prior: of log multipliers.
    rows: [N, F] in ms by type of operation on R.
    count: how many to choose, at most N.
    noise: relative standard deviation of a measurement.

  Returns:
    Indices, the most informative first.

  Raises:
    ValueError: there are fewer candidates.
  """
  if count > len(rows):
    raise ValueError(f"{len(rows)} candidates, {count} are to be chosen")
  shares = rows * np.exp(prior.mean)
  shares /= shares.sum(1, keepdims=True)
  covariance = shares @ (prior.covariance + COMMON**2) @ shares.T
  chosen: list[int] = []
  for _ in range(count):
    gain = (covariance**2).sum(0) / (np.diag(covariance) + noise**2)
    gain[chosen] = -1.0
    best = int(gain.argmax())
    chosen.append(best)
    spread = covariance[:, best] / math.sqrt(covariance[best, best] + noise**2)
    covariance = covariance - np.outer(spread, spread)
  return chosen


def make_prior(
  net: Spec,
  reference: Mapping[str, float],
  tables: Mapping[str, Mapping[str, float]],
) -> Prior | None:
  """The prior for a device that networks of `net` are measured on.

  Args:
    net: the networks' space.
    reference: R, ms by the key of a site.
    tables: {device: ms by the key of a site} of more devices, R not among
      them.

  Returns:
    The prior of log multipliers [1 + O] on R, or None where nothing is known
    of how devices differ: no second table, and operations that the shipped
    file does not have.
  """
  own = devices.of_costs(net, {"reference": reference, **tables})
  known = devices.shipped()
  others = []
  if set(own.names) <= set(known.names):
    others = [known.shapes()[:, [known.names.index(n) for n in own.names]]]
  logs = own.shapes()
  return learn_prior(logs, logs[0], others)


def move(reference: LatencyTable, device: dict[str, Any]) -> LatencyTable:
  """R's entries under the name of a new device, to be calibrated there.

  versions["entries_of"] names the device that they were measured on.
  """
  return dataclasses.replace(
    reference,
    device=device,
    fingerprint=versions.fingerprint_id(device),
    versions={**versions.versions(), "entries_of": reference.fingerprint},
    calibration=None,
  )


def calibrate(
  net: Spec,
  reference: Mapping[str, float],
  genotypes: Sequence[Genotype],
  measured_ms: Sequence[float],
  *,
  tables: Mapping[str, Mapping[str, float]] | None = None,
  liveness: str = "live",
  level: float = calibration.LEVEL,
) -> Calibration:
  """A calibration of R's table that makes it the new device's.

  Args:
    net: the networks' space.
    reference: R's table, ms by the key of a site.
    genotypes: [N] of the networks measured on the new device.
    measured_ms: [N] their latencies there, above 0.
    tables: {device: ms by the key of a site} of more devices to learn from.
    liveness: of the new device, one of `calibration.LIVENESS`.
    level: of the one-sided margin; N networks may give less
      (`Calibration.attained_level`).

  Raises:
    KeyError: a site has no cost; the message is its key.
    ValueError: see `calibration.calibrate`.
  """
  prior = make_prior(net, reference, tables or {})

  def fitted(
    rows: np.ndarray, latencies_ms: np.ndarray
  ) -> tuple[np.ndarray, float]:
    if prior is not None:
      return fit(prior, rows, latencies_ms)
    speed = np.exp(np.log(latencies_ms / rows.sum(1)).mean())
    found, noise = multipliers.fit(rows * speed, latencies_ms)
    return found * speed, noise

  return calibration.calibrate(
    net,
    reference,
    genotypes,
    measured_ms,
    liveness=liveness,
    level=level,
    fit=fitted,
  )
