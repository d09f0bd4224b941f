"""Training a derived network: it learns, and is tested on every example."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy_training import (
  GENOTYPE,
  NET,
  PIXELS,
  TEST,
  TRAIN,
  augment,
  beginning,
  recipe,
)

from hwnas_jax.core import tree
from hwnas_jax.core.compile import repeat
from hwnas_jax.core.types import ABSENT
from hwnas_jax.data.arrays import Split, batch_indices
from hwnas_jax.io import checkpoint
from hwnas_jax.nets.darts_network import Network, drop_path
from hwnas_jax.nets.models import inherit, make_supernet
from hwnas_jax.spaces import darts
from hwnas_jax.train.evaluate import make_estimate, make_evaluate
from hwnas_jax.train.step import (
  distillation,
  init_state,
  init_variables,
  make_train_step,
)

BIG = darts.Darts(darts.THREE, 3, 1, 4, (32, 32, 3), 5)
PER_DISPATCH = 5


@pytest.fixture(scope="module")
def training():
  """(fresh state's maker, PER_DISPATCH jitted steps)."""
  network = Network(NET, GENOTYPE, "train")
  optimiser = optax.sgd(0.1, 0.9)
  step = make_train_step(network, optimiser, recipe(), augment)
  fresh = jax.jit(functools.partial(init_state, network, optimiser))
  return fresh, jax.jit(repeat(step, PER_DISPATCH))


@pytest.fixture(scope="module")
def trained(training):
  fresh, steps = training
  state, rows = fresh(jax.random.key(0)), []
  for _ in range(6):
    state, metrics = steps(state, TRAIN)
    rows.append(jax.device_get(metrics))
  return state, rows


@functools.cache
def evaluation(batch_size):
  network = Network(NET, GENOTYPE, "eval")
  return jax.jit(make_evaluate(network, PIXELS, batch_size))


def evaluate(state, split, batch_size=16):
  return float(evaluation(batch_size)(state.params, state.stats, split))


@jax.jit
def logits_of(params, stats, pixels):
  network = Network(NET, GENOTYPE, "eval")
  variables = {"params": params, "batch_stats": stats}
  logits, aux = network.apply(variables, PIXELS(pixels))
  assert aux is None
  return logits


def test_a_derived_network_learns(trained):
  state, rows = trained
  assert int(state.step) == 6 * PER_DISPATCH
  # Smoothed by 0.1, the loss of a perfect network is 0.199.
  assert rows[0]["loss"] > 0.4 > 0.35 > rows[-1]["loss"] > 0.19
  assert rows[-1]["train_accuracy"] > 0.95
  assert evaluate(state, TEST) > 0.95


def test_a_fresh_network_does_not_know(training):
  fresh, _ = training
  assert evaluate(fresh(jax.random.key(0)), TEST) < 0.9


def test_resumed_training_is_bit_identical(training, tmp_path):
  fresh, steps = training
  half, _ = steps(fresh(jax.random.key(0)), TRAIN)
  whole, _ = steps(half, TRAIN)
  checkpoint.save(tmp_path, PER_DISPATCH, half, {})
  like = jax.eval_shape(lambda: fresh(jax.random.key(0)))
  _, restored, _ = checkpoint.restore_latest(tmp_path, like)
  resumed, _ = steps(restored, TRAIN)
  assert tree.digest(resumed) == tree.digest(whole) != tree.digest(half)
  other, _ = steps(fresh(jax.random.key(1)), TRAIN)
  assert tree.digest(other.params) != tree.digest(half.params)


@pytest.mark.parametrize("batch_size", [16, 25, 64])
def test_every_example_counts_once(trained, batch_size):
  """Batches that divide 50, that do not, and one larger than it."""
  state, _ = trained
  # Half of the labels are turned, all in the last, ragged batch.
  turned = np.arange(50) >= 47
  labels = jnp.where(turned, 1 - TEST.labels, TEST.labels)
  logits = logits_of(state.params, state.stats, TEST.images)
  wanted = np.mean(np.asarray(logits.argmax(-1) == labels))
  accuracy = evaluate(state, TEST._replace(labels=labels), batch_size)
  np.testing.assert_allclose(accuracy, wanted, rtol=1e-6)
  assert wanted < 1.0


def test_evaluation_reads_the_running_statistics(trained):
  """Not the batch: an example's class does not depend on its neighbours."""
  state, _ = trained
  images = TEST.images
  alone, among, moved = (
    np.asarray(logits_of(state.params, stats, pixels))
    for stats, pixels in (
      (state.stats, images[:1]),
      (state.stats, images),
      (jax.tree.map(lambda x: np.asarray(x) + 1, state.stats), images),
    )
  )
  np.testing.assert_allclose(alone[0], among[0], rtol=1e-4, atol=1e-5)
  assert np.abs(moved - among).max() > 0.01


def test_training_moves_the_running_statistics(trained, training):
  fresh, _ = training
  before = fresh(jax.random.key(0)).stats
  after = trained[0].stats
  means = [k for k in tree.flatten(before) if k.endswith("/mean")]
  assert means and all((tree.flatten(before)[k] == 0).all() for k in means)
  assert all((tree.flatten(after)[k] != 0).any() for k in means)


class Normed(nn.Module):
  """One batch norm of a given momentum."""

  momentum: float

  @nn.compact
  def __call__(self, x):
    return nn.BatchNorm(
      use_running_average=False,
      momentum=self.momentum,
      use_scale=False,
      use_bias=False,
    )(x)


@pytest.mark.parametrize("momentum", [0.9, 0.5])
@pytest.mark.parametrize("batches", [1, 3])
def test_an_estimate_is_of_its_batches_alone(momentum, batches):
  network = Normed(momentum)
  x = jax.random.normal(jax.random.key(1), (300, 2, 2, 3)) * 2 + 5
  split = Split(x, jnp.zeros(300, jnp.int32))
  stats = network.init({}, x)["batch_stats"]
  estimate = jax.jit(make_estimate(network, lambda x: x, batches))
  (found,) = estimate({}, stats, split).values()
  rows = [batch_indices(jax.random.key(0), i, 300, 128) for i in range(batches)]
  weights = momentum ** np.arange(batches)[::-1]
  for name, of in (("mean", np.mean), ("var", np.var)):
    each = [of(np.asarray(x[r]), (0, 1, 2)) for r in rows]
    wanted = np.average(each, axis=0, weights=weights)
    np.testing.assert_allclose(found[name], wanted, rtol=1e-4)


def test_statistics_are_estimated_from_any_start(trained):
  """Close to those of the training, which saw the same weights at its end."""
  state, _ = trained
  network = Network(NET, GENOTYPE, "train")
  starts = jax.tree.map(jnp.zeros_like, state.stats), state.stats
  estimate = jax.jit(make_estimate(network, PIXELS, 60))
  first, second = (estimate(state.params, s, TRAIN) for s in starts)
  for leaf in tree.flatten(first):
    a, b = tree.flatten(first)[leaf], tree.flatten(second)[leaf]
    np.testing.assert_allclose(a, b, rtol=0.02, atol=0.02)
  assert evaluate(dataclasses.replace(state, stats=first), TEST) > 0.95


def test_initial_variables_are_those_of_the_module():
  network = Network(BIG, GENOTYPE, "train", auxiliary=True)
  start = functools.partial(init_variables, network)
  params, stats = jax.eval_shape(start, jax.random.key(3))
  example = jax.ShapeDtypeStruct((1, *BIG.image), jnp.float32)
  wanted = jax.eval_shape(network.init, jax.random.key(0), example)
  assert tree.diff(wanted["params"], params) == []
  assert tree.diff(wanted["batch_stats"], stats) == []


def test_drop_path_keeps_the_expectation_and_whole_examples():
  x = jnp.arange(1.0, 9.0).reshape(2, 2, 2, 1)
  keys = jax.random.split(jax.random.key(0), 4000)
  dropped = jax.vmap(lambda key: drop_path(x, key, 0.3))(keys)
  np.testing.assert_allclose(dropped.mean(0), x, rtol=0.05)
  alive = np.asarray(dropped != 0)
  assert (alive.all((2, 3, 4)) | ~alive.any((2, 3, 4))).all()
  np.testing.assert_allclose(dropped.max(), 8 / 0.7, rtol=1e-5)
  np.testing.assert_array_equal(drop_path(x, jax.random.key(1), 0.0), x)


def test_drop_path_spares_identities_and_follows_the_rate():
  """An all-skip normal cell passes on whole, at any rate."""
  network = Network(NET, (1, 1, ABSENT, ABSENT), "train")
  images = PIXELS(TRAIN.images[:8])
  params, stats = init_variables(network, jax.random.key(0))

  @functools.partial(jax.jit, static_argnums=0)
  def logits(network, variables, rate, seed):
    return network.apply(
      variables,
      images,
      rate,
      rngs={"drop_path": jax.random.key(seed)},
      mutable=["batch_stats"],
    )[0][0]

  variables = {"params": params, "batch_stats": stats}
  np.testing.assert_array_equal(
    logits(network, variables, 0.9, 1), logits(network, variables, 0.0, 2)
  )
  pooling = Network(NET, (0, 0, 0, 0), "train")
  params, stats = init_variables(pooling, jax.random.key(0))
  variables = {"params": params, "batch_stats": stats}
  results = [
    logits(pooling, variables, rate, seed)
    for rate, seed in [(0.0, 1), (0.0, 2), (0.5, 1), (0.5, 2)]
  ]
  np.testing.assert_array_equal(results[0], results[1])
  assert (results[2] != results[3]).any() and (results[2] != results[0]).any()


def test_the_auxiliary_head_pools_8_x_8_features():
  """Two reductions of 32 x 32 leave the 8 x 8 that the head is made for."""
  network = Network(BIG, (1, 1, 1, 1), "train", auxiliary=True)
  images = jax.ShapeDtypeStruct((2, *BIG.image), jnp.float32)
  params, stats = jax.eval_shape(
    lambda: init_variables(network, jax.random.key(0))
  )
  head = tree.flatten(params["auxiliary"])
  shapes = {leaf.shape for leaf in head.values()}
  # 5x5 windows at stride 3 leave 2x2; then 128 channels, 768, the classes.
  assert shapes >= {(1, 1, 16, 128), (4 * 128, 768), (768, 5)}
  (logits, aux), _ = jax.eval_shape(
    lambda p, s, x: network.apply(
      {"params": p, "batch_stats": s}, x, mutable=["batch_stats"]
    ),
    params,
    stats,
    images,
  )
  assert logits.shape == aux.shape == (2, 5)


def test_the_auxiliary_loss_is_weighed():
  class Toy:
    """Two heads that are parameters."""

    def apply(self, variables, images, rate, rngs, mutable):
      assert rate is None and list(rngs) == ["drop_path"]
      rows = images.shape[0]
      heads = [variables["params"][name] for name in ("main", "auxiliary")]
      logits = [jnp.broadcast_to(head, (rows, 2)) for head in heads]
      return tuple(logits), {"batch_stats": {}}

  params = {"main": jnp.array([1.0, 0.0]), "auxiliary": jnp.array([3.0, 0.0])}
  optimiser = optax.sgd(0.1)
  steps = make_train_step(
    Toy(),
    optimiser,
    recipe(drop_path=0.0, auxiliary_weight=0.4, label_smoothing=0.0),
    augment,
  )
  zeros = TRAIN._replace(labels=jnp.zeros_like(TRAIN.labels))
  state = beginning(params, optimiser)
  _, metrics = jax.jit(steps)(state, zeros)
  wanted = np.log1p(np.exp(-1.0)) + 0.4 * np.log1p(np.exp(-3.0))
  np.testing.assert_allclose(metrics["loss"], wanted, rtol=1e-5)
  assert metrics["train_accuracy"] == 1.0


def test_distillation_by_hand():
  """Two examples; the second pair agrees but for a constant, which is free."""
  teacher = jnp.array([[2.0, 0.0], [3.0, 1.0]])
  taught = jnp.array([[0.0, 0.0], [2.0, 0.0]])
  # At T = 2 the first pair is softmax(1, 0) against (1/2, 1/2).
  p = np.exp(1.0) / (1.0 + np.exp(1.0))
  divergence = p * np.log(2 * p) + (1 - p) * np.log(2 * (1 - p))
  value, slope = jax.value_and_grad(distillation)(taught, teacher, 2.0)
  np.testing.assert_allclose(value, 4.0 * divergence / 2, rtol=1e-5)
  # The gradient of T^2 KL is T (q - p), here of a mean of two.
  wanted = [[2.0 * (0.5 - p) / 2, 2.0 * (p - 0.5) / 2], [0.0, 0.0]]
  np.testing.assert_allclose(slope, wanted, atol=1e-6)


def test_a_teacher_of_no_weight_changes_no_bit(training):
  fresh, steps = training
  other = (0, 2, 1, 2)
  step = make_train_step(
    Network(NET, GENOTYPE, "train"),
    optax.sgd(0.1, 0.9),
    recipe(teacher_weight=0.0),
    augment,
    Network(NET, other, "eval"),
  )
  start = functools.partial(init_variables, Network(NET, other, "train"))
  params, stats = jax.jit(start)(jax.random.key(7))
  teacher = {"params": params, "batch_stats": stats}
  alone, _ = steps(fresh(jax.random.key(0)), TRAIN)
  taught, _ = jax.jit(repeat(step, PER_DISPATCH))(
    fresh(jax.random.key(0)), TRAIN, teacher
  )
  assert tree.digest(taught) == tree.digest(alone)


def test_a_teacher_sees_the_augmented_images_and_is_weighed():
  """Its weights are an argument: another teacher needs no compilation."""

  class Taught:
    """Logits that are a parameter."""

    def apply(self, variables, images, rate, rngs, mutable):
      logits = jnp.broadcast_to(variables["params"], (images.shape[0], 2))
      return (logits, None), {"batch_stats": {}}

  class Teacher:
    """Two logits: a weight times the image's first value, and 0."""

    def apply(self, variables, images):
      first = variables["params"] * images[:, 0, 0, 0]
      return jnp.stack([first, jnp.zeros_like(first)], -1), None

  optimiser = optax.sgd(0.1)
  step = jax.jit(
    make_train_step(
      Taught(),
      optimiser,
      recipe(label_smoothing=0.0, teacher_weight=0.5, teacher_temperature=3.0),
      lambda key, images: jnp.full(images.shape, 2.0),
      Teacher(),
    )
  )
  params, moved = jnp.array([1.0, 0.0]), []
  state = beginning(params, optimiser)
  zeros = TRAIN._replace(labels=jnp.zeros_like(TRAIN.labels))
  for weight in (0.0, 1.5):
    after, metrics = step(state, zeros, {"params": jnp.float32(weight)})
    term = distillation(params[None], jnp.array([[2.0 * weight, 0.0]]), 3.0)
    wanted = np.log1p(np.exp(-1.0)) + 0.5 * term
    np.testing.assert_allclose(metrics["loss"], wanted, rtol=1e-5)
    moved.append(after.params)
  assert (moved[0] != moved[1]).all()
  assert step._cache_size() == 1


def test_training_starts_from_what_it_inherits(training):
  supernet = make_supernet(NET)
  weights = supernet.init(jax.random.key(4))
  inherited = inherit(NET, GENOTYPE, weights)
  network, optimiser = Network(NET, GENOTYPE, "train"), optax.sgd(0.1, 0.9)
  init = jax.jit(functools.partial(init_state, network, optimiser))
  state, alone = (
    init(jax.random.key(0), inherited),
    training[0](jax.random.key(0)),
  )
  start, random = tree.flatten(state.params), tree.flatten(alone.params)
  given = tree.flatten(inherited)
  assert start.keys() == random.keys() and given.keys() < start.keys()
  for name, leaf in start.items():
    wanted = given.get(name, random[name])
    np.testing.assert_array_equal(leaf, wanted, err_msg=name)
  assert any((start[n] != random[n]).any() for n in given)
  assert tree.digest(state.optimiser) == tree.digest(alone.optimiser)
  # A training donates its state, and the supernet's weights are still there.
  jax.jit(lambda s: s, donate_argnums=0)(state)
  assert all(not leaf.is_deleted() for leaf in jax.tree.leaves(weights))
  assert tree.digest(init(jax.random.key(0), inherited).params)
