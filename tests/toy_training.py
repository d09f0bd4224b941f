"""A short training of a tiny network: its two classes are bright and dark."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.config.fields import Train
from hwnas_jax.data.arrays import Split
from hwnas_jax.data.augment import normalise
from hwnas_jax.spaces import darts
from hwnas_jax.train.step import TrainState

NET = darts.Darts(darts.THREE, 3, 1, 4, (8, 8, 1), 2)
GENOTYPE = (2, 0, 2, 1)  # convolution, pooling; convolution, skip
PIXELS = functools.partial(normalise, mean=(0.5,), std=(0.25,))


def beginning(params, optimiser):
  """The state before the first step of a network without statistics."""
  return TrainState(
    params=params,
    stats={},
    optimiser=optimiser.init(params),
    step=jnp.zeros((), jnp.int32),
    key=jax.random.key(0),
  )


def toy(count, seed=0):
  """Bright images and dark ones."""
  labels = np.arange(count) % 2
  images = np.random.default_rng(seed).integers(0, 128, (count, 8, 8, 1))
  images += 127 * labels.reshape(-1, 1, 1, 1)
  return Split(jnp.asarray(images, jnp.uint8), jnp.asarray(labels, jnp.int32))


TRAIN, TEST = toy(64), toy(50, seed=1)


def augment(key, images):
  del key
  return PIXELS(images)


def recipe(**changes):
  plain = {
    "num_steps": 60,
    "batch_size": 16,
    "drop_path": 0.2,
    "auxiliary_weight": 0.0,
    "label_smoothing": 0.1,
  }
  return Train(**plain | changes)
