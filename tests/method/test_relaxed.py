"""Samplers: the simplex, the limits, the distributions and the gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from hwnas_jax import method
from hwnas_jax.core.types import FORBIDDEN
from hwnas_jax.method.relaxed import (
  dirichlet,
  gumbel_softmax,
  softmax,
  straight_through,
)

LOGITS = np.array([[0.3, -1.2, 0.8, 0], [2, 1, -1, 0.5]], np.float32)
ALPHA = np.array([[1.0, 0.0, -1.0]], np.float32)
SAMPLERS = {n: s.draw for n, s in method.SAMPLERS.items() if not s.path}
NOISY = {
  n: s.draw for n, s in method.SAMPLERS.items() if not s.path and s.noisy
}
GUMBEL = [gumbel_softmax, straight_through]
# Dirichlet weights do not follow the categorical of the logits.
PRICED = [softmax, *GUMBEL]
every = pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
noisy = pytest.mark.parametrize("sampler", NOISY.values(), ids=NOISY)


JITTED = {s: jax.jit(s, static_argnums=3) for s in SAMPLERS.values()}


def draw(sampler, temperature, batch=None, logits=LOGITS, seed=0):
  key = jax.random.key(seed)
  return JITTED[sampler](key, logits, np.float32(temperature), batch)


@every
@pytest.mark.parametrize("temperature", [0.1, 1.0, 5.0])
def test_weights_are_on_the_simplex(sampler, temperature):
  weights, priced, _ = draw(sampler, temperature)
  assert weights.shape == priced.shape == LOGITS.shape
  for point in weights, priced:
    assert np.all(point >= 0)
    np.testing.assert_allclose(point.sum(-1), np.ones(2), rtol=1e-5)


@pytest.mark.parametrize("sampler", PRICED)
@pytest.mark.parametrize("temperature", [0.1, 5.0])
@pytest.mark.parametrize("batch", [None, 3])
def test_the_price_is_that_of_the_categorical(sampler, temperature, batch):
  expected = np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)
  found = draw(sampler, temperature, batch).priced
  np.testing.assert_allclose(found, expected, rtol=1e-5)


@every
def test_one_operation_has_weight_one_and_no_gradient(sampler):
  logits = np.array([[0.7], [-2.0]], np.float32)
  cost = np.array([[3.0], [5.0]], np.float32)
  np.testing.assert_array_equal(draw(sampler, 0.5, None, logits).weights, 1)
  loss = lambda v: jnp.vdot(draw(sampler, 0.5, None, v).weights, cost)  # noqa: E731
  np.testing.assert_array_equal(jax.jit(jax.grad(loss))(logits), 0)


@noisy
def test_each_example_has_a_draw_of_its_own(sampler):
  weights = draw(sampler, 1.0, 4000).weights
  assert weights.shape == (4000, *LOGITS.shape)
  first = np.asarray(weights[..., 0])  # [B, E]
  pairs = [
    (first[1:, 0], first[:-1, 0]),  # two examples
    (first[:, 0], first[:, 1]),  # two choices of one example
  ]
  for a, b in pairs:
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.05
  assert np.std(first[:, 0]) > 0.1


@noisy
def test_the_key_is_the_only_randomness(sampler):
  first, again, other = (draw(sampler, 1.0, 4000, seed=s) for s in (0, 0, 1))
  np.testing.assert_array_equal(first.weights, again.weights)
  assert not np.array_equal(first.weights, other.weights)


def test_softmax_draws_nothing():
  first, other = (draw(softmax, 0.7, seed=s).weights for s in (0, 1))
  np.testing.assert_array_equal(first, other)


@pytest.mark.parametrize("batch", [None, 4000])
def test_straight_through_is_one_hot_at_the_largest_weight(batch):
  soft = draw(gumbel_softmax, 0.7, batch).weights
  hard = draw(straight_through, 0.7, batch).weights
  assert set(np.unique(hard)) == {0.0, 1.0}
  np.testing.assert_array_equal(hard.sum(-1), 1)
  np.testing.assert_array_equal(hard.argmax(-1), soft.argmax(-1))


@pytest.mark.parametrize("batch", [None, 3])
def test_straight_through_has_the_relaxed_gradient(batch):
  shape = LOGITS.shape if batch is None else (batch, *LOGITS.shape)
  weight = np.random.default_rng(0).normal(size=shape).astype(np.float32)

  def gradient(sampler):
    loss = lambda v: jnp.vdot(draw(sampler, 0.7, batch, v).weights, weight)  # noqa: E731
    return jax.jit(jax.grad(loss))(LOGITS)

  expected = gradient(gumbel_softmax)
  assert np.all(np.abs(expected) > 1e-4)
  np.testing.assert_allclose(gradient(straight_through), expected, rtol=1e-6)


def test_cold_weights_are_one_hot():
  noise = jax.random.gumbel(jax.random.key(0), (3, *LOGITS.shape))
  noisy_best = np.eye(4)[np.argmax(LOGITS + np.asarray(noise), -1)]
  cold = draw(gumbel_softmax, 1e-6, 3).weights
  np.testing.assert_allclose(cold, noisy_best, atol=1e-6)
  best = np.eye(4)[LOGITS.argmax(-1)]
  assert np.any(noisy_best != best)
  np.testing.assert_allclose(draw(softmax, 1e-6).weights, best, atol=1e-6)


@pytest.mark.parametrize("sampler", [softmax, gumbel_softmax])
def test_hot_weights_are_uniform(sampler):
  found = draw(sampler, 1e6).weights
  np.testing.assert_allclose(found, np.full((2, 4), 0.25), atol=1e-4)


@pytest.mark.parametrize("sampler", GUMBEL)
def test_the_largest_weight_follows_the_categorical(sampler):
  batch = 20_000
  weights = draw(sampler, 0.5, batch, LOGITS[:1]).weights
  best = np.asarray(weights).argmax(-1)
  counts = np.bincount(best[:, 0], minlength=4)
  expected = np.asarray(jax.nn.softmax(LOGITS[0]), np.float64)
  expected *= batch / expected.sum()
  assert stats.chisquare(counts, expected).pvalue > 0.01
  assert stats.chisquare(counts).pvalue < 1e-6  # it would see a wrong one


@pytest.mark.parametrize(
  ("temperature", "expected"),
  [(1.0, (0.569, 0.289, 0.142)), (0.2, (0.659, 0.249, 0.093))],
)
def test_relaxed_means_are_not_the_softmax(temperature, expected):
  # E[Gumbel-Softmax] is softmax(alpha / t) at no t (docs/methods.md).
  weights = draw(gumbel_softmax, temperature, 400_000, ALPHA).weights
  mean = np.asarray(weights, np.float64).mean((0, 1))
  np.testing.assert_allclose(mean, expected, atol=2.5e-3)
  tempered = jax.nn.softmax(ALPHA[0] / temperature)
  assert np.abs(mean - tempered).max() > 0.05


def test_dirichlet_prices_the_mean_of_its_weights():
  mix = draw(dirichlet, 1.0, 20_000)
  np.testing.assert_allclose(mix.weights.mean(0), mix.priced, atol=0.01)
  concentration = np.where(LOGITS > 0, LOGITS + 1, np.exp(LOGITS))
  wanted = concentration / concentration.sum(-1, keepdims=True)
  np.testing.assert_allclose(mix.priced, wanted, rtol=1e-5)


def test_dirichlet_has_the_gradient_of_its_mean():
  """The mean gradient of a sample is that of E[weights] = c / sum c."""
  weight = np.random.default_rng(0).normal(size=LOGITS.shape).astype("f4")
  logits, count = LOGITS.copy(), 4000
  logits[0, 2] = FORBIDDEN

  def of_sample(logits, key):
    return jnp.vdot(dirichlet(key, logits, jnp.ones(())).weights, weight)

  def of_mean(logits):
    c = jnp.where(logits > FORBIDDEN / 10, jax.nn.elu(logits) + 1.0, 0.0)
    return jnp.vdot(c / c.sum(-1, keepdims=True), weight)

  keys = jax.random.split(jax.random.key(1), count)
  found = np.asarray(jax.jit(jax.vmap(jax.grad(of_sample), (None, 0)))(
    logits, keys
  ))  # fmt: skip
  error = 4 * found.std(0) / np.sqrt(count)
  wanted = np.asarray(jax.grad(of_mean)(logits))
  assert (np.abs(found.mean(0) - wanted) <= error).all()
  assert np.linalg.norm(error) < 0.2 * np.linalg.norm(wanted)
  assert wanted[0, 2] == 0 and not found[:, 0, 2].any()


def test_dirichlet_leaves_out_what_there_is_not():
  logits = LOGITS.copy()
  logits[0, 2] = FORBIDDEN
  mix = draw(dirichlet, 1.0, None, logits)
  assert mix.weights[0, 2] == mix.priced[0, 2] == 0
