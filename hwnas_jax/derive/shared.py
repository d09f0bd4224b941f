"""A supernet's shared weights, and the images that networks are compared on."""

from typing import NamedTuple

from hwnas_jax.core.types import Array, Params
from hwnas_jax.method.conditioned import Fold, plain
from hwnas_jax.nets.supernet import Net


class SharedWeights(NamedTuple):
  """A supernet with its weights, and a batch to evaluate architectures on.

  net: the supernet.
  weights: its parameters.
  images: [B, H, W, C] of the run's precision, normalised; if possible, images
    that the weights were not trained on.
  labels: int32[B].
  fold: gives the weights under a condition; `plain` if they do not depend on
    it.
  """

  net: Net
  weights: Params
  images: Array
  labels: Array
  fold: Fold = plain
