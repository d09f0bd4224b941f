"""Draws all weights of a network in one call to the generator.

One random draw a tensor, as `module.init` does it, is minutes of compile time
for a large supernet; one draw for all of them is a second.
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
  """Shapes of an operation's weights in the search, {} where it has none."""
  example = jax.ShapeDtypeStruct(
    (1, site.height, site.width, site.channels_in), jnp.float32
  )
  module = make_op(site, "search")
  return jax.eval_shape(module.init, jax.random.key(0), example).get(
    "params", {}
  )


def stacked(shapes: Params, count: int) -> Params:
  """The shapes of `count` copies, stacked in front."""
  return jax.tree.map(
    lambda s: jax.ShapeDtypeStruct((count, *s.shape), s.dtype), shapes
  )


def draw(key: Array, shapes: Params) -> Params:
  """Weights of the given shapes; leaves below "edges" are stacked copies.

  A `scale` is 1, a `bias` 0, everything else normal with variance
  2 / fan-in (He et al. 2015), the fan-in being all axes but the last.
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
