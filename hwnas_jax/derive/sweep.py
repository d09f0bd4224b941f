"""The conditions at which a family is derived, and its logits there."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.core import types
from hwnas_jax.core.types import Params
from hwnas_jax.io.records import Condition, Shares
from hwnas_jax.method.conditions import Conditions
from hwnas_jax.method.controllers import Controller


def stack(conditions: Sequence[Condition]) -> types.Condition:
  """N conditions as arrays: simplex float32[N, K], scale float32[N]."""
  return types.Condition(
    jnp.asarray([c.simplex for c in conditions], jnp.float32),
    jnp.asarray([c.scale for c in conditions], jnp.float32),
  )


def scale_grid(
  size: int, low: float, high: float, count: int
) -> list[Condition]:
  """`count` log-spaced scales at the uniform simplex, the device itself."""
  uniform = (1.0 / size,) * size
  return [Condition(uniform, float(s)) for s in np.geomspace(low, high, count)]


def simplex_grid(size: int, scale: float, per_side: int) -> list[Condition]:
  """A triangular grid over the simplex of three operations, else [].

  Args:
    size: K, the number of priced operations.
    scale: of every condition.
    per_side: steps along a side of the triangle.
  """
  if size != 3:
    return []
  steps = range(per_side + 1)
  return [
    Condition(
      (i / per_side, j / per_side, (per_side - i - j) / per_side), scale
    )
    for i in steps
    for j in steps
    if i + j <= per_side
  ]


def logits_of(
  controller: Controller,
  conditions: Conditions,
  params: Params,
  points: Sequence[Condition],
) -> np.ndarray:
  """Logits [N, E, O] at N conditions, in one vmap.

  Args:
    controller: of the search.
    conditions: give the features that it reads.
    params: the controller's, trained.
    points: [N].
  """

  def logits(condition: types.Condition) -> jax.Array:
    return controller.apply(params, conditions.features(condition))

  return np.asarray(jax.jit(jax.vmap(logits))(stack(points)))


def shares(
  condition: Condition, logits: np.ndarray, ops: Sequence[str]
) -> Shares:
  """Mean probability of each operation over the choices.

  Args:
    condition: the condition of the logits.
    logits: [E, O].
    ops: [O] names.
  """
  weights = np.exp(logits - logits.max(-1, keepdims=True))
  weights /= weights.sum(-1, keepdims=True)
  means = zip(ops, weights.mean(0), strict=True)
  return Shares(condition, {op: float(mean) for op, mean in means})
