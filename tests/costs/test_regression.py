"""Closed forms against their definitions, and what jackknife+ promises."""

import math

import numpy as np
import pytest
from scipy import stats

from hwnas_jax.costs.correct import regression

SIZE = 4
MEAN = np.array([1.0, 0.8, 2.0, 1.5])
PRIOR = regression.correlated_prior(MEAN, 0.2, 0.1)
NOISE = 0.05


def draw(count, seed=0, noise=NOISE):
  """(features, latencies) of a device drawn from the prior."""
  rng = np.random.default_rng(seed)
  features = rng.uniform(0.5, 5.0, (count, SIZE))
  truth = rng.multivariate_normal(PRIOR.mean, PRIOR.covariance)
  return features, features @ truth * (1 + noise * rng.standard_normal(count))


def test_a_correlated_prior_has_a_common_and_an_individual_part():
  np.testing.assert_array_equal(PRIOR.mean, MEAN)
  np.testing.assert_allclose(np.diag(PRIOR.covariance), 0.04 + 0.01)
  np.testing.assert_allclose(PRIOR.covariance[0, 1:], 0.04)


def test_fit_is_the_normal_equations():
  features, latencies_ms = draw(7)
  rows = features / latencies_ms[:, None]
  inverse = np.linalg.inv(PRIOR.covariance)
  covariance = np.linalg.inv(inverse + rows.T @ rows / NOISE**2)
  mean = covariance @ (inverse @ MEAN + rows.sum(0) / NOISE**2)
  found = regression.fit(PRIOR, features, latencies_ms, NOISE)
  np.testing.assert_allclose(found.mean, mean, rtol=1e-9)
  np.testing.assert_allclose(found.covariance, covariance, rtol=1e-7)


def test_fit_finds_the_truth_of_many_exact_measurements():
  features = np.random.default_rng(1).uniform(0.5, 5.0, (50, SIZE))
  truth = np.array([0.7, 0.6, 2.2, 1.1])
  found = regression.fit(PRIOR, features, features @ truth, 1e-4)
  np.testing.assert_allclose(found.mean, truth, rtol=1e-3)


def test_fit_is_relative():
  """A network of twice the latency has as much to say, not four times."""
  features, latencies_ms = draw(6)
  scale = np.array([1, 10, 100, 1, 10, 100])
  one = regression.fit(PRIOR, features, latencies_ms, NOISE)
  other = regression.fit(
    PRIOR, features * scale[:, None], latencies_ms * scale, NOISE
  )
  np.testing.assert_allclose(one.mean, other.mean, rtol=1e-9)


def test_a_known_coefficient_stays():
  covariance = PRIOR.covariance.copy()
  covariance[2] = covariance[:, 2] = 0
  known = regression.Prior(MEAN, covariance)
  found = regression.fit(known, *draw(9), NOISE)
  assert found.mean[2] == MEAN[2] and found.covariance[2, 2] == 0
  assert found.mean[0] != MEAN[0]


def test_leave_one_out_is_refitting():
  features, latencies_ms = draw(8)
  found = regression.leave_one_out(PRIOR, features, latencies_ms, NOISE)
  density = 0.0
  for i in range(8):
    rest = np.arange(8) != i
    refit = regression.fit(PRIOR, features[rest], latencies_ms[rest], NOISE)
    np.testing.assert_allclose(found.means[i], refit.mean, rtol=1e-8)
    predicted = features[i] @ refit.mean
    np.testing.assert_allclose(found.predicted_ms[i], predicted, rtol=1e-9)
    row = features[i] / latencies_ms[i]
    spread = math.sqrt(row @ refit.covariance @ row + NOISE**2)
    density += stats.norm(row @ refit.mean, spread).logpdf(1.0)
  np.testing.assert_allclose(found.log_density, density, rtol=1e-7)


def test_the_density_prefers_the_noise_that_is_there():
  features, latencies_ms = draw(60, noise=0.05)
  density = {
    noise: regression.leave_one_out(
      PRIOR, features, latencies_ms, noise
    ).log_density
    for noise in (0.005, 0.05, 0.5)
  }
  assert max(density, key=density.get) == 0.05


@pytest.mark.parametrize(
  ("count", "level", "rank", "attained"),
  [
    (20, 0.95, 20, 20 / 21),
    (19, 0.95, 19, 19 / 20),
    (10, 0.95, 10, 10 / 11),
    (39, 0.95, 38, 38 / 40),
    (100, 0.9, 91, 91 / 101),
    (1, 0.5, 1, 1 / 2),
  ],
)
def test_the_rank_of_a_level(count, level, rank, attained):
  assert regression.rank_of_level(count, level) == rank
  assert regression.attained_level(count, level) == attained


def test_the_bound_is_that_rank():
  ratios = np.random.default_rng(0).permutation(np.arange(1.0, 40.0))
  assert regression.upper_bound(np.ones(39), ratios, 0.95) == 38
  assert regression.upper_bound(2 * np.ones(39), ratios, 0.95) == 76
  # Each fit's prediction goes with its own ratio.
  assert regression.upper_bound(np.array([1, 10]), np.array([9, 2]), 0.5) == 20


def coverage(count, level, trials=800):
  """How often a new latency is below the bound, over devices and networks."""
  covered = 0
  for seed in range(trials):
    features, latencies_ms = draw(count + 1, seed, noise=0.1)
    rows, wanted = features[:count], latencies_ms[:count]
    left = regression.leave_one_out(PRIOR, rows, wanted, 0.1)
    bound = regression.upper_bound(
      left.means @ features[count], wanted / left.predicted_ms, level
    )
    covered += latencies_ms[count] <= bound
  return covered / trials


@pytest.mark.parametrize(("count", "level"), [(20, 0.95), (12, 0.7)])
def test_jackknife_plus_covers_what_it_says(count, level):
  wanted = regression.attained_level(count, level)
  spread = math.sqrt(wanted * (1 - wanted) / 800)
  assert abs(coverage(count, level) - wanted) < 4 * spread


def test_errors_by_hand():
  found = regression.error_of([1.1, 2.0, 2.4], np.array([1.0, 2.0, 4.0]))
  assert found.median_absolute_error == pytest.approx(0.1)
  assert found.bias == 0.0
  assert found.spearman == pytest.approx(1.0)


@pytest.mark.parametrize("count", [1, 3])
def test_ranks_of_equal_predictions_are_not_correlated(count):
  found = regression.error_of([2.0] * count, np.arange(1.0, 1.0 + count))
  assert found.spearman is None


GOOD = draw(5)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"latencies_ms": GOOD[1][:4]}, r"features are \(5, 4\)"),
    ({"features": GOOD[0][:, :3]}, r"features are \(5, 3\)"),
    ({"features": np.ones((0, 4)), "latencies_ms": np.ones(0)}, "one at least"),
    ({"features": np.full((5, 4), np.nan)}, "a feature is not finite"),
    ({"latencies_ms": GOOD[1] - GOOD[1][0]}, "latencies_ms: .*above 0"),
    ({"latencies_ms": np.full(5, np.inf)}, "latencies_ms: .*above 0"),
    ({"noise": 0.0}, "noise is 0.0"),
    ({"noise": math.nan}, "noise is nan"),
    ({"prior": regression.Prior(MEAN, np.eye(3))}, "covariance is"),
  ],
)
def test_the_impossible_is_refused(change, message):
  good = {"features": GOOD[0], "latencies_ms": GOOD[1], "noise": NOISE}
  arguments = {"prior": PRIOR, **good, **change}
  for function in (regression.fit, regression.leave_one_out):
    with pytest.raises(ValueError, match=message):
      function(**arguments)


@pytest.mark.parametrize("level", [0.0, 1.0, 95])
def test_a_level_is_a_fraction(level):
  with pytest.raises(ValueError, match="between 0 and 1"):
    regression.rank_of_level(20, level)


def test_no_scores_give_no_bound():
  with pytest.raises(ValueError, match="one score at least"):
    regression.upper_bound(np.ones(0), np.ones(0), 0.9)
