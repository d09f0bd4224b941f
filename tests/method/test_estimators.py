"""Estimators on arrays: no network."""

import collections
import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hwnas_jax.core.types import Mix
from hwnas_jax.method import SAMPLERS, discrete, hypergradient, make_estimator
from hwnas_jax.method.estimators import (
  BOTH,
  LOGITS,
  WEIGHTS,
  Sampling,
  Variables,
  reparameterised,
)
from hwnas_jax.method.path_estimators import BASELINE_RATE, reinforce
from hwnas_jax.method.relaxed import gumbel_softmax
from hwnas_jax.nets.paths import mix_all, run_paths

EVERY = {n: make_estimator(s, None, 10) for n, s in SAMPLERS.items()}
every = pytest.mark.parametrize("name", EVERY)
X = np.random.default_rng(0).normal(size=(32,)).astype(np.float32)
NOISE = np.random.default_rng(1).normal(size=(2, 32)).astype(np.float32)


def make_toy(ran=None):
  """Two choices of a good operation, w * x, and a bad one, noise.

  Each is held against 2 x. Their sum would not do: what ordered sampling has
  trained beside noise is too large beside the other good operation.

  ran: gets (choice, operation) whenever one runs.
  """

  def branch(choice, op):
    def run(w, x):
      if ran is not None:
        jax.debug.callback(lambda: ran.update([(choice, op)]))
      return 0.0 * w + NOISE[choice] if op else w * x

    return run

  def toy(weights, mix):
    error = 0.0
    for choice in range(2):
      branches = [branch(choice, op) for op in range(2)]
      given = branches, weights[choice], X, mix.weights[choice]
      own = jax.tree.map(lambda p, c=choice: p[c], mix.paths)
      y = mix_all(*given) if own is None else run_paths(*given, own)
      error += jnp.square(y - 2 * X).mean()
    return error, {"loss": error}

  return toy


toy = make_toy()


def search(name, seed, limit=200):
  """Steps until both choices' good operations have 9 of 10, or the limit."""
  estimator, optimiser = EVERY[name], optax.adam(0.05)

  def step(carry):
    count, weights, logits, moments, state, _ = carry
    key = jax.random.fold_in(jax.random.key(seed), count)
    grads, _, state = estimator.grads(
      toy, BOTH, Variables(weights, logits), Sampling(key, jnp.ones(())), state
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
  assert np.asarray(found).max() < 200, found


@every
def test_only_what_is_asked_for_is_given(name):
  """Traced, not run."""
  for wrt in ((WEIGHTS,), (LOGITS,), BOTH):
    grads, metrics, _ = jax.eval_shape(
      functools.partial(EVERY[name].grads, toy, wrt),
      Variables(jnp.ones(2), jnp.zeros((2, 2))),
      Sampling(jax.random.key(0), jnp.ones(())),
      EVERY[name].init(),
    )
    assert (grads.weights is not None) == (WEIGHTS in wrt)
    assert (grads.logits is not None) == (LOGITS in wrt)
    assert metrics["loss"].shape == ()


@every
@pytest.mark.parametrize(
  "precision",
  ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("ops", [1, 2])
def test_corners_of_numbers_give_finite_gradients(name, ops, precision):
  """Temperatures of 1e-3 to 1e3, logits to 1e4, one operation, one row."""
  sampler = SAMPLERS[name]
  estimator = make_estimator(sampler, None, 2)
  least = max(1e-3, sampler.least_temperature)
  images = X.astype(precision)

  def branch(op):
    # As an operation does, it converts its weights to the type of the images.
    return lambda w, x: w.astype(x.dtype) * x + op

  def loss(weights, mix):
    branches = [branch(op) for op in range(ops)]
    total = 0.0
    for choice in range(2):
      given = branches, weights[choice], images, mix.weights[..., choice, :]
      own = jax.tree.map(lambda p, c=choice: p[c], mix.paths)
      y = mix_all(*given) if own is None else run_paths(*given, own)
      assert y.dtype == images.dtype
      total += jnp.square(y - 2 * X).mean()
    return total, {"loss": total}

  @jax.jit
  def gradients(logits, temperature):
    variables = Variables(jnp.ones(2), logits)
    sampling = Sampling(jax.random.key(0), temperature)
    return estimator.grads(loss, BOTH, variables, sampling, estimator.init())

  for temperature in (least, 1.0, 1e3):
    for scale in (0.0, 1.0, 1e4):
      logits = scale * jnp.linspace(-1, 1, 2 * ops).reshape(2, ops)
      chex.assert_tree_all_finite(gradients(logits, temperature))


# One path.


def gradients(name, loss, wrt, weights, logits, seed=0):
  """Of a compiled call, after all its callbacks have come."""

  @jax.jit
  def run(weights, logits):
    sampling = Sampling(jax.random.key(seed), jnp.ones(()))
    variables = Variables(weights, logits)
    return EVERY[name].grads(loss, wrt, variables, sampling, {})[0]

  found = jax.block_until_ready(run(weights, logits))
  jax.effects_barrier()
  return found


@pytest.mark.parametrize("name", ["gates", "two_gates"])
def test_the_weights_alone_run_one_branch_a_choice(name):
  """What is scored runs for the logits' gradient, and for no other."""
  weights, logits = jnp.ones(2), jnp.zeros((2, 2))
  ran = {wrt: collections.Counter() for wrt in ((WEIGHTS,), BOTH)}
  of_weights = [
    gradients(name, make_toy(r), wrt, weights, logits).weights
    for wrt, r in ran.items()
  ]
  alone, both = (sorted(r) for r in ran.values())
  assert [choice for choice, _ in alone] == [0, 1]
  assert both == [(0, 0), (0, 1), (1, 0), (1, 1)]
  np.testing.assert_allclose(*of_weights, rtol=1e-6)


@pytest.mark.parametrize("seed", range(2))
def test_ordered_is_the_sum_of_its_paths(seed):
  weights, logits = jnp.array([1.0, 0.5]), jnp.array([[0.3, -0.4], [0.0, 0.8]])
  ran = collections.Counter()
  found = gradients("ordered", make_toy(ran), BOTH, weights, logits, seed)
  # Forward and again in the path's own backward pass: no path ran another's.
  assert ran == {(e, o): 2 for e in range(2) for o in range(2)}

  def losses(weights, logits):
    mix = discrete.ordered(jax.random.key(seed), logits, jnp.ones(()))
    paths = [jax.tree.map(lambda a, k=k: a[k], mix) for k in range(2)]
    return sum(toy(weights, path)[0] for path in paths)

  wanted = jax.jit(jax.grad(losses, (0, 1)))(weights, logits)
  np.testing.assert_allclose(found.weights, wanted[0], rtol=1e-5)
  np.testing.assert_allclose(found.logits, wanted[1], rtol=1e-5)


def test_one_path_of_ordered_lives_at_a_time():
  """Of 8 operations the step needs little more memory than of 2."""
  sizes = []
  for num_ops in (2, 8):

    def loss(weights, mix):
      branches = [lambda w, x, k=k: jnp.sin(k * w * x) for k in range(num_ops)]  # noqa: B023
      own = jax.tree.map(lambda p: p[0], mix.paths)
      y = run_paths(branches, weights, jnp.ones(1 << 16), mix.weights[0], own)
      return jnp.square(y).sum(), {}

    def run(weights, logits):
      sampling = Sampling(jax.random.key(0), jnp.ones(()))
      variables = Variables(weights, logits)
      return EVERY["ordered"].grads(loss, BOTH, variables, sampling, {})[0]

    compiled = jax.jit(run).lower(jnp.ones(()), jnp.zeros((1, num_ops)))
    sizes.append(compiled.compile().memory_analysis().temp_size_in_bytes)
  assert sizes[1] < 1.5 * sizes[0], sizes


# REINFORCE.


def test_reinforce_has_the_true_direction():
  """Its baseline has 0.99 / n of a path's own loss: that much is lost."""
  weights = jnp.array([1.0, 0.5])
  logits = jnp.array([[0.3, -0.4], [0.0, 0.8]])
  count, num_samples = 20_000, 2

  def expected(logits):
    p = jax.nn.softmax(logits)
    return sum(
      p[0, a] * p[1, b] * toy(weights, Mix(row, row))[0]
      for a, b in itertools.product(range(2), repeat=2)
      for row in [jax.nn.one_hot(jnp.array([a, b]), 2)]
    )

  estimator = reinforce(num_samples)
  state = {"baseline": jnp.asarray(2.0), "updates": jnp.ones(())}

  def one(key):
    return estimator.grads(
      toy,
      (LOGITS,),
      Variables(weights, logits),
      Sampling(key, jnp.ones(())),
      state,
    )[0].logits

  keys = jax.random.split(jax.random.key(0), count)
  found = np.asarray(jax.jit(jax.vmap(one))(keys))
  wanted = np.asarray(jax.jit(jax.grad(expected))(logits))
  error = 4 * found.std(0) / np.sqrt(count)
  lost = 1 - BASELINE_RATE / num_samples
  assert (np.abs(found.mean(0) - lost * wanted) <= error).all()
  assert (error < 0.1 * np.abs(wanted)).all()


def test_the_baseline_follows_the_loss_before_it_is_taken_off():
  estimator, logits = reinforce(2), jnp.array([[0.3, -0.4], [0, 0.8]])
  run = jax.jit(functools.partial(estimator.grads, toy, (LOGITS,)))
  state, variables = estimator.init(), Variables(jnp.ones(2), logits)
  for seed in range(2):
    before, key = state["baseline"], jax.random.key(seed)
    grads, metrics, state = run(variables, Sampling(key, None), state)
  mean = metrics["loss"]
  assert abs(before - mean) > 0.1
  wanted = before + 0.99 * (mean - before)
  np.testing.assert_allclose(state["baseline"], wanted, rtol=1e-5)
  drawn = jax.random.categorical(jax.random.key(1), logits, shape=(2, 2))
  rows = jax.nn.one_hot(drawn, 2)
  run = jax.jit(jax.vmap(lambda row: toy(jnp.ones(2), Mix(row, row))[0]))
  losses = np.asarray(run(rows))
  score = np.asarray(rows - jax.nn.softmax(logits)[None])
  by_hand = ((losses - wanted)[:, None, None] * score).mean(0)
  np.testing.assert_allclose(grads.logits, by_hand, rtol=1e-4, atol=1e-6)


# Looking ahead.

A = np.array([[2.0, 0.3], [0.3, 1.0]], np.float32)
B = np.array([[1.0, -0.5], [0.2, 0.7]], np.float32)
TARGET = np.array([0.4, -1.0], np.float32)
RATE = 0.1


def free(key, logits, temperature, rows):
  del key, temperature, rows
  return Mix(logits, logits)


def side(loss, sampler, seed):
  estimator = reparameterised(sampler)

  def grads(wrt, variables):
    sampling = Sampling(jax.random.key(seed), jnp.ones(()))
    return estimator.grads(loss, wrt, variables, sampling, {})

  return grads


def train_loss(weights, mix):
  value = 0.5 * weights @ A @ weights - weights @ B @ mix.weights[0]
  return value, {}


def valid_loss(weights, mix):
  gap = weights - TARGET
  return 0.5 * gap @ gap + 0.5 * jnp.square(mix.weights).sum(), {}


def look_ahead(order, train, valid, optimiser, weights, logits):
  def step_weights(grads):
    updates, _ = optimiser.update(grads, optimiser.init(weights), weights)
    return optax.apply_updates(weights, updates)

  return hypergradient.look_ahead(
    order, train, valid, step_weights, Variables(weights, logits)
  )[0]


@pytest.mark.parametrize("order", ["exact", "difference"])
def test_a_quadratic_has_the_known_hypergradient(order):
  weights, logits = np.float32([0.5, -0.3]), np.float32([[0.2, 0.9]])
  train, valid = side(train_loss, free, 0), side(valid_loss, free, 1)

  @jax.jit
  def run(weights, logits):
    ahead = look_ahead(order, train, valid, optax.sgd(RATE), weights, logits)
    first, _, _ = valid((LOGITS,), Variables(weights, logits))
    return ahead, first.logits

  found, first = run(weights, logits)
  after = weights - RATE * (A @ weights - B @ logits[0])
  wanted = logits + RATE * (B.T @ (after - TARGET))[None]
  np.testing.assert_allclose(found, wanted, rtol=2e-3)
  assert np.abs(first - wanted).max() > 0.05


def test_common_noise_makes_the_difference_exact():
  """Gumbel samples, momentum and clipping: both ways agree."""
  optimiser = optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(0.3, 0.9))
  rng = np.random.default_rng(2)
  numbers = itertools.count(5)

  def with_fresh_noise(*given):
    return side(toy, gumbel_softmax, next(numbers))(*given)

  with jax.enable_x64(True):
    variables = tuple(jnp.asarray(rng.normal(size=n)) for n in (2, (2, 2)))
    train, valid = (side(toy, gumbel_softmax, seed) for seed in (3, 4))

    @jax.jit
    def run(weights, logits):
      return [
        look_ahead(order, given, valid, optimiser, weights, logits)
        for order, given in (
          ("exact", train),
          ("difference", train),
          ("difference", with_fresh_noise),
        )
      ]

    exact, difference, astray = map(np.asarray, run(*variables))
  assert exact.dtype == np.float64
  size = np.linalg.norm(exact)
  assert np.linalg.norm(difference - exact) < 1e-3 * size
  assert np.linalg.norm(astray - exact) > size
