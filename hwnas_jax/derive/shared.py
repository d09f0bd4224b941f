"""A supernet's shared weights, and the images that networks are compared on."""

from typing import NamedTuple

from hwnas_jax.core.types import Array, Params
from hwnas_jax.method.conditioned import Fold, plain
from hwnas_jax.nets.supernet import Net


class SharedWeights(NamedTuple):
  """What an architecture is tried with before it has weights of its own.

  net: the supernet. weights: its parameters.
  images: float32[B, H, W, C], normalised, best such that the weights never
    saw. labels: int32[B].
  fold: gives the weights under a condition; `plain` where they do not depend
    on one.
  """

  net: Net
  weights: Params
  images: Array
  labels: Array
  fold: Fold = plain
