"""What runs at a choice of a supernet: all operations, mixed, or a few.

An operation here is a branch, a function. All branches of a choice have one
output shape. Each is rematerialised by itself, because the gradient of a
`lax.switch` stores residuals for every branch, also for those that do not run.
"""

from collections.abc import Sequence
from typing import Protocol

import jax
import jax.numpy as jnp
from jax import lax

from hwnas_jax.core.precision import wide
from hwnas_jax.core.types import Array, Params, Paths


class Branch(Protocol):
  """Runs one operation of a choice."""

  def __call__(self, params: Params, x: Array, /) -> Array:
    """The output [B, H', W', C'].

    Args:
      params: of all operations of the choice; the branch picks its own.
      x: [B, H, W, C], the choice's input.
    """


def weigh(x: Array, weight: Array) -> Array:
  """x [B, ...] times a weight: [], or [B] with one for each example.

  The output has the type of x. The product is float32 at least, and so is the
  sum over x that the weight's gradient is.
  """
  weight = weight.reshape(weight.shape + (1,) * (x.ndim - 1) * weight.ndim)
  return (wide(x) * weight).astype(x.dtype)


def mix_all(
  branches: Sequence[Branch], params: Params, x: Array, row: Array
) -> Array:
  """The sum over the O operations of row[..., o] times the branch's output.

  Args:
    branches: [O].
    params: see `Branch`.
    x: [B, H, W, C].
    row: [O], or [B, O] with a row for each example.
  """
  outputs = [
    weigh(jax.checkpoint(branch)(params, x), row[..., o])
    for o, branch in enumerate(branches)
  ]
  return sum(outputs[1:], outputs[0])


def run_paths(
  branches: Sequence[Branch], params: Params, x: Array, row: Array, paths: Paths
) -> Array:
  """The sum over the active operations of row[o] times the branch's output.

  No other branch runs.

  Args:
    branches: [O].
    params: see `Branch`.
    x: [B, H, W, C].
    row: [O].
    paths: of this choice: active [A], scored [J] or None, absent [A] or None.

  Returns:
    The sum. Without `scored`, its gradient reaches row[active] only. With it,
    row[j] of each scored j gets the inner product of the sum's gradient and the
    output of branch j, which runs for it in the backward pass, one branch at a
    time. These are the gradients of ProxylessNAS's gates (Cai et al. 2019,
    section 3.2).
  """
  guarded = [jax.checkpoint(branch) for branch in branches]
  gates = row if paths.scored is None else lax.stop_gradient(row)
  active = paths.active
  if paths.absent is not None:
    guarded.append(_zeros_like(branches[0]))
    active = jnp.where(paths.absent, len(branches), active)
    gates = jnp.append(gates, 0.0)
  outputs = [weigh(lax.switch(o, guarded, params, x), gates[o]) for o in active]
  y = sum(outputs[1:], outputs[0])
  if paths.scored is None:
    return y
  return _score(branches, y, row, paths.scored, params, x)


def _zeros_like(branch: Branch) -> Branch:
  """Zeros of the shape of a branch's output."""

  def zeros(params: Params, x: Array) -> Array:
    y = jax.eval_shape(branch, params, x)
    return jnp.zeros(y.shape, y.dtype)

  return zeros


def _score(
  branches: Sequence[Branch],
  y: Array,
  row: Array,
  scored: Array,
  params: Params,
  x: Array,
) -> Array:
  """Returns y; the row gets the gradients that `run_paths` says."""

  @jax.custom_vjp
  def pass_on(
    y: Array, row: Array, scored: Array, params: Params, x: Array
  ) -> Array:
    del row, scored, params, x
    return y

  def forward(
    y: Array, row: Array, scored: Array, params: Params, x: Array
  ) -> tuple[Array, tuple[Array, Array, Params, Array]]:
    return y, (row, scored, params, x)

  def backward(
    residuals: tuple[Array, Array, Params, Array], g: Array
  ) -> tuple[Array, Array, None, Params, Array]:
    row, scored, params, x = residuals
    scores = lax.map(
      lambda o: jnp.vdot(
        g,
        lax.switch(o, branches, params, x),
        preferred_element_type=row.dtype,
      ),
      scored,
    )
    none = jax.tree.map(jnp.zeros_like, (params, x))
    return (g, jnp.zeros_like(row).at[scored].add(scores), None, *none)

  pass_on.defvjp(forward, backward)
  return pass_on(y, row, scored, params, x)


def shortcut(x: Array, y: Array) -> Array:
  """Brings x to the shape of y without weights (He et al. 2016, option A).

  A stride of s takes every s-th pixel. Pixels and channels that x lacks are
  zero; those that y lacks are cut off.
  """
  _, height, width, channels = y.shape
  steps = [
    -(-n // m) for n, m in zip(x.shape[1:3], (height, width), strict=True)
  ]
  x = x[:, :: steps[0], :: steps[1]][:, :height, :width, :channels]
  missing = [n - m for n, m in zip(y.shape[1:], x.shape[1:], strict=True)]
  return jnp.pad(x, [(0, 0), *((0, n) for n in missing)])
