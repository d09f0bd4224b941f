"""Discrete samplers: one path, the right law, the published gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.core.types import FORBIDDEN
from hwnas_jax.samplers import discrete

LOGITS = np.array([[0.3, -1.2, 0.8, 0], [2, 1, -1, 0.5]], np.float32)
P = np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)
V = np.random.default_rng(0).normal(size=LOGITS.shape).astype(np.float32)
every = pytest.mark.parametrize("name", discrete.DISCRETE)


def keys():
  return jax.random.split(jax.random.key(0), 20_000)


def draw(name, logits=LOGITS, temperature=1.0, seed=0):
  sampler = jax.jit(discrete.DISCRETE[name])
  return sampler(jax.random.key(seed), logits, np.float32(temperature))


def gradient(name, seed=0, temperature=1.0):
  def value(logits):
    return jnp.vdot(draw(name, logits, temperature, seed).weights, V)

  return jax.jit(jax.grad(value))(LOGITS)


def jacobian(q, v):
  """J(v; q) of softmax, by choice."""
  return q * (v - (q * v).sum(-1, keepdims=True))


@every
@pytest.mark.parametrize("seed", range(3))
def test_one_operation_runs(name, seed):
  mix = draw(name, seed=seed)
  assert set(np.unique(mix.weights)) == {0.0, 1.0}
  assert mix.paths.active.shape == (2, 1)
  np.testing.assert_array_equal(mix.weights.argmax(-1), mix.paths.active[:, 0])
  np.testing.assert_allclose(mix.priced.sum(-1), [1, 1], rtol=1e-6)


@every
def test_it_is_drawn_as_often_as_softmax_says(name):
  sampler = discrete.DISCRETE[name]
  if name == "two_gates":
    # By the pair's own softmax: of two operations, that is softmax itself.
    logits, wanted = LOGITS[:, :2], P[:, :2] / P[:, :2].sum(-1, keepdims=True)
  else:
    logits, wanted = LOGITS, P
  drawn = jax.jit(jax.vmap(lambda k: sampler(k, logits, 0.7).weights))(keys())
  np.testing.assert_allclose(drawn.mean(0), wanted, atol=0.02)


@pytest.mark.parametrize("name", sorted({*discrete.DISCRETE} - {"two_gates"}))
def test_a_single_operation_has_no_gradient(name):
  logits = np.array([[0.7], [-2.0]], np.float32)
  grad = jax.grad(lambda v: draw(name, v).weights.sum())(logits)
  np.testing.assert_array_equal(grad, 0)


@every
@pytest.mark.parametrize("seed", range(5))
def test_what_a_choice_lacks_is_never_drawn(name, seed):
  logits = LOGITS.copy()
  logits[0, 2] = FORBIDDEN
  mix = draw(name, logits, seed=seed)
  assert mix.paths.active[0, 0] != 2
  assert np.isfinite(mix.weights).all() and mix.priced[0, 2] == 0


def test_gdas_has_the_relaxed_gradient():
  key = jax.random.key(0)
  noisy = LOGITS + np.asarray(jax.random.gumbel(key, LOGITS.shape))
  soft = np.asarray(jax.nn.softmax(noisy / 0.7))
  wanted = jacobian(soft, V) / 0.7
  np.testing.assert_allclose(gradient("gdas", 0, 0.7), wanted, rtol=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_reinmax_by_hand(temperature):
  hard = np.asarray(draw("reinmax", temperature=temperature).weights)
  soft = np.asarray(jax.nn.softmax(LOGITS / temperature))
  wanted = jacobian((soft + hard) / 2, 2 * V) - jacobian(P, V / 2)
  found = gradient("reinmax", temperature=temperature)
  np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


def test_reinmax_is_exact_for_a_quadratic():
  """Second order: the mean gradient of a quadratic is the true one."""
  rng = np.random.default_rng(1)
  form = rng.normal(size=(4, 4)).astype(np.float32)
  form = form + form.T
  logits = LOGITS[:1]

  def value(logits, key):
    y = discrete.reinmax(key, logits, jnp.ones(())).weights[0]
    return y @ form @ y

  found = jax.jit(jax.vmap(jax.grad(value), (None, 0)))(logits, keys()).mean(0)
  exact = jax.grad(lambda v: jax.nn.softmax(v)[0] @ jnp.diag(form))(logits)
  np.testing.assert_allclose(found, exact, atol=0.05)


def test_gates_by_hand():
  mix = draw("gates")
  np.testing.assert_array_equal(mix.paths.scored, [[0, 1, 2, 3]] * 2)
  np.testing.assert_allclose(gradient("gates"), jacobian(P, V), rtol=1e-5)


def test_two_gates_move_two_logits():
  mix, grad = draw("two_gates"), np.asarray(gradient("two_gates"))
  for row, pair, active, priced in zip(
    grad, mix.paths.scored, mix.paths.active[:, 0], mix.priced, strict=True
  ):
    assert active in pair and len(set(np.asarray(pair))) == 2
    assert set(np.flatnonzero(row)) == set(np.asarray(pair))
    assert set(np.flatnonzero(priced)) == set(np.asarray(pair))


def test_the_others_keep_their_shares():
  pair = np.array([[0, 2], [3, 1]])
  new = LOGITS.copy()
  new[0, 0] += 0.5
  new[1, 1] -= 2.0
  kept = discrete.keep_the_others(pair, LOGITS, new)
  found = np.asarray(jax.nn.softmax(kept))
  np.testing.assert_allclose(found[0, [1, 3]], P[0, [1, 3]], rtol=1e-5)
  np.testing.assert_allclose(found[1, [0, 2]], P[1, [0, 2]], rtol=1e-5)
  ratio = found[0, 0] / found[0, 2]
  np.testing.assert_allclose(ratio, P[0, 0] / P[0, 2] * np.exp(0.5), rtol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_ordered_runs_every_operation_once(seed):
  mix = discrete.ordered(jax.random.key(seed), LOGITS, 1.0)
  active = np.asarray(mix.paths.active)[..., 0]  # [paths, E]
  np.testing.assert_array_equal(np.sort(active, 0), [[o, o] for o in range(4)])
  np.testing.assert_array_equal(mix.weights.argmax(-1), active)
  # The last has nothing beside it: it has no gradient.
  last = jax.grad(
    lambda v: jnp.vdot(
      discrete.ordered(jax.random.key(seed), v, 1.0).weights[-1], V
    )
  )(LOGITS)
  np.testing.assert_allclose(last, 0, atol=1e-6)


def test_the_first_of_the_order_is_drawn_by_softmax():
  first = jax.vmap(lambda k: discrete.ordered(k, LOGITS, 1.0).weights[0])
  np.testing.assert_allclose(jax.jit(first)(keys()).mean(0), P, atol=0.02)


def test_a_shorter_choice_begins_again():
  logits = LOGITS.copy()
  logits[0, [1, 3]] = FORBIDDEN
  mix = discrete.ordered(jax.random.key(0), logits, 1.0)
  first = np.asarray(mix.paths.active)[:, 0, 0]
  assert set(first) == {0, 2} and first[0] == first[2] != first[1]
  assert np.isfinite(mix.weights).all()
