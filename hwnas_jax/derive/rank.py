"""Ranks architectures by their loss with the shared weights."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hwnas_jax.core.types import Array, Genotype, Params
from hwnas_jax.derive.shared import SharedWeights
from hwnas_jax.method.conditioned import plain
from hwnas_jax.nets.supernet import Net
from hwnas_jax.spaces import architecture

CHUNK = 16  # architectures in one call, whatever their number


def rank(
  shared: SharedWeights, num_ops: int, genotypes: Sequence[Genotype]
) -> np.ndarray:
  """Cross-entropy of architectures with the supernet's weights: [N].

  Args:
    shared: the weights, and the batch that all are compared on.
    num_ops: O, columns of a mix.
    genotypes: [N], at least one.

  Raises:
    ValueError: the weights depend on a condition, so networks of different
      conditions cannot be compared.
  """
  if shared.fold is not plain:
    raise ValueError(
      "controller.classifier=True gives each condition another classifier:"
      " networks of different conditions cannot be ranked"
    )
  mixes = architecture.one_hot(genotypes, num_ops)
  padding = -len(mixes) % CHUNK
  chunks = np.pad(mixes, ((0, padding), (0, 0), (0, 0))).reshape(
    -1, CHUNK, *mixes.shape[1:]
  )
  losses = [
    _losses(
      shared.net,
      jnp.asarray(chunk),
      shared.weights,
      shared.images,
      shared.labels,
    )
    for chunk in chunks
  ]
  return np.concatenate([np.asarray(part) for part in losses])[: len(mixes)]


@functools.partial(jax.jit, static_argnums=0)
def _losses(
  net: Net, mixes: Array, weights: Params, images: Array, labels: Array
) -> Array:
  """Mixes [N, E, O] -> [N]; one compiled program for all queries of a run."""

  def loss(mix: Array) -> Array:
    outputs = net.apply(weights, mix, images)
    return optax.softmax_cross_entropy_with_integer_labels(
      outputs, labels
    ).mean()

  return jax.lax.map(loss, mixes)
