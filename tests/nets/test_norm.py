"""Batch normalisation in its three modes, against flax and plain autodiff."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.nets.norm import EPSILON, BatchNorm, normalise


def normal(seed, shape=(4, 3, 5, 2)):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def images(seed=0):
  return 1.5 * normal(seed) + np.float32(0.7)


@jax.jit
def plain(x):
  mean = x.mean((0, 1, 2), keepdims=True)
  variance = jnp.square(x - mean).mean((0, 1, 2), keepdims=True)
  return (x - mean) / jnp.sqrt(variance + EPSILON)


def assert_close(actual, expected, tolerance=1e-4):
  np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def variables():
  """Variables that are none of the initial ones."""
  return {
    "params": {"scale": jnp.array([2.0, -0.5]), "bias": jnp.array([0.3, -1.0])},
    "batch_stats": {
      "mean": jnp.array([0.4, -2.0]),
      "var": jnp.array([3.0, 0.5]),
    },
  }


def apply(mode, stored, x, **fields):
  module = BatchNorm(mode, **fields)
  run = functools.partial(module.apply, mutable=["batch_stats"])
  return jax.jit(run)(stored, x)


def test_search_normalises_and_stores_nothing():
  x = images()
  y, stored = BatchNorm("search").init_with_output(jax.random.key(0), x)
  assert stored == {}
  assert_close(y, plain(x))
  y, changed = apply("search", {}, x)
  assert changed == {}
  assert_close(y, plain(x))


def test_the_stems_norm_alone_has_a_scale_and_shift_in_search():
  x, module = images(), BatchNorm("search", affine_in_search=True)
  fresh = module.init(jax.random.key(0), x)
  assert set(fresh) == {"params"} and set(fresh["params"]) == {"scale", "bias"}
  assert_close(module.apply(fresh, x), plain(x))
  params = variables()["params"]
  y, changed = apply("search", {"params": params}, x, affine_in_search=True)
  assert changed == {}
  assert_close(y, np.asarray(plain(x)) * [2.0, -0.5] + [0.3, -1.0])


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_trained_modes_are_flax(mode):
  x, stored = images(), variables()
  module = nn.BatchNorm(mode == "eval", epsilon=EPSILON)
  expected, _ = module.apply(stored, x, mutable=["batch_stats"])
  y, _ = apply(mode, stored, x)
  assert_close(y, expected)


def test_training_moves_the_statistics_as_pytorch_does():
  x, stored = images(), variables()
  _, changed = apply("train", stored, x)
  pixels = np.asarray(x, np.float64).reshape(-1, 2)
  old, new = stored["batch_stats"], changed["batch_stats"]
  assert_close(new["mean"], 0.9 * old["mean"] + 0.1 * pixels.mean(0), 1e-5)
  unbiased = pixels.var(0, ddof=1)
  assert_close(new["var"], 0.9 * old["var"] + 0.1 * unbiased, 1e-5)
  biased = 0.9 * old["var"] + 0.1 * pixels.var(0)
  assert np.all(
    np.abs(new["var"] - biased) > 1e-4
  )  # or this test shows nothing


def test_a_fresh_module_has_unit_statistics():
  fresh = BatchNorm("train").init(jax.random.key(0), images())
  assert_close(fresh["batch_stats"]["mean"], np.zeros(2), 0)
  assert_close(fresh["batch_stats"]["var"], np.ones(2), 0)


def test_eval_reads_the_stored_statistics_only():
  stored = variables()
  one = images()
  both = np.concatenate([one, 100.0 + images(1)])
  y, changed = apply("eval", stored, one)
  for name, value in stored["batch_stats"].items():
    np.testing.assert_array_equal(changed["batch_stats"][name], value)
  assert_close(apply("eval", stored, both)[0][:4], y, 1e-6)


def test_gradients_are_those_of_the_plain_formula():
  x, weight, direction = images(), normal(1), normal(2)

  def both(function):
    loss = lambda x: jnp.sum(jnp.sin(function(x)) * weight)  # noqa: E731
    slope = lambda x: jnp.vdot(jax.grad(loss)(x), direction)  # noqa: E731
    return jax.jit(lambda x: (jax.grad(loss)(x), jax.grad(slope)(x)))(x)

  actual, expected = both(lambda x: normalise(x)[0]), both(plain)
  for a, b in zip(actual, expected, strict=True):
    assert jnp.max(jnp.abs(b)) > 1e-2
    assert_close(a, b)


def test_scale_and_shift_get_the_gradient():
  x, stored, weight = images(), variables(), normal(1)

  def loss(params):
    y, _ = apply("train", {**stored, "params": params}, x)
    return jnp.vdot(y, weight)

  grads = jax.jit(jax.grad(loss))(stored["params"])
  expected = np.asarray(plain(x)) * weight
  assert_close(grads["scale"], expected.sum((0, 1, 2)))
  assert_close(grads["bias"], weight.sum((0, 1, 2)))


@pytest.mark.parametrize("shape", [(4, 3, 3, 2), (1, 1, 1, 2)])
def test_a_constant_channel_stays_finite(shape):
  x = jnp.full(shape, 7.3)
  y, pullback = jax.vjp(lambda x: normalise(x)[0], x)
  assert_close(y, np.zeros(shape), 1e-2)
  assert np.all(np.isfinite(pullback(normal(0, shape))[0]))
  _, changed = apply("train", variables(), x)
  assert all(np.all(np.isfinite(s)) for s in changed["batch_stats"].values())
