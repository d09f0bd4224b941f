"""Draws all weights of a network by one call of the random generator.

With one call for each tensor, as `module.init` makes them, a large supernet
takes minutes to compile; with a single call it takes a second.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.core.types import Array, Params
from hwnas_jax.nets.ops import make_op
from hwnas_jax.spaces.spec import Site


@functools.cache
def op_shapes(site: Site) -> Params:
  """The shapes of an operation's weights in mode `search`; {} for none."""
  example = jax.ShapeDtypeStruct(
    (1, site.height, site.width, site.channels_in), jnp.float32
  )
  module = make_op(site, "search")
  return jax.eval_shape(module.init, jax.random.key(0), example).get(
    "params", {}
  )


def stacked(shapes: Params, count: int) -> Params:
  """The shapes of `count` copies, stacked along a new first axis."""
  return jax.tree.map(
    lambda s: jax.ShapeDtypeStruct((count, *s.shape), s.dtype), shapes
  )


def draw(key: Array, shapes: Params) -> Params:
  """Initial weights of given shapes.

  A leaf called "scale" is 1 and one called "bias" is 0. All others are normal
  with variance 2 / fan-in (He et al. 2015), where the fan-in is the product of
  all axes but the last. The first axis of a leaf below "edges" counts stacked
  copies and is not a part of the fan-in.

  Args:
    key: typed.
    shapes: a tree of ShapeDtypeStructs.
  """
  leaves, tree = jax.tree_util.tree_flatten_with_path(shapes)
  sizes = [math.prod(leaf.shape) for _, leaf in leaves]
  noise = jax.random.normal(key, (sum(sizes),))
  offsets = np.cumsum([0, *sizes])
  weights = [
    _leaf(path, leaf.shape, noise[start : start + size])
    for (path, leaf), start, size in zip(
      leaves, offsets[:-1], sizes, strict=True
    )
  ]
  return jax.tree.unflatten(tree, weights)


def _leaf(path: tuple, shape: tuple[int, ...], noise: Array) -> Array:
  names = [getattr(entry, "key", None) for entry in path]
  if names[-1] == "scale":
    return jnp.ones(shape)
  if names[-1] == "bias":
    return jnp.zeros(shape)
  fan_in = math.prod(shape[1:-1] if "edges" in names else shape[:-1])
  return noise.reshape(shape) * math.sqrt(2.0 / fan_in)
