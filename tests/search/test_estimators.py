"""Estimators and schedules on arrays: no network."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hwnas_jax.core.types import Mix
from hwnas_jax.samplers.relaxed import SAMPLERS, gumbel_softmax
from hwnas_jax.search import estimators, hypergradient, phases
from hwnas_jax.search.estimators import BOTH, LOGITS, WEIGHTS
from hwnas_jax.search.phases import Phase

EVERY = {
  **{n: estimators.reparameterised(s) for n, s in SAMPLERS.items()},
  **estimators.ON_A_PATH,
  "reinforce": estimators.reinforce(10),
}
every = pytest.mark.parametrize("name", EVERY)
X = np.random.default_rng(0).normal(size=(32,)).astype(np.float32)
NOISE = np.random.default_rng(1).normal(size=(2, 32)).astype(np.float32)


def toy(weights, mix):
  """Two choices of a good operation, w * x, and a bad one, noise."""
  outputs = jnp.stack([jnp.stack([w * X for w in weights]), NOISE], 1)
  y = jnp.einsum("eo,eon->n", mix.weights, outputs)
  error = jnp.square(y - 2 * X).mean()
  return error, {"loss": error}


def search(name, seed, limit=800):
  """Steps until both choices' good operations have 9 of 10, or the limit."""
  estimator, optimiser = EVERY[name], optax.adam(0.05)

  def step(carry):
    count, weights, logits, moments, state, _ = carry
    key = jax.random.fold_in(jax.random.key(seed), count)
    grads, _, state = estimator.grads(
      toy, BOTH, weights, logits, key, jnp.ones(()), state
    )
    updates, moments = optimiser.update(grads.logits, moments)
    new = optax.apply_updates(logits, updates)
    if estimator.project is not None:
      new = estimator.project(jax.random.clone(key), logits, new)
    weights = weights - 0.1 * grads.weights
    share = jax.nn.softmax(new)[:, 0].min()
    return count + 1, weights, new, moments, state, share

  logits = jnp.zeros((2, 2))
  carry = (
    *(0, jnp.zeros(2), logits),
    *(optimiser.init(logits), estimator.init(), jnp.zeros(())),
  )
  going = lambda carry: (carry[0] < limit) & (carry[-1] < 0.9)  # noqa: E731
  return jax.lax.while_loop(going, step, carry)[0]


@every
def test_the_good_operation_is_found_from_every_seed(name):
  found = jax.jit(jax.vmap(lambda s: search(name, s)))(jnp.arange(10))
  assert np.asarray(found).max() < 800, found


@every
def test_only_what_is_asked_for_is_given(name):
  weights, logits = jnp.ones(2), jnp.zeros((2, 2))
  for wrt in ((WEIGHTS,), (LOGITS,), BOTH):
    grads, metrics, _ = EVERY[name].grads(
      toy, wrt, weights, logits, jax.random.key(0), jnp.ones(()),
      EVERY[name].init(),
    )  # fmt: skip
    assert (grads.weights is not None) == (WEIGHTS in wrt)
    assert (grads.logits is not None) == (LOGITS in wrt)
    assert metrics["loss"].shape == ()


def test_reinforce_is_unbiased():
  weights = jnp.array([1.0, 0.5])
  logits = jnp.array([[0.3, -0.4], [0.0, 0.8]])
  shape = [(a, b) for a in range(2) for b in range(2)]

  def expected(logits):
    p = jax.nn.softmax(logits)
    rows = [jax.nn.one_hot(jnp.asarray(ops), 2) for ops in shape]
    return sum(
      p[0, a] * p[1, b] * toy(weights, Mix(row, row))[0]
      for (a, b), row in zip(shape, rows, strict=True)
    )

  estimator = estimators.reinforce(8)
  state = {"baseline": jnp.asarray(2.0), "updates": jnp.ones(())}

  def one(key):
    return estimator.grads(
      toy, (LOGITS,), weights, logits, key, jnp.ones(()), state
    )[0].logits

  keys = jax.random.split(jax.random.key(0), 4000)
  found = jax.jit(jax.vmap(one))(keys).mean(0)
  np.testing.assert_allclose(found, jax.grad(expected)(logits), atol=0.05)


def test_the_baseline_follows_the_loss():
  estimator, logits = estimators.reinforce(4), jnp.zeros((2, 2))
  state = estimator.init()
  for _ in range(2):
    _, metrics, state = estimator.grads(
      toy, (LOGITS,), jnp.ones(2), logits, jax.random.key(0), None, state
    )
  np.testing.assert_allclose(state["baseline"], metrics["loss"], rtol=1e-5)


# Looking ahead.

A = np.array([[2.0, 0.3], [0.3, 1.0]], np.float32)
B = np.array([[1.0, -0.5], [0.2, 0.7]], np.float32)
TARGET = np.array([0.4, -1.0], np.float32)
RATE = 0.1


def free(key, logits, temperature, rows):
  del key, temperature, rows
  return Mix(logits, logits)


def side(loss, sampler, seed):
  estimator = estimators.reparameterised(sampler)

  def grads(wrt, weights, logits):
    key = jax.random.key(seed)
    return estimator.grads(loss, wrt, weights, logits, key, jnp.ones(()), {})

  return grads


def train_loss(weights, mix):
  value = 0.5 * weights @ A @ weights - weights @ B @ mix.weights[0]
  return value, {}


def valid_loss(weights, mix):
  gap = weights - TARGET
  return 0.5 * gap @ gap + 0.5 * jnp.square(mix.weights).sum(), {}


def look_ahead(order, train, valid, optimiser, weights, logits):
  return hypergradient.look_ahead(
    order,
    lambda *given: train(*given)[0],
    valid,
    optimiser,
    optimiser.init(weights),
    weights,
    logits,
  )[0]


@pytest.mark.parametrize("order", ["exact", "difference"])
def test_a_quadratic_has_the_known_hypergradient(order):
  weights, logits = jnp.array([0.5, -0.3]), jnp.array([[0.2, 0.9]])
  found = look_ahead(
    order,
    side(train_loss, free, 0),
    side(valid_loss, free, 1),
    optax.sgd(RATE),
    weights,
    logits,
  )
  after = weights - RATE * (A @ weights - B @ logits[0])
  wanted = logits + RATE * (B.T @ (after - TARGET))[None]
  np.testing.assert_allclose(found, wanted, rtol=2e-3)
  first = side(valid_loss, free, 1)((LOGITS,), weights, logits)[0].logits
  assert np.abs(first - wanted).max() > 0.05


def test_common_noise_makes_the_difference_exact():
  """Gumbel samples, momentum and clipping: both ways agree."""
  rng = np.random.default_rng(2)
  weights = jnp.asarray(rng.normal(size=2), jnp.float32)
  logits = jnp.asarray(rng.normal(size=(2, 2)), jnp.float32)
  optimiser = optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(0.3, 0.9))
  train, valid = (side(toy, gumbel_softmax, seed) for seed in (3, 4))
  exact, difference = (
    look_ahead(order, train, valid, optimiser, weights, logits)
    for order in ("exact", "difference")
  )
  np.testing.assert_allclose(difference, exact, rtol=2e-2, atol=1e-3)


# Schedules.

MAIN = Phase(EVERY["softmax"])


def test_weights_and_controller_alternate_by_the_epoch():
  spans = phases.plan(
    MAIN, 50, warmup_steps=10, warmup=EVERY["ordered"], epoch_steps=15
  )
  assert [span.end for span in spans] == [10, 25, 40, 50]
  moved = [(s.phase.weights, s.phase.controller) for s in spans]
  assert moved == [(True, False), (True, False), (False, True), (True, False)]
  assert spans[0].phase.estimator is EVERY["ordered"]
  assert len(phases.different(spans)) == 3
  found = [phases.at(spans, step) for step in (0, 9, 10, 39, 40, 49)]
  assert found == [spans[i].phase for i in (0, 0, 1, 2, 3, 3)]


def test_without_a_warm_up_there_is_one_phase():
  assert phases.plan(MAIN, 50) == [phases.Span(MAIN, 50)]


def test_a_warm_up_is_no_step_of_its_own():
  assert phases.plan(MAIN, 50, warmup_steps=5) == [
    phases.Span(MAIN._replace(start=5), 50)
  ]


def test_a_warm_up_by_another_estimator_looks_nowhere_ahead():
  main = MAIN._replace(order="exact", every=4)
  other = EVERY["ordered"]
  warm, then = phases.plan(main, 50, warmup_steps=5, warmup=other)
  assert warm.phase == Phase(other, controller=False)
  assert then == phases.Span(main, 50)


def test_the_state_is_that_of_all_estimators():
  spans = phases.plan(MAIN, 9, warmup_steps=3, warmup=EVERY["reinforce"])
  assert set(phases.init(spans)) == {"baseline", "updates"}
