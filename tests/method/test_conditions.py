"""Where a search draws its conditions from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.core.types import Condition
from hwnas_jax.method import conditions

LOW, HIGH = 0.01, 100.0
MAKERS = {
  "fixed": lambda size: conditions.fixed(size, 3.0),
  "simplex": conditions.simplex,
  "cone": lambda size: conditions.cone(size, LOW, HIGH),
}


def draws(made, count=4096):
  keys = jax.random.split(jax.random.key(0), count)
  return jax.jit(jax.vmap(made.draw))(keys)


def features_of(made, drawn):
  return jax.jit(jax.vmap(made.features))(drawn)


@pytest.mark.parametrize("size", [1, 3, 7])
@pytest.mark.parametrize("name", MAKERS)
def test_draws_are_prices_with_readable_features(name, size):
  made = MAKERS[name](size)
  drawn = draws(made, 512)
  assert drawn.simplex.shape == (512, size) and drawn.scale.shape == (512,)
  assert (drawn.simplex >= 0).all() and (drawn.scale > 0).all()
  np.testing.assert_allclose(drawn.simplex.sum(1), 1.0, rtol=1e-5)
  features = features_of(made, drawn)
  assert features.shape == (512, made.num_features)
  np.testing.assert_array_equal(features[:, :size], drawn.simplex)


@pytest.mark.parametrize("name", MAKERS)
def test_a_cover_is_features_of_different_conditions(name):
  made = MAKERS[name](3)
  found = jax.jit(made.cover)(jax.random.split(jax.random.key(0), 9))
  assert found.shape == (9, made.num_features)
  np.testing.assert_allclose(found[:, :3].sum(1), 1.0, rtol=1e-5)
  assert len(np.unique(found, axis=0)) == (1 if name == "fixed" else 9)


def test_a_cover_of_the_cone_leaves_no_gap_in_the_scale():
  made = conditions.cone(2, LOW, HIGH)
  scales = jax.jit(made.cover)(jax.random.split(jax.random.key(0), 5))[:, -1]
  ends = Condition(np.full((2, 2), 0.5, "f4"), np.float32([LOW, HIGH]))
  low, high = np.asarray(features_of(made, ends))[:, -1]
  steps = np.linspace(low, high, 11)[1::2]  # the middles of fifths
  np.testing.assert_allclose(scales, steps, rtol=1e-5, atol=1e-5)


def test_fixed_is_always_the_same():
  drawn = draws(conditions.fixed(4, 2.5), 8)
  assert (drawn.simplex == 0.25).all() and (drawn.scale == 2.5).all()


@pytest.mark.parametrize("name", ["simplex", "cone"])
def test_the_simplex_is_covered_uniformly(name):
  """Dirichlet(1): each mean 1/K, each variance (K-1)/(K^2 (K+1))."""
  size = 3
  points = np.asarray(draws(MAKERS[name](size)).simplex)
  variance = (size - 1) / (size**2 * (size + 1))
  np.testing.assert_allclose(points.mean(0), 1 / size, atol=0.02)
  np.testing.assert_allclose(points.var(0), variance, rtol=0.08)
  # A coordinate is Beta(1, K-1): P(S < s) = 1 - (1 - s)^(K-1).
  for s in (0.1, 0.3, 0.6):
    wanted = 1 - (1 - s) ** (size - 1)
    np.testing.assert_allclose((points < s).mean(0), wanted, atol=0.03)


def test_the_scale_is_log_uniform():
  scale = np.asarray(draws(MAKERS["cone"](2)).scale)
  assert scale.min() >= LOW * (1 - 1e-5) and scale.max() <= HIGH * (1 + 1e-5)
  position = (np.log(scale) - np.log(LOW)) / np.log(HIGH / LOW)
  counts, _ = np.histogram(position, bins=8, range=(0, 1))
  np.testing.assert_allclose(counts / len(scale), 1 / 8, atol=0.02)


def test_the_scale_is_independent_of_the_simplex():
  drawn = draws(MAKERS["cone"](2))
  pair = np.log(drawn.scale), np.asarray(drawn.simplex[:, 0])
  assert abs(np.corrcoef(*pair)[0, 1]) < 0.05


def test_the_scale_is_read_by_its_logarithm():
  """Features reach as far below zero as above it, and no further."""
  made = MAKERS["cone"](2)
  reach = conditions.REACH
  scales = np.float32([LOW, 1.0, 10.0, HIGH])
  simplex = np.tile(np.float32([0.3, 0.7]), (4, 1))
  np.testing.assert_allclose(
    features_of(made, Condition(simplex, scales)),
    [[0.3, 0.7, reach * x] for x in (-1, 0, 0.5, 1)],
    atol=1e-5,
  )
  drawn = features_of(made, draws(made, 512))
  assert np.abs(drawn).max() <= reach + 1e-5


@pytest.mark.parametrize(
  ("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (1.0, 1.0), (2.0, 1.0)]
)
def test_a_cone_without_a_range_is_refused(low, high):
  with pytest.raises(ValueError, match=r"condition\.low and condition\.high"):
    conditions.cone(3, low, high)


def test_scale_keeps_the_prices_uniform():
  distribution = conditions.scale(3, 0.1, 10.0)
  drawn = draws(distribution, 20)
  np.testing.assert_allclose(drawn.simplex, np.full((20, 3), 1 / 3), rtol=1e-6)
  assert 0.1 <= drawn.scale.min() < 0.5 and 2.0 < drawn.scale.max() <= 10.0
  keys = jax.random.split(jax.random.key(1), 5)
  covered = jax.jit(distribution.cover)(keys)
  np.testing.assert_allclose(covered[:, :3], 1 / 3, rtol=1e-6)
  assert np.ptp(covered[:, 3]) > 5


def test_devices_are_drawn_and_served_each():
  points = conditions.draw_devices(jax.random.key(0), 4, 3)
  np.testing.assert_allclose(points[0], np.full(3, 1 / 3), rtol=1e-6)
  np.testing.assert_allclose(points.sum(-1), np.ones(4), rtol=1e-5)
  distribution = conditions.devices(points, 0.1, 10.0)
  drawn = np.asarray(draws(distribution, 60).simplex)
  assert {tuple(row) for row in drawn} == {
    tuple(row) for row in np.asarray(points)
  }
  each = jax.jit(distribution.each)(jax.random.key(2))
  np.testing.assert_array_equal(each.simplex, points)
  assert len(set(np.asarray(each.scale).tolist())) == 4


def test_progress_is_the_place_on_the_log_scale():
  made = conditions.cone(3, 0.1, 10.0)
  scales = np.float32([0.1, 1.0, 10.0])
  at = Condition(np.full((3, 3), 1 / 3, "f4"), scales)
  found = jax.jit(jax.vmap(conditions.progress))(features_of(made, at))
  np.testing.assert_allclose(found, [0, 0.5, 1], atol=1e-5)


@pytest.mark.parametrize(
  ("name", "weight"),
  [("fixed", 1.0), ("simplex", 1.0), ("cone", 0.1), ("scale", 0.1)],
)
def test_only_a_scale_that_varies_has_a_weight(name, weight):
  """With Adam a constant weight would change what decay is worth."""
  settings = conditions.ConditionSettings(3, 1e-3, 10.0, 2, jax.random.key(0))
  made = conditions.CONDITIONS[name].make(settings)
  condition = Condition(jnp.full(3, 1 / 3), jnp.asarray(9.0))
  assert float(made.weight(condition)) == pytest.approx(weight)
