"""Transfer to devices whose true multipliers are known."""

import numpy as np
import pytest

from hwnas_jax.costs.correct import calibration, regression, transfer
from hwnas_jax.costs.measured import Measured
from hwnas_jax.spaces import darts
from hwnas_jax.spaces.rules import RULES

OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
NET = darts.Darts(OPS, 3, 2, 4, (8, 8, 1), 3)
SPACE = NET.space()
OWN_MS = dict(zip(OPS, (0.0, 0.02, 0.2, 0.5, 0.1), strict=True))
# R: a cost that depends on the type and on the place.
R = {
  site.key: OWN_MS.get(site.op, 0.3) * (1 + 0.1 * (site.height == 8))
  for site in SPACE.unique_sites()
}
FIXED = {site.key for site in SPACE.fixed}


def device(seed):
  """(multipliers [1 + O] of a device on R, its table): 20 to 500 times R."""
  rng = np.random.default_rng(seed)
  speed = np.exp(rng.uniform(3, 6))
  multipliers = speed * np.exp(0.4 * rng.standard_normal(1 + len(OPS)))
  by_op = dict(zip(OPS, multipliers[1:], strict=True))
  table = {
    site.key: R[site.key] * by_op.get(site.op, multipliers[0])
    for site in SPACE.unique_sites()
  }
  return multipliers, table


def networks(seed, count):
  rng = np.random.default_rng(seed)
  return calibration.choose(NET, R, RULES["argmax"], rng, count)


def rows_of(genotypes):
  return np.stack([calibration.features(NET, R, g, "live") for g in genotypes])


def measure(rows, multipliers, noise=0.03, seed=0):
  rng = np.random.default_rng(seed)
  return rows @ multipliers * (1 + noise * rng.standard_normal(len(rows)))


def tables(count):
  return {f"device {i}": device(i)[1] for i in range(count)}


def error(multipliers, truth):
  rows = rows_of(networks(9, 40))
  return np.median(np.abs(rows @ multipliers / (rows @ truth) - 1))


LOGS = np.random.default_rng(0).standard_normal((6, 3))


def test_a_prior_is_the_prediction_of_one_more_device():
  found = transfer.learn_prior(LOGS, LOGS[2], shrink=0.0, minimum=0.0)
  np.testing.assert_allclose(found.mean, LOGS.mean(0) - LOGS[2])
  np.testing.assert_allclose(found.covariance, np.cov(LOGS.T) * 7 / 6)


def test_other_spaces_give_scatter_only():
  shifted = LOGS + np.array([5.0, -3.0, 1.0])
  found = transfer.learn_prior(
    LOGS[:1], LOGS[0], [shifted], shrink=0.0, minimum=0.0
  )
  np.testing.assert_allclose(found.mean, 0.0)
  # Of R and of the new device.
  np.testing.assert_allclose(found.covariance, 2 * np.cov(LOGS.T))


def test_two_spaces_are_pooled_by_degrees_of_freedom():
  found = transfer.learn_prior(
    LOGS[:3], LOGS[0], [LOGS[3:] + 9.0], shrink=0.0, minimum=0.0
  )
  pooled = (np.cov(LOGS[:3].T) + np.cov(LOGS[3:].T)) / 2
  np.testing.assert_allclose(found.covariance, pooled * 4 / 3)


def test_covariances_are_shrunk_and_have_a_minimum():
  plain = transfer.learn_prior(LOGS, LOGS[0], shrink=0.0, minimum=0.0)
  shrunk = transfer.learn_prior(LOGS, LOGS[0], shrink=1.0, minimum=2.0)
  wanted = np.diag(np.diag(plain.covariance)) + 4 * 7 / 6 * np.eye(3)
  np.testing.assert_allclose(shrunk.covariance, wanted)


def test_one_device_alone_teaches_nothing():
  assert transfer.learn_prior(LOGS[:1], LOGS[0]) is None
  assert transfer.learn_prior(LOGS[:1], LOGS[0], [LOGS[1:2]]) is None


PRIOR = regression.Prior(np.zeros(6), 0.32 * np.eye(6))


@pytest.mark.parametrize("seed", range(2))
def test_ten_measurements_do(seed):
  truth, _ = device(seed)
  rows = rows_of(networks(seed, 10))
  found, _ = transfer.fit(PRIOR, rows, measure(rows, truth))
  assert (found > 0).all()
  assert error(found, truth) < 0.05
  speed = np.exp(np.log(measure(rows, truth) / rows.sum(1)).mean())
  assert error(found, truth) < 0.7 * error(np.full(6, speed), truth)


def test_exact_measurements_give_the_true_multipliers():
  truth, _ = device(5)
  rows = rows_of(networks(5, 30))
  found, noise = transfer.fit(PRIOR, rows, rows @ truth)
  known = [0, 2, 3, 4, 5]  # `none` takes no time on R
  np.testing.assert_allclose(found[known], truth[known], rtol=0.01)
  assert noise == min(transfer.NOISE)


def test_a_fit_is_where_the_posterior_is_highest():
  """Of the exact, nonlinear model: no neighbour is better."""
  truth, _ = device(6)
  rows = rows_of(networks(6, 10))
  measured = measure(rows, truth)
  found, noise = transfer.fit(PRIOR, rows, measured, [0.04])
  speed = np.log(measured / rows.sum(1)).mean()
  inverse = np.linalg.inv(PRIOR.covariance + transfer.COMMON**2)

  def loss(logs):
    misfit = (rows @ np.exp(logs) / measured - 1) / noise
    away = logs - speed
    return misfit @ misfit + away @ inverse @ away

  best = loss(np.log(found))
  for step in 0.02 * np.vstack([np.eye(6), -np.eye(6)]):
    assert loss(np.log(found) + step) > best


def test_a_fit_does_not_depend_on_the_unit():
  rows = rows_of(networks(7, 10))
  measured = measure(rows, device(7)[0])
  one, noise = transfer.fit(PRIOR, rows, measured)
  other, same = transfer.fit(PRIOR, rows, 1000 * measured)
  np.testing.assert_allclose(1000 * one, other, rtol=1e-6)
  assert noise == same


def test_one_measurement_gives_the_speed():
  rows = rows_of(networks(8, 3))
  found, _ = transfer.fit(PRIOR, rows[:1], 40 * rows[:1].sum(1))
  np.testing.assert_allclose(found, 40, rtol=1e-6)


def test_chosen_networks_tell_more_than_random_ones():
  rows = rows_of(networks(3, 60))
  chosen = transfer.choose(PRIOR, rows, 8)
  assert len(set(chosen)) == 8

  def left(indices):
    some = rows[indices]
    posterior = regression.fit(PRIOR, some, some.sum(1), 0.05)
    shares = rows / rows.sum(1, keepdims=True)
    return np.trace(shares @ posterior.covariance @ shares.T)

  rng = np.random.default_rng(0)
  random = [left(rng.choice(60, 8, replace=False)) for _ in range(20)]
  assert left(chosen) < min(random)
  with pytest.raises(ValueError, match="60 candidates, 61"):
    transfer.choose(PRIOR, rows, 61)


def test_darts_operations_need_a_second_table():
  net = darts.Darts(darts.THREE, 3, 2, 4, (8, 8, 1), 3)
  costs = {site.key: 0.1 for site in net.space().unique_sites()}
  slower = {key: ms * (1 + key.startswith("sep")) for key, ms in costs.items()}
  assert transfer.make_prior(net, costs, {}) is None
  found = transfer.make_prior(net, costs, {"slower": slower})
  variance = np.diag(found.covariance)
  assert found.mean[3] > found.mean[1] and variance[3] > variance[1]


@pytest.mark.parametrize("count", [0, 6])
def test_a_calibration_for_a_new_device(count):
  truth, _ = device(20)
  genotypes = networks(4, 10)
  measured = Measured(genotypes, measure(rows_of(genotypes), truth))
  found = transfer.calibrate(NET, R, measured, tables=tables(count))
  values = [found.multipliers[name] for name in ("base", *OPS)]
  assert error(np.array(values), truth) < 0.05
  assert found.level == 0.95 and found.attained_level == 10 / 11
  genotype = networks(11, 3)[0]
  exact = float(rows_of([genotype])[0] @ truth)
  assert calibration.predict_ms(found, NET, R, genotype) == pytest.approx(
    exact, rel=0.1
  )
  assert calibration.upper_ms(found, NET, R, genotype) > exact


def test_without_a_prior_the_calibrations_is_used():
  net = darts.Darts(darts.THREE, 3, 2, 4, (8, 8, 1), 3)
  rng = np.random.default_rng(0)
  costs = {s.key: rng.uniform(0.1, 1) for s in net.space().unique_sites()}
  genotypes = calibration.choose(net, costs, RULES["argmax"], rng, 12)
  truth = 300 * np.array([1.0, 0.7, 1.2, 1.5])
  rows = np.stack(
    [calibration.features(net, costs, g, "live") for g in genotypes]
  )
  measured = Measured(genotypes, measure(rows, truth, 0.01))
  found = transfer.calibrate(net, costs, measured)
  predicted = [calibration.predict_ms(found, net, costs, g) for g in genotypes]
  np.testing.assert_allclose(predicted, rows @ truth, rtol=0.05)
