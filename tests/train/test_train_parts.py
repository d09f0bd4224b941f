"""A training batch in parts: the same gradients, less memory."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
from toy_training import GENOTYPE, NET, TRAIN, augment, beginning, recipe

from hwnas_jax.nets.darts_network import Network
from hwnas_jax.train.step import init_state, make_train_step


class Linear:
  """Logits are linear in the image; its statistic counts batches."""

  def apply(self, variables, images, rate, rngs, mutable):
    flat = images.reshape(len(images), -1)
    logits = flat @ variables["params"]
    return (logits, None), {"batch_stats": variables["batch_stats"] + 1}


def test_parts_of_a_batch_have_the_mean_of_its_gradients():
  """Without batch norm it is the whole batch's; statistics follow the parts."""
  optimiser = optax.sgd(1.0)
  params = jnp.asarray(np.random.default_rng(0).normal(size=(64, 2)) / 8)
  moved = {}
  for parts in (1, 4):
    step = make_train_step(Linear(), optimiser, recipe(parts=parts), augment)
    state = beginning(params.astype(jnp.float32), optimiser)
    state = dataclasses.replace(state, stats=jnp.zeros(()))
    moved[parts] = jax.jit(step)(state, TRAIN)
  (whole, metrics), (divided, means) = moved[1], moved[4]
  np.testing.assert_allclose(divided.params, whole.params, atol=1e-6)
  assert np.abs(whole.params - params).max() > 1e-3
  for name, value in metrics.items():
    np.testing.assert_allclose(means[name], value, rtol=1e-5)
  assert (whole.stats, divided.stats) == (1, 4)


def test_parts_need_less_memory():
  def temporary(parts):
    network = Network(NET, GENOTYPE, "train")
    optimiser = optax.sgd(0.1)
    step = make_train_step(
      network, optimiser, recipe(batch_size=64, parts=parts), augment
    )
    state = jax.eval_shape(
      lambda: init_state(network, optimiser, jax.random.key(0))
    )
    compiled = jax.jit(step).lower(state, TRAIN).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  assert temporary(8) < 0.5 * temporary(1)
