"""The common descent direction of several losses, for MODNAS's devices.

Each gradient is scaled to norm 1. The point of least norm in their convex hull
raises none of the losses, to first order (Desideri 2012, MGDA; Sukthanker et
al. 2025; docs/methods.md#common-descent-direction).
"""

import jax
import jax.numpy as jnp
from jax import lax

from hwnas_jax.core.types import Array, Params

ITERATIONS = 250


def hull_weights(gram: Array, iterations: int = ITERATIONS) -> Array:
  """Weights [D] on the simplex that minimise w @ gram @ w.

  Frank-Wolfe with an exact line search (Jaggi 2013).

  Args:
    gram: [D, D], inner products of the gradients.
    iterations: of Frank-Wolfe.
  """
  size = gram.shape[0]

  def step(weights: Array, _: None) -> tuple[Array, None]:
    slope = gram @ weights
    corner = jax.nn.one_hot(slope.argmin(), size)
    towards = corner - weights
    curvature = towards @ gram @ towards
    length = -(slope @ towards) / jnp.maximum(curvature, 1e-12)
    return weights + jnp.clip(length, 0.0, 1.0) * towards, None

  start = jnp.full(size, 1.0 / size)
  return lax.scan(step, start, None, iterations)[0]


def combine(grads: Params) -> Params:
  """Gradients with a leading axis of D losses -> their common direction."""
  leaves, tree = jax.tree.flatten(grads)
  rows = [leaf.reshape(leaf.shape[0], -1) for leaf in leaves]
  flat = jnp.concatenate(rows, 1)
  norms = jnp.linalg.norm(flat, axis=1)
  unit = 1.0 / jnp.maximum(norms, 1e-12)
  gram = (flat @ flat.T) * jnp.outer(unit, unit)
  weights = hull_weights(gram) * unit
  return jax.tree.unflatten(
    tree, [jnp.tensordot(weights, leaf, 1) for leaf in leaves]
  )
