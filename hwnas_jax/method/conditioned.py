"""A classifier that is a function of the condition (research 2.2, 3.2).

DARTS-CC and the simplex method generate the last layer as they generate the
logits. For one condition it folds into constants: the network that is derived
has an ordinary classifier.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.core.types import Array, Params
from hwnas_jax.method.controllers import Controller, Rows
from hwnas_jax.nets.supernet import Net

LAYER = "classifier"

# (supernet's weights, condition features) -> weights of the plain supernet
Fold = Callable[[Params, Array], Params]


def plain(weights: Params, features: Array) -> Params:
  """The fold of a supernet that does not hear the condition."""
  del features
  return weights


def conditioned(
  net: Net, make: Callable[[Rows, float], Controller]
) -> tuple[Net, Fold]:
  """The net with a generated classifier, and what folds its weights.

  Args:
    net: a supernet whose weights have a "classifier".
    make: (rows, standard deviation at first) -> the controller of [1, n]
      outputs that generates its n weights. The second is 1 / sqrt(fan-in), 1
      in the published code, which starts with logits spread by 16.

  The parameters are weights, and decay as they do, pivots included.

  Returns:
    A net whose init gives the generator's parameters in the classifier's
    place; its apply takes folded weights.
  """
  shapes = jax.eval_shape(net.init, jax.random.key(0))[LAYER]
  leaves, tree = jax.tree.flatten(shapes)
  sizes = [leaf.size for leaf in leaves]
  fan_in = max(leaf.size // leaf.shape[-1] for leaf in leaves)
  generator = make(Rows((1, sum(sizes)), (0,)), 1 / np.sqrt(fan_in))

  def init(key: Array) -> Params:
    own, others = jax.random.split(key)
    return {**net.init(others), LAYER: generator.init(own)}

  def fold(weights: Params, features: Array) -> Params:
    (flat,) = generator.apply(weights[LAYER], features)
    parts = jnp.split(flat, np.cumsum(sizes)[:-1])
    found = [
      part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)
    ]
    return {**weights, LAYER: jax.tree.unflatten(tree, found)}

  return Net(init, net.apply), fold
