"""Primitives, or uses of them, written in simpler ones.

A rewrite is a JAX function. The converter traces it and converts what it finds,
so each is also plain JAX that can be tested as such. It is taken where a
primitive has no conversion, or where its conversion returns nothing.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jax.extend import core

from hwnas_jax.deploy import onnx_functions
from hwnas_jax.deploy.onnx_conversion import Rewrite, Use, demand, whole
from hwnas_jax.deploy.onnx_indexing import (
  CLIP,
  FILL,
  Axes,
  gather_axes,
  scatter_axes,
)
from hwnas_jax.deploy.onnx_windows import outer_axes


def _dot(use: Use, x: jax.Array, y: jax.Array) -> jax.Array:
  """Brings a product into the forms of `onnx_products`."""
  (x_in, y_in), (x_batch, y_batch) = use.params["dimension_numbers"]
  x_free = [a for a in range(x.ndim) if a not in (*x_in, *x_batch)]
  y_free = [a for a in range(y.ndim) if a not in (*y_in, *y_batch)]
  batch = [x.shape[a] for a in x_batch]
  inner = math.prod(x.shape[a] for a in x_in)
  rows, columns = (
    [a.shape[i] for i in free] for a, free in ((x, x_free), (y, y_free))
  )
  kept = [math.prod(rows)] if batch or not rows else rows
  x = x.transpose(*x_batch, *x_free, *x_in).reshape(*batch, *kept, inner)
  y = y.transpose(*y_batch, *y_in, *y_free)
  y = y.reshape(*batch, inner, math.prod(columns))
  count = len(batch)
  contract = (x.ndim - 1,), (count,)
  numbers = contract, (tuple(range(count)), tuple(range(count)))
  kind = use.outs[0].dtype
  z = lax.dot_general(x.astype(kind), y.astype(kind), numbers)
  return z.reshape(*batch, *rows, *columns)


def _conv(use: Use, x: jax.Array, w: jax.Array) -> jax.Array:
  """Pads and spreads the input first."""
  numbers = use.params["dimension_numbers"]
  config = [(0, 0, 0)] * x.ndim
  settings = zip(
    numbers.lhs_spec[2:],
    use.params["padding"],
    use.params["lhs_dilation"],
    strict=True,
  )
  for axis, (low, high), step in settings:
    config[axis] = low, high, step - 1
  return lax.conv_general_dilated(
    lax.pad(x, np.zeros((), x.dtype), config),
    w,
    use.params["window_strides"],
    "VALID",
    rhs_dilation=use.params["rhs_dilation"],
    dimension_numbers=numbers,
    feature_group_count=use.params["feature_group_count"],
  )


def _pad(use: Use, x: jax.Array, value: jax.Array) -> jax.Array:
  """Fills gaps between elements one axis at a time, then pads the ends."""
  ends = []
  for axis, (low, high, gap) in enumerate(use.params["padding_config"]):
    ends.append((low, high, 0))
    if not gap:
      continue
    size = x.shape[axis]
    x = jnp.expand_dims(x, axis + 1)
    config = [(0, 0, 0)] * x.ndim
    config[axis + 1] = (0, gap, 0)
    x = lax.pad(x, value, config)
    shape = *x.shape[:axis], size * (gap + 1), *x.shape[axis + 2 :]
    x = lax.slice_in_dim(x.reshape(shape), 0, size * (gap + 1) - gap, axis=axis)
  return lax.pad(x, value, ends)


def _window(
  reduce: Callable[..., jax.Array], start: float
) -> Callable[..., jax.Array]:
  """Pads first, and gives the window axes before, up to two of size one."""

  def rewrite(use: Use, x: jax.Array) -> jax.Array:
    params = use.params
    padding, base = params["padding"], params["base_dilation"]
    config = [
      (low, high, step - 1)
      for (low, high), step in zip(padding, base, strict=True)
    ]
    init = np.asarray(start, x.dtype)
    x = lax.pad(x, init, config)
    new = (1,) * max(0, 2 - len(outer_axes(params)))
    y = lax.reduce_window(
      x.reshape(*new, *x.shape),
      init,
      reduce,
      (*new, *params["window_dimensions"]),
      (*new, *params["window_strides"]),
      "VALID",
      window_dilation=(*new, *params["window_dilation"]),
    )
    return y.reshape(y.shape[len(new) :])

  return rewrite


def _window_min(use: Use, x: jax.Array) -> jax.Array:
  params = use.params
  return -lax.reduce_window(
    -x,
    np.asarray(-np.inf, x.dtype),
    lax.max,
    params["window_dimensions"],
    params["window_strides"],
    params["padding"],
    params["base_dilation"],
    params["window_dilation"],
  )


def _running(
  reduce: Callable[..., jax.Array], start: Any
) -> Callable[..., jax.Array]:
  """A running reduction: each element reduces all up to it."""

  def rewrite(use: Use, x: jax.Array) -> jax.Array:
    axis, count = use.params["axis"], x.shape[use.params["axis"]]
    demand(whole(count), "a running reduction over the batch")
    mask = np.tri(count, dtype=bool)
    mask = mask.T if use.params["reverse"] else mask
    x = jnp.moveaxis(x, axis, -1)[..., None, :]
    mask = mask.reshape(*[1] * (x.ndim - 2), count, count)
    init = start(x.dtype) if callable(start) else start
    y = reduce(jnp.where(mask, x, jnp.asarray(init, x.dtype)), axis=-1)
    return jnp.moveaxis(y, -1, axis)

  return rewrite


def _smallest(dtype: Any) -> Any:
  inexact = jnp.issubdtype(dtype, jnp.floating)
  return -np.inf if inexact else jnp.iinfo(dtype).min


def _largest(dtype: Any) -> Any:
  inexact = jnp.issubdtype(dtype, jnp.floating)
  return np.inf if inexact else jnp.iinfo(dtype).max


def _clamp(use: Use, low: jax.Array, x: jax.Array, high: jax.Array) -> Any:
  return jnp.minimum(jnp.maximum(x, low), high)


def _compare(compare: Callable[..., jax.Array]) -> Rewrite:
  """Truth values compared as numbers."""
  return lambda use, a, b: compare(a.astype(jnp.int32), b.astype(jnp.int32))


def _stack(use: Use, *values: jax.Array) -> jax.Array:
  axis = use.params["axis"] % len(use.outs[0].shape)
  return lax.concatenate([jnp.expand_dims(v, axis) for v in values], axis)


def _unstack(use: Use, x: jax.Array) -> list[jax.Array]:
  axis = use.params["axis"]
  count = x.shape[axis]
  return [lax.index_in_dim(x, i, axis, keepdims=False) for i in range(count)]


def _argument(reduce: Callable[..., jax.Array]) -> Rewrite:
  return lambda use, x: reduce(
    x.astype(jnp.int32), use.params["axes"][0], jnp.int32
  )


def _positions(
  axes: Axes, indexed: Sequence[int], indices: jax.Array, shape: Sequence[Any]
) -> tuple[jax.Array, jax.Array]:
  """(rows of the flattened axes, whether they are inside).

  Their axes are those of the indices, then the windows of `indexed`.
  """
  walked = [axis for axis in indexed if axis in axes.window]
  outer = indices.shape[:-1]
  total: Any = jnp.zeros((1,) * (len(outer) + len(walked)), jnp.int32)
  inside: Any = total == 0
  spread = (..., *[None] * len(walked))
  for axis in indexed:
    at: Any = jnp.zeros_like(total)
    if axis in axes.batch:
      at = lax.broadcasted_iota(jnp.int32, outer, axes.batch[axis])[spread]
    elif axis in axes.start:
      starts = indices[..., axes.start[axis]].astype(jnp.int32)[spread]
      most = jnp.asarray(shape[axis] - axes.sizes[axis], jnp.int32)
      inside = inside & (starts >= 0) & (starts <= most)
      at = jnp.clip(starts, 0, most)
    if axis in axes.window:
      place = [1] * total.ndim
      place[len(outer) + walked.index(axis)] = axes.sizes[axis]
      at = at + jnp.arange(axes.sizes[axis], dtype=jnp.int32).reshape(place)
    total = total * jnp.asarray(shape[axis], jnp.int32) + at
  full = *outer, *(axes.sizes[axis] for axis in walked)
  return jnp.broadcast_to(total, full), jnp.broadcast_to(inside, full)


def _flatten(
  axes: Axes, shape: Sequence[Any]
) -> tuple[list[int], list[int], list[int]]:
  """(axes that are indexed, the others, the result's axes in that order)."""
  whole_axes = [
    a for a in axes.window if a not in axes.start and axes.sizes[a] == shape[a]
  ]
  indexed = [a for a in range(len(shape)) if a not in whole_axes]
  walked = [axes.window[a] for a in indexed if a in axes.window]
  return (
    indexed,
    whole_axes,
    [*axes.rows, *walked, *(axes.window[a] for a in whole_axes)],
  )


def _as_rows(
  x: jax.Array, indexed: Sequence[int], rest: Sequence[int]
) -> jax.Array:
  """The indexed axes first, as one, then the others."""
  count = math.prod(x.shape[axis] for axis in indexed)
  row = [x.shape[axis] for axis in rest]
  return x.transpose(*indexed, *rest).reshape(count, *row)


def _gather(use: Use, x: jax.Array, indices: jax.Array) -> jax.Array:
  """Reads rows of the indexed axes, which become one."""
  axes, shape = gather_axes(use), x.shape
  indexed, rest, order = _flatten(axes, shape)
  flat = _as_rows(x, indexed, rest)
  rows, inside = _positions(axes, indexed, indices, shape)
  y = flat.at[rows].get(mode="promise_in_bounds")
  if use.params["mode"] == FILL:
    fill = use.params["fill_value"]
    if fill is None:
      is_float = jnp.issubdtype(x.dtype, jnp.floating)
      fill = np.nan if is_float else _smallest(x.dtype)
    inside = inside.reshape(*inside.shape, *[1] * len(rest))
    y = jnp.where(inside, y, jnp.asarray(fill, y.dtype))
  return y.transpose(*np.argsort(order))


def _scatter(name: str) -> Rewrite:
  """Writes rows of the indexed axes, which become one."""

  def rewrite(
    use: Use, x: jax.Array, indices: jax.Array, updates: jax.Array
  ) -> jax.Array:
    axes, shape = scatter_axes(use), x.shape
    indexed, rest, order = _flatten(axes, shape)
    flat = _as_rows(x, indexed, rest)
    count, *row = flat.shape
    rows, inside = _positions(axes, indexed, indices, shape)
    if use.params["mode"] != CLIP:  # a row more takes what is outside
      flat = jnp.concatenate([flat, jnp.zeros((1, *row), x.dtype)])
      rows = jnp.where(inside, rows, count)
    at = flat.at[rows]
    updates = updates.transpose(order)
    flat = getattr(at, name)(updates, mode="promise_in_bounds")[:count]
    flat = flat.reshape(*(shape[axis] for axis in indexed), *row)
    return flat.transpose(*np.argsort([*indexed, *rest]))

  return rewrite


def _dynamic_slice(use: Use, x: jax.Array, *starts: jax.Array) -> jax.Array:
  for axis, size in enumerate(use.params["slice_sizes"]):
    if size != x.shape[axis]:
      start = jnp.clip(starts[axis], 0, x.shape[axis] - size)
      rows = start.astype(jnp.int32) + jnp.arange(size, dtype=jnp.int32)
      x = jnp.take(x, rows, axis=axis, mode="clip")
  return x


def _dynamic_update(
  use: Use, x: jax.Array, update: jax.Array, *starts: jax.Array
) -> jax.Array:
  inside: Any = True
  for axis, size in enumerate(update.shape):
    if size == x.shape[axis]:
      continue
    start = jnp.clip(starts[axis], 0, x.shape[axis] - size).astype(jnp.int32)
    at = jnp.arange(x.shape[axis], dtype=jnp.int32) - start
    update = jnp.take(update, jnp.clip(at, 0, size - 1), axis=axis, mode="clip")
    place = [1] * x.ndim
    place[axis] = x.shape[axis]
    hit = ((at >= 0) & (at < size)).reshape(place)
    inside = inside & hit
  return update if inside is True else jnp.where(inside, update, x)


def _scan(use: Use, *values: jax.Array) -> list[jax.Array]:
  """The loop, unrolled."""
  params = use.params
  length = params["length"]
  demand(whole(length), "a loop over the batch")
  inner = params["jaxpr"]
  body = core.jaxpr_as_fun(inner)
  # Versions of JAX name the numbers differently. Rows and what is stacked have
  # an axis more outside the loop than in its body.
  num_rows = _deeper(use.ins, inner.in_avals)
  num_carry = len(use.outs) - _deeper(use.outs, inner.out_avals)
  last = len(values) - num_rows
  first = last - num_carry
  consts, carry, rows = values[:first], values[first:last], values[last:]
  outputs = []
  for index in reversed(range(length)) if params["reverse"] else range(length):
    row = [lax.index_in_dim(x, index, 0, keepdims=False) for x in rows]
    made = body(*consts, *carry, *row)
    carry = made[: len(carry)]
    outputs.append(made[len(carry) :])
  outputs = outputs[::-1] if params["reverse"] else outputs
  return [*carry, *(jnp.stack(y) for y in zip(*outputs, strict=True))]


def _deeper(outside: Sequence[Any], inside: Sequence[Any]) -> int:
  """How many arrays have another rank outside than inside."""
  pairs = zip(outside, inside, strict=True)
  return sum(len(a.shape) != len(b.shape) for a, b in pairs)


def _expand(use: Use, *values: jax.Array) -> list[jax.Array]:
  """An operation that JAX (from 0.12) knows to expand into others."""
  return jax.tree.leaves(use.params["_prim"].expand(*values))


def _cond(use: Use, which: jax.Array, *values: jax.Array) -> list[jax.Array]:
  """All branches, of which one is chosen."""
  branches = use.params["branches"]
  made = [core.jaxpr_as_fun(branch)(*values) for branch in branches]
  index = jnp.clip(which.astype(jnp.int32), 0, len(branches) - 1)
  return [lax.select_n(index, *cases) for cases in zip(*made, strict=True)]


REWRITES: dict[str, Rewrite] = {
  **onnx_functions.REWRITES,
  "argmax": _argument(lax.argmax),
  "call_hi_primitive": _expand,
  "argmin": _argument(lax.argmin),
  "clamp": _clamp,
  "cond": _cond,
  "conv_general_dilated": _conv,
  "cumlogsumexp": _running(jax.nn.logsumexp, -np.inf),
  "cummax": _running(jnp.max, _smallest),
  "cummin": _running(jnp.min, _largest),
  "cumprod": _running(jnp.prod, 1),
  "dot_general": _dot,
  "dynamic_slice": _dynamic_slice,
  "dynamic_update_slice": _dynamic_update,
  "gather": _gather,
  "ge": _compare(lax.ge),
  "gt": _compare(lax.gt),
  "le": _compare(lax.le),
  "lt": _compare(lax.lt),
  "pad": _pad,
  "reduce_window_max": _window(lax.max, -np.inf),
  "reduce_window_min": _window_min,
  "reduce_window_sum": _window(lax.add, 0),
  "scan": _scan,
  "scatter": _scatter("set"),
  "scatter-add": _scatter("add"),
  "scatter-max": _scatter("max"),
  "scatter-min": _scatter("min"),
  "scatter-mul": _scatter("multiply"),
  "stack": _stack,
  "unstack": _unstack,
}
