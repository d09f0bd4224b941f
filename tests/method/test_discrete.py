"""Samplers of a path: what is drawn, how often, and the published gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.core.types import FORBIDDEN
from hwnas_jax.method import SAMPLERS, discrete

LOGITS = np.array([[0.3, -1.2, 0.8, 0], [2, 1, -1, 0.5]], np.float32)
P = np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)
V = np.random.default_rng(0).normal(size=LOGITS.shape).astype(np.float32)
PATHS = {n: s.draw for n, s in SAMPLERS.items() if s.path and s.draw}
ONE_DRAW = sorted({*PATHS} - {"two_gates"})
every = pytest.mark.parametrize("name", PATHS)


def keys():
  return jax.random.split(jax.random.key(0), 20_000)


def draw(name, logits=LOGITS, temperature=1.0, seed=0):
  sampler = jax.jit(PATHS[name])
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


@pytest.mark.parametrize("name", ONE_DRAW)
def test_it_is_drawn_as_often_as_softmax_says(name):
  sampler = PATHS[name]
  drawn = jax.jit(jax.vmap(lambda k: sampler(k, LOGITS, 0.7).weights))(keys())
  np.testing.assert_allclose(drawn.mean(0), P, atol=0.02)


def without_replacement(p):
  """[O, O]: how likely i is drawn and then j, of shares p."""
  both = p[:, None] * p[None, :] / (1 - p[:, None])
  return both * (1 - np.eye(len(p)))


def frequencies(first, second):
  """[O, O]: how often i came first and j second, of 4 operations."""
  counts = np.zeros((4, 4))
  np.add.at(counts, (np.asarray(first), np.asarray(second)), 1)
  return counts / len(first)


def test_two_gates_are_a_draw_without_replacement():
  """One of the pair {i, j} runs, i with the share p_i / (p_i + p_j)."""
  sampler = jax.vmap(lambda k: discrete.two_gates(k, LOGITS, 1.0).paths)
  active, pair, absent = jax.jit(sampler)(keys())
  assert absent is None
  active = active[..., 0]
  for choice in range(2):
    own, p = pair[:, choice], P[choice]
    other = np.where(own[:, 0] == active[:, choice], own[:, 1], own[:, 0])
    either = without_replacement(p) + without_replacement(p).T
    wanted = either * p[:, None] / (p[:, None] + p[None, :])
    found = frequencies(active[:, choice], other)
    np.testing.assert_allclose(found, wanted, atol=0.012)


@every
def test_a_single_operation_has_no_gradient(name):
  logits = np.array([[0.7], [-2.0]], np.float32)
  np.testing.assert_array_equal(draw(name, logits).weights, 1)
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


@pytest.mark.parametrize("seed", range(3))
def test_two_gates_move_two_logits(seed):
  mix, grad = draw("two_gates", seed=seed), gradient("two_gates", seed)
  for choice in range(2):
    pair = np.asarray(mix.paths.scored[choice])
    assert mix.paths.active[choice, 0] in pair and len(set(pair)) == 2
    among = P[choice, pair] / P[choice, pair].sum()
    share, moved = np.zeros((2, 4), np.float32)
    share[pair], moved[pair] = among, jacobian(among, V[choice, pair])
    np.testing.assert_allclose(mix.priced[choice], share, rtol=1e-5)
    np.testing.assert_allclose(grad[choice], moved, rtol=1e-4, atol=1e-6)


def test_the_others_keep_their_shares():
  """Whatever an optimiser's moments did to them."""
  pair, others = np.array([[0, 2], [3, 1]]), np.array([[1, 3], [0, 2]])
  new = LOGITS.copy()
  new[0] += [0.5, 0.7, 0.0, -0.2]
  new[1] += [1.5, -2.0, 0.3, 0.0]
  found = np.asarray(
    jax.nn.softmax(discrete.keep_the_others(pair, LOGITS, new))
  )
  for e, (own, rest) in enumerate(zip(pair, others, strict=True)):
    np.testing.assert_allclose(found[e, rest], P[e, rest], rtol=1e-5)
    ratio = found[e, own[0]] / found[e, own[1]]
    wanted = np.exp(new[e, own[0]] - new[e, own[1]])
    np.testing.assert_allclose(ratio, wanted, rtol=1e-5)


ordered = jax.jit(discrete.ordered)


@pytest.mark.parametrize("seed", range(3))
def test_ordered_runs_every_operation_once(seed):
  """One of a share that softmax rounds to zero too."""
  logits = LOGITS.copy()
  logits[1, 2] = -200.0
  assert jax.nn.softmax(logits)[1, 2] == 0
  mix = ordered(jax.random.key(seed), logits, 1.0)
  active = np.asarray(mix.paths.active)[..., 0]  # [paths, E]
  np.testing.assert_array_equal(np.sort(active, 0), [[o, o] for o in range(4)])
  np.testing.assert_array_equal(mix.weights.argmax(-1), active)
  assert active[-1, 1] == 2 and np.isfinite(mix.weights).all()


def test_the_last_of_the_order_has_no_gradient():
  """Nothing is left beside it."""

  def value(logits, path):
    weights = discrete.ordered(jax.random.key(0), logits, 1.0).weights
    return jnp.vdot(weights[path], V)

  grad = jax.jit(jax.grad(value), static_argnums=1)
  np.testing.assert_allclose(grad(LOGITS, 3), 0, atol=1e-6)
  assert np.abs(grad(LOGITS, 2)).max() > 1e-3


def test_the_order_is_a_draw_without_replacement():
  active = jax.vmap(lambda k: discrete.ordered(k, LOGITS, 1.0).paths.active)
  found = np.asarray(jax.jit(active)(keys()))[..., 0]  # [draws, paths, E]
  for choice in range(2):
    wanted = without_replacement(P[choice])
    got = frequencies(found[:, 0, choice], found[:, 1, choice])
    np.testing.assert_allclose(got, wanted, atol=0.012)
    # The third, by the shares of the two that are left.
    for pair in ((0, 1), (2, 3)):
      mask = np.isin(found[:, :2, choice], pair).all(-1)
      rest = [o for o in range(4) if o not in pair]
      share = (found[mask, 2, choice] == rest[0]).mean()
      among = P[choice, rest] / P[choice, rest].sum()
      assert abs(share - among[0]) < 3 * 0.5 / mask.sum() ** 0.5


@pytest.mark.parametrize("seed", range(3))
def test_a_shorter_choice_begins_again(seed):
  """What it lacks never runs, what it has runs again, each as often."""
  logits = LOGITS.copy()
  logits[0, [1, 3]] = FORBIDDEN
  logits[1, 1:] = FORBIDDEN
  mix = ordered(jax.random.key(seed), logits, 1.0)
  first, second = np.asarray(mix.paths.active)[..., 0].T
  assert set(first[:2]) == set(first[2:]) == {0, 2} and set(second) == {0}
  assert np.isfinite(mix.weights).all()
  assert not mix.weights[:, 0, [1, 3]].any()
