"""The point of least norm in a hull of gradients."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from hwnas_jax.method import min_norm


def test_two_gradients_by_hand():
  gram = np.array([[1.0, -0.5], [-0.5, 2.0]], np.float32)
  # (g2 - g1) . g2 / |g1 - g2|^2 of the first.
  wanted = (2.0 + 0.5) / (1 + 2 + 1)
  found = min_norm.hull_weights(gram)
  np.testing.assert_allclose(found, [wanted, 1 - wanted], rtol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_quadratic_programs_answer(seed):
  rows = np.random.default_rng(seed).normal(size=(5, 8))
  gram = rows @ rows.T
  best = optimize.minimize(
    lambda w: w @ gram @ w,
    np.full(5, 0.2),
    jac=lambda w: 2 * gram @ w,
    bounds=[(0, 1)] * 5,
    constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
  )
  found = np.asarray(min_norm.hull_weights(jnp.asarray(gram, jnp.float32)))
  assert found.min() >= 0 and found.sum() == pytest.approx(1, abs=1e-5)
  assert found @ gram @ found == pytest.approx(best.fun, rel=0.05)


def test_the_direction_descends_all_losses_whatever_their_size():
  grads = {
    "a": jnp.array([[1.0, 0.0], [-1.0, 1.0]]),
    "b": jnp.array([[0.5], [0.5]]),
  }
  found = min_norm.combine(grads)
  flat = np.concatenate([found["a"], found["b"]])
  for row in range(2):
    of_loss = np.concatenate([grads["a"][row], grads["b"][row]])
    assert flat @ of_loss > 0.1
  scaled = {k: v * jnp.array([[1.0], [100.0]]) for k, v in grads.items()}
  again = min_norm.combine(scaled)
  np.testing.assert_allclose(again["a"], found["a"], rtol=1e-3)
