"""A derived network on data: its accuracy, and its BN statistics."""

from typing import Protocol

import jax
import jax.numpy as jnp
from jax import lax

from hwnas_jax.core.types import Array, Params
from hwnas_jax.data.arrays import Split, batch_indices
from hwnas_jax.data.augment import Normalise
from hwnas_jax.nets.ops import Module


class Estimate(Protocol):
  """Estimates the BN statistics of a network, to be jitted."""

  def __call__(self, params: Params, stats: Params, split: Split, /) -> Params:
    """Returns the statistics.

    Args:
      params: the network's weights.
      stats: the statistics to start from.
      split: the examples to estimate from.
    """


class Evaluate(Protocol):
  """Evaluates a network, to be jitted."""

  def __call__(self, params: Params, stats: Params, split: Split, /) -> Array:
    """Returns the accuracy: float32[], a share of 1.

    Args:
      params: the network's weights.
      stats: its BN statistics.
      split: the examples to evaluate on.
    """


def make_estimate(
  network: Module, normalise: Normalise, batches: int
) -> Estimate:
  """Estimates BN statistics from batches of 128 examples.

  After `batches` of them, the statistics that the estimate started from have
  the weight 0.9 ** batches.

  Args:
    network: in mode `train`.
    normalise: from pixels to the network's input.
    batches: number of batches.
  """

  def estimate(params: Params, stats: Params, split: Split, /) -> Params:
    count = split.labels.shape[0]
    size = min(128, count)

    def update(index: Array, stats: Params) -> Params:
      rows = batch_indices(jax.random.key(0), index, count, size)
      variables = {"params": params, "batch_stats": stats}
      images = normalise(split.images[rows])
      return network.apply(variables, images, mutable=["batch_stats"])[1][
        "batch_stats"
      ]

    return lax.fori_loop(0, batches, update, stats)

  return estimate


def make_evaluate(
  network: Module, normalise: Normalise, batch_size: int
) -> Evaluate:
  """Evaluates a network on every example of a split, each counted once.

  The last batch is filled up with examples that do not count.

  Args:
    network: in mode `eval`.
    normalise: from pixels to the network's input.
    batch_size: examples at once; the accuracy does not depend on it.
  """

  def evaluate(params: Params, stats: Params, split: Split, /) -> Array:
    count = split.labels.shape[0]
    batches = -(-count // batch_size)
    rows = jnp.arange(batches * batch_size).reshape(batches, batch_size)

    def correct(batch: Array) -> Array:
      index = jnp.minimum(batch, count - 1)
      logits, _ = network.apply(
        {"params": params, "batch_stats": stats},
        normalise(split.images[index]),
      )
      hit = logits.argmax(-1) == split.labels[index]
      return (hit & (batch < count)).sum()

    return lax.map(correct, rows).sum() / count

  return evaluate
