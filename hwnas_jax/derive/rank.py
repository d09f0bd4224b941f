"""Ranks architectures by their loss with the shared weights."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import optax

from hwnas_jax.core.types import Array, Genotype
from hwnas_jax.derive.one_path import Forward, evaluate
from hwnas_jax.derive.shared import SharedWeights
from hwnas_jax.method.conditioned import plain

OWN_CLASSIFIERS = (
  "controller.classifier=True gives each condition another classifier:"
  " networks of different conditions cannot be ranked"
)


def rank(
  shared: SharedWeights, num_ops: int, genotypes: Sequence[Genotype]
) -> np.ndarray:
  """Cross-entropy of architectures with the supernet's weights: [N].

  Each runs as a single path; what it does not choose does not run.

  Args:
    shared: the weights, and the batch that all are compared on.
    num_ops: O, columns of a mix.
    genotypes: [N], at least one.

  Raises:
    ValueError: the weights depend on a condition, so networks of different
      conditions cannot be compared.
  """
  if shared.fold is not plain:
    raise ValueError(OWN_CLASSIFIERS)
  data = shared.weights, shared.images, shared.labels
  return evaluate(_loss, shared.net, num_ops, genotypes, data)


def _loss(forward: Forward, data: Any) -> Array:
  weights, images, labels = data
  return optax.softmax_cross_entropy_with_integer_labels(
    forward(weights, images), labels
  ).mean()
