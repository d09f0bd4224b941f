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
      stats: as the network is initialised with; only their shapes count.
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

  They are the batches' mean with the weights of a running average, the last
  batch having most. The share that the start would keep is divided out.

  Args:
    network: in mode `train`.
    normalise: from pixels to the network's input.
    batches: number of batches.
  """

  def estimate(params: Params, stats: Params, split: Split, /) -> Params:
    count = split.labels.shape[0]
    size = min(128, count)
    zeros = jax.tree.map(jnp.zeros_like, stats)

    def update(index: Array, stats: Params) -> Params:
      rows = batch_indices(jax.random.key(0), index, count, size)
      variables = {"params": params, "batch_stats": stats}
      images = normalise(split.images[rows])
      return network.apply(variables, images, mutable=["batch_stats"])[1][
        "batch_stats"
      ]

    def step(
      number: Array, averages: tuple[Params, Params]
    ) -> tuple[Params, Params]:
      """(averages from zeros, what a step keeps of the average before it).

      The first two steps see the first batch, from ones and from zeros: their
      difference is the momentum, whatever a network's is.
      """
      before, kept = averages
      after = update(jnp.maximum(number - 1, 0), before)
      kept = jax.tree.map(
        lambda a, k: jnp.where(
          number == 0, a, jnp.where(number == 1, k - a, k)
        ),
        after,
        kept,
      )
      after = jax.tree.map(lambda a: jnp.where(number == 0, 0, a), after)
      return after, kept

    ones = jax.tree.map(jnp.ones_like, stats)
    averages, kept = lax.fori_loop(0, batches + 1, step, (ones, zeros))
    return jax.tree.map(lambda a, k: a / (1 - k**batches), averages, kept)

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
