"""Latency on a new device from a few measurements of whole networks.

A new device's latency is the reference table's, with every type of operation
multiplied by a factor: rows [N, F] in ms by type of operation on the reference
device R (`calibration.features`) times multipliers. How these multipliers vary
among devices is learned from devices that were measured, as a Gaussian prior
over the *log multipliers* on R. With ten measurements it ranks networks as well
as a meta-learned neural predictor with ten (Lee et al. 2021, HELP;
`experiments/transfer`).

Devices are compared in log ms by type of operation, "coefficients", shifted so
that a typical network takes 1 ms. So the prior describes how a device's types
of operation compare; its speed comes from the measurements. Coefficients of
different spaces (shapes, numbers of cells) differ by an unknown factor for each
type. So only the scatter of devices *within* a space is pooled, and the mean is
that of R's space. If R is the only device of its space, the mean is 0 and the
covariance is that of the difference of two devices.

`costs.correct.devices` has 27 devices for NAS-Bench-201's operations and none
for DARTS's. With DARTS's operations and a single table, the prior is that of
`costs.correct.multipliers` around this table.
"""

import functools
import math
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from hwnas_jax.costs.correct import (
  calibration,
  devices,
  multipliers,
  regression,
)
from hwnas_jax.costs.correct.calibration import Calibrate, Calibration
from hwnas_jax.costs.correct.regression import Prior
from hwnas_jax.costs.measured import Measured
from hwnas_jax.costs.table import LatencyTable, costs
from hwnas_jax.io import versions
from hwnas_jax.io.records import Device
from hwnas_jax.spaces.spec import Spec

# Chosen on HELP's training devices (experiments/transfer/README.md).
SHRINK = 0.3  # of covariances towards their diagonal: few devices, many types
INDIVIDUAL = 0.1  # least standard deviation of a log multiplier
COMMON = 0.3  # of the speed's log, once the measurements' mean is divided out
NOISE = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16)
_STEPS = 30  # of Gauss-Newton, at most; 5 to 15 do


def learn_prior(
  logs: np.ndarray,
  reference: np.ndarray,
  others: Sequence[np.ndarray] = (),
  *,
  shrink: float = SHRINK,
  minimum: float = INDIVIDUAL,
) -> Prior | None:
  """The prior of a new device's log multipliers on R, [F].

  Log coefficients are taken as normal around a mean of their space, with one
  covariance in all spaces. The prior is then the prediction of one more device
  of the networks' space, relative to R.

  Args:
    logs: [T, F] log coefficients (`Devices.shapes`) of the devices measured in
      the networks' space, R among them where R is a table.
    reference: [F] log coefficients of R.
    others: [T, F] of devices in other spaces; only differences within one space
      are used.
    shrink: see SHRINK.
    minimum: see INDIVIDUAL.

  Returns:
    The prior, or None where no space has two devices to compare.
  """
  spaces = [logs, *others]
  degrees = sum(len(rows) - 1 for rows in spaces)
  if degrees < 1:
    return None
  centred = np.concatenate([rows - rows.mean(0) for rows in spaces])
  scatter = centred.T @ centred / degrees
  covariance = (1 - shrink) * scatter + shrink * np.diag(np.diag(scatter))
  covariance += minimum**2 * np.eye(len(scatter))
  return Prior(logs.mean(0) - reference, covariance * (1 + 1 / len(logs)))


def fit(
  prior: Prior,
  rows: np.ndarray,
  measured_ms: np.ndarray,
  noises: Sequence[float] = NOISE,
) -> tuple[np.ndarray, float]:
  """(most likely multipliers [F], relative noise), given measurements.

  The device's speed is the geometric mean of measured / expected latencies. The
  noise is that under which the measurements predict each other best, as in
  `costs.correct.multipliers`.

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

  Around logs z, exp(log) is about exp(z) * (1 + log - z), so each step is a
  linear regression of the factor in brackets. Where the steps do not converge,
  the noise is too small for the measurements, and the density is minus
  infinity.
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
  """Chooses networks to measure on a new device.

  They are chosen one after another: always the one whose measurement leaves the
  least sum of relative variances of all candidates' latencies. The prior is
  linearised at its mean.

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
    deviation = math.sqrt(covariance[best, best] + noise**2)
    explained = covariance[:, best] / deviation
    covariance = covariance - np.outer(explained, explained)
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
    The prior of log multipliers [1 + O] on R, or None where no two devices can
    be compared: there is no second table, and the shipped file lacks some of
    the operations.
  """
  measured = devices.from_costs(net, {"reference": reference, **tables})
  shipped = devices.shipped()
  others = []
  if set(measured.names) <= set(shipped.names):
    columns = [shipped.names.index(name) for name in measured.names]
    others = [shipped.shapes()[:, columns]]
  logs = measured.shapes()
  return learn_prior(logs, logs[0], others)


def move(reference: LatencyTable, device: Device) -> LatencyTable:
  """A copy of R under the name of a new device, to be calibrated there.

  versions["entries_of"] names the device that the entries were measured on.
  """
  return msgspec.structs.replace(
    reference,
    device=device,
    fingerprint=versions.fingerprint_id(device),
    versions={**versions.versions(), "entries_of": reference.fingerprint},
    calibration=None,
    errors=None,
  )


def calibrate(
  net: Spec,
  reference: Mapping[str, float],
  measured: Measured,
  *,
  tables: Mapping[str, Mapping[str, float]] | None = None,
  liveness: str = "live",
  level: float = calibration.LEVEL,
) -> Calibration:
  """The calibration that turns R's table into the new device's.

  Args:
    net: the networks' space.
    reference: R's table, ms by the key of a site.
    measured: N networks and their latencies on the new device.
    tables: {device: ms by the key of a site} of more devices to learn from.
    liveness: of the new device, one of `calibration.LIVENESS`.
    level: of the one-sided margin; N networks may give less
      (`Calibration.attained_level`).

  Raises:
    KeyError: a site has no cost; the message is its key.
    ValueError: see `calibration.calibrate`.
  """
  prior = make_prior(net, reference, tables or {})

  def fit_device(
    rows: np.ndarray, measured_ms: np.ndarray, /
  ) -> tuple[np.ndarray, float]:
    if prior is not None:
      return fit(prior, rows, measured_ms)
    speed = np.exp(np.log(measured_ms / rows.sum(1)).mean())
    factors, noise = multipliers.fit(rows * speed, measured_ms)
    return factors * speed, noise

  return calibration.calibrate(
    net,
    reference,
    measured,
    liveness=liveness,
    level=level,
    fit=fit_device,
  )


def calibrator(tables: Sequence[LatencyTable]) -> Calibrate:
  """The function that calibrates a table on this device's networks.

  Args:
    tables: of other devices; the first is the one that is transferred. [] if
      the table was measured here.
  """
  if not tables:
    return calibration.calibrate
  others = {table.fingerprint: costs(table) for table in tables[1:]}
  return functools.partial(calibrate, tables=others)
