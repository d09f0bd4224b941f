"""A classifier that is a function of the condition.

DARTS-CC and the simplex method generate the weights of the last layer as they
generate the logits. For one condition the weights are constants, so a derived
network has an ordinary classifier (docs/methods.md#conditioned-classifier).
"""

from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.core.types import Array, Params
from hwnas_jax.method.controllers import Controller, Rows
from hwnas_jax.nets.supernet import Net

LAYER = "classifier"


class Fold(Protocol):
  """Turns a supernet's parameters into its weights under a condition."""

  def __call__(self, weights: Params, features: Array, /) -> Params:
    """(parameters, condition features) -> weights of the plain supernet."""


class MakeGenerator(Protocol):
  """Makes the controller that generates the classifier's weights."""

  def __call__(self, rows: Rows, std: float, /) -> Controller:
    """(shape [1, n], standard deviation of the outputs of pivots at first)."""


def plain(weights: Params, features: Array) -> Params:
  """The fold of a supernet whose weights do not depend on the condition."""
  del features
  return weights


def conditioned(net: Net, make: MakeGenerator) -> tuple[Net, Fold]:
  """(a supernet with a generated classifier, the fold of its weights).

  Args:
    net: a supernet whose weights have a "classifier".
    make: makes the generator of the classifier's n weights. It is given the
      deviation 1 / sqrt(fan-in); the published code of the simplex method has
      1, which spreads the class logits by about 16 at first.

  Returns:
    A net whose init gives the generator's parameters in the classifier's
    place, and whose apply takes folded weights. The parameters are trained,
    and decay, as weights do, pivots included.
  """
  shapes = jax.eval_shape(net.init, jax.random.key(0))[LAYER]
  leaves, tree = jax.tree.flatten(shapes)
  sizes = [leaf.size for leaf in leaves]
  fan_in = max(leaf.size // leaf.shape[-1] for leaf in leaves)
  generator = make(Rows((1, sum(sizes)), (0,)), 1 / np.sqrt(fan_in))

  def init(key: Array) -> Params:
    generator_key, net_key = jax.random.split(key)
    return {**net.init(net_key), LAYER: generator.init(generator_key)}

  def fold(weights: Params, features: Array) -> Params:
    (flat,) = generator.apply(weights[LAYER], features)
    parts = jnp.split(flat, np.cumsum(sizes)[:-1])
    layer = [
      part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)
    ]
    return {**weights, LAYER: jax.tree.unflatten(tree, layer)}

  return Net(init, net.apply), fold
