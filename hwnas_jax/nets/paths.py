"""What runs at a choice of a supernet: a mix of all, or a few operations.

A branch is (params, x) -> y; all branches of a choice give one shape. Each is
rematerialised by itself: the gradient of a `lax.switch` would keep the
residuals of every branch, of those that did not run too.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax

from hwnas_jax.core.types import Array, Params, Paths

Branch = Callable[[Params, Array], Array]


def weigh(x: Array, weight: Array) -> Array:
  """x [B, ...] times a weight [] of all examples or [B] of each."""
  return x * weight.reshape(weight.shape + (1,) * (x.ndim - 1) * weight.ndim)


def mix_all(
  branches: Sequence[Branch], params: Params, x: Array, row: Array
) -> Array:
  """sum of row[(B,) O] times what each of the O branches gives."""
  outputs = [
    weigh(jax.checkpoint(branch)(params, x), row[..., o])
    for o, branch in enumerate(branches)
  ]
  return sum(outputs[1:], outputs[0])


def run_paths(
  branches: Sequence[Branch], params: Params, x: Array, row: Array, paths: Paths
) -> Array:
  """sum over the A active operations o of row[o] * branch_o, and no others.

  Args:
    branches: [O].
    params: what each branch picks its own from.
    x: the choice's input.
    row: [O] weights of the operations.
    paths: active [A] and scored [J] or None, of this choice.

  Returns:
    The sum. Without `scored` its gradient reaches row[active] alone. With it,
    row[j] of each scored j gets <gradient of the sum, branch_j>, for which the
    branch runs in the backward pass, one at a time: ProxylessNAS's gates (Cai
    et al. 2019, section 3.2; research 5.1).
  """
  guarded = [jax.checkpoint(branch) for branch in branches]
  gates = row if paths.scored is None else lax.stop_gradient(row)
  outputs = [gates[o] * lax.switch(o, guarded, params, x) for o in paths.active]
  y = sum(outputs[1:], outputs[0])
  if paths.scored is None:
    return y
  return _score(branches, y, row, paths.scored, params, x)


def _score(
  branches: Sequence[Branch],
  y: Array,
  row: Array,
  scored: Array,
  params: Params,
  x: Array,
) -> Array:
  """Y, with the gradients of `run_paths` to the row."""

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
      lambda o: jnp.vdot(g, lax.switch(o, branches, params, x)), scored
    )
    none = jax.tree.map(jnp.zeros_like, (params, x))
    return (g, jnp.zeros_like(row).at[scored].add(scores), None, *none)

  pass_on.defvjp(forward, backward)
  return pass_on(y, row, scored, params, x)


def shortcut(x: Array, y: Array) -> Array:
  """X in the shape of y, without weights: He et al. 2016's option A.

  Where a choice is strided every s-th pixel is taken; pixels and channels that
  y has more are zero, those that it has less are left out.
  """
  _, height, width, channels = y.shape
  steps = [
    -(-n // m) for n, m in zip(x.shape[1:3], (height, width), strict=True)
  ]
  x = x[:, :: steps[0], :: steps[1]][:, :height, :width, :channels]
  more = [n - m for n, m in zip(y.shape[1:], x.shape[1:], strict=True)]
  return jnp.pad(x, [(0, 0), *((0, n) for n in more)])
