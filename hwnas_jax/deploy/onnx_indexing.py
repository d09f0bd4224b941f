"""Reading and writing elements by index: gather and scatter in ONNX.

A gather whose indices are constants of one axis each, as slicing and jnp.take
make, becomes a Slice or a Gather for each axis. Any other one is rewritten as
rows of one axis (`onnx_rewrites`).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import lax

from hwnas_jax.deploy.onnx_arithmetic import convert_type, emit
from hwnas_jax.deploy.onnx_conversion import Conversion, Use, whole
from hwnas_jax.deploy.onnx_graph import Graph, Tensor, Value
from hwnas_jax.deploy.onnx_layout import (
  reshaped,
  reverse,
  sliced,
  transposed,
)

FILL = lax.GatherScatterMode.FILL_OR_DROP
CLIP = lax.GatherScatterMode.CLIP


class Axes(NamedTuple):
  """How the axes of a gather's or scatter's operand are indexed.

  window: {operand's axis: the result's axis that walks along it}.
  start: {operand's axis: column of the indices that says where to start}.
  batch: {operand's axis: the indices' axis that it goes along with}.
  rows: the result's axes that are those of the indices.
  sizes: of the window, by the operand's axis.
  """

  window: dict[int, int]
  start: dict[int, int]
  batch: dict[int, int]
  rows: tuple[int, ...]
  sizes: tuple[Any, ...]


def gather_axes(use: Use) -> Axes:
  """The axes of a gather."""
  numbers, rank = use.params["dimension_numbers"], len(use.ins[0].shape)
  gone = {*numbers.collapsed_slice_dims, *numbers.operand_batching_dims}
  walked = [axis for axis in range(rank) if axis not in gone]
  out = range(len(use.outs[0].shape))
  return Axes(
    dict(zip(walked, numbers.offset_dims, strict=True)),
    {axis: i for i, axis in enumerate(numbers.start_index_map)},
    dict(
      zip(
        numbers.operand_batching_dims,
        numbers.start_indices_batching_dims,
        strict=True,
      )
    ),
    tuple(axis for axis in out if axis not in numbers.offset_dims),
    tuple(use.params["slice_sizes"]),
  )


def scatter_axes(use: Use) -> Axes:
  """The axes of a scatter; its result's are those of the updates."""
  numbers, operand = use.params["dimension_numbers"], use.ins[0].shape
  updates = use.ins[2].shape
  gone = {*numbers.inserted_window_dims, *numbers.operand_batching_dims}
  walked = [axis for axis in range(len(operand)) if axis not in gone]
  window = dict(zip(walked, numbers.update_window_dims, strict=True))
  return Axes(
    window,
    {a: i for i, a in enumerate(numbers.scatter_dims_to_operand_dims)},
    dict(
      zip(
        numbers.operand_batching_dims,
        numbers.scatter_indices_batching_dims,
        strict=True,
      )
    ),
    tuple(
      axis
      for axis in range(len(updates))
      if axis not in numbers.update_window_dims
    ),
    tuple(
      updates[window[a]] if a in window else 1 for a in range(len(operand))
    ),
  )


def _gather(graph: Graph, values: list[Value], use: Use) -> list[Value]:
  x, indices = graph.tensor(values[0]), values[1]
  axes, shape = gather_axes(use), use.ins[0].shape
  mode = use.params["mode"]
  if isinstance(indices, np.ndarray) and not axes.batch:
    if mode != FILL or _inside(indices, axes, shape):
      lines = _lines(indices, axes, use)
      if lines is not None:
        return [_by_lines(graph, x, axes, lines, use)]
  if mode == FILL or not _is_take(axes, shape):
    return []
  ((axis, _),) = axes.start.items()
  rows = graph.tensor(indices)
  rows = reshaped(graph, rows, rows.shape[:-1])
  if mode == CLIP:
    last = shape[axis] - 1
    limits: list[Value] = [np.asarray(0, np.int32)]
    limits.append(
      np.asarray(last, np.int32) if whole(last) else graph.number(last)
    )
    at = Use({}, (), (jax.ShapeDtypeStruct(rows.shape, np.int32),))
    (clipped,) = emit("Clip", graph, [rows, *limits], at)
    rows = graph.tensor(clipped)
  plain = range(len(shape)), range(len(rows.shape))
  names = [graph.laid(v, to) for v, to in zip((x, rows), plain, strict=True)]
  out = use.outs[0].shape
  return [graph.node("Gather", names, out, range(len(out)), axis=axis)]


def _is_take(axes: Axes, shape: Sequence[Any]) -> bool:
  """Whether it is jnp.take: whole rows of one axis, put where it was."""
  if axes.batch or len(axes.start) != 1:
    return False
  ((axis, _),) = axes.start.items()
  full = all(axes.sizes[a] == shape[a] for a in range(len(shape)) if a != axis)
  rows = tuple(range(axis, axis + len(axes.rows)))
  return axis not in axes.window and full and axes.rows == rows


def _inside(indices: np.ndarray, axes: Axes, shape: Sequence[Any]) -> bool:
  """Whether constant indices point inside."""
  columns = [(axis, indices[..., i]) for axis, i in axes.start.items()]
  return all(
    whole(shape[axis])
    and starts.min(initial=0) >= 0
    and starts.max(initial=0) <= shape[axis] - axes.sizes[axis]
    for axis, starts in columns
  )


def _scatter(reduction: str) -> Conversion:
  """Rows of the first axis, set or reduced with what is there."""

  def convert(graph: Graph, values: list[Value], use: Use) -> list[Value]:
    x, indices, updates = values
    axes = scatter_axes(use)
    count = len(axes.rows)
    plain = not axes.batch and [*axes.start] == [0] and 0 not in axes.window
    if (
      not plain
      or axes.rows != tuple(range(count))
      or use.params["mode"]
      in (
        FILL,
        CLIP,
      )
    ):
      return []
    (wide,) = convert_type(
      graph, [indices], Use({}, use.ins[1:2], use.ins[1:2])
    )
    rows = graph.cast(graph.tensor(wide), np.int64)
    names = [graph.laid(v, range(len(v.shape))) for v in (x, rows, updates)]
    out = use.outs[0].shape
    options = {"reduction": reduction}
    return [graph.node("ScatterND", names, out, range(len(out)), **options)]

  return convert


def _lines(
  indices: np.ndarray, axes: Axes, use: Use
) -> dict[int, tuple[int | None, np.ndarray]] | None:
  """{axis: (the result's axis, the indices along it)}, where each has its own.

  None where the indices of an axis depend on those of another.
  """
  shape = use.ins[0].shape
  lines: dict[int, tuple[int | None, np.ndarray]] = {
    axis: (to, np.arange(axes.sizes[axis]))
    for axis, to in axes.window.items()
    if axes.sizes[axis] != shape[axis] and axis not in axes.start
  }
  for axis, column in axes.start.items():
    starts, size = indices[..., column], axes.sizes[axis]
    if not (whole(shape[axis]) and whole(size)):
      return None
    starts = np.clip(starts, 0, shape[axis] - size)
    varied = [d for d in range(starts.ndim) if np.ptp(starts, axis=d).any()]
    if starts.ndim == 1 and axis not in axes.window:
      varied = [0]
    if axis in axes.window:
      if varied:
        return None
      first = int(starts.flat[0])
      lines[axis] = axes.window[axis], np.arange(first, first + size)
      continue
    if len(varied) > 1:
      return None
    if not varied:
      lines[axis] = None, starts.reshape(-1)[:1]
      continue
    line = np.moveaxis(starts, varied[0], 0)
    line = line.reshape(line.shape[0], -1)[:, 0]
    lines[axis] = axes.rows[varied[0]], line
  own = [at for at, _ in lines.values() if at is not None]
  varied_rows = [axis for axis in axes.rows if use.outs[0].shape[axis] != 1]
  if len(set(own)) < len(own) or set(varied_rows) - set(own):
    return None
  return lines


def _by_lines(
  graph: Graph,
  x: Tensor,
  axes: Axes,
  lines: dict[int, tuple[int | None, np.ndarray]],
  use: Use,
) -> Tensor:
  """Takes the indices of each axis, and puts the axes in order."""
  x = _cut(graph, x, {axis: line for axis, (_, line) in lines.items()})
  # The result's axis of each axis of x; those of size one are left out.
  placed = {a: at for a, (at, _) in lines.items() if at is not None}
  to = {**axes.window, **placed}
  walked = [axis for axis in range(len(x.shape)) if axis in to]
  x = reshaped(graph, x, [x.shape[axis] for axis in walked])
  order = sorted(range(len(walked)), key=lambda i: to[walked[i]])
  return reshaped(graph, transposed(x, order), use.outs[0].shape)


def _cut(graph: Graph, x: Tensor, lines: dict[int, np.ndarray]) -> Tensor:
  """x at the given indices of each axis: slices where they are even."""
  rank = len(x.shape)
  starts, limits, steps = [0] * rank, list(x.shape), [1] * rank
  backwards, others = [], {}
  for axis, line in lines.items():
    gaps = set(np.diff(line).tolist()) or {1}
    if len(gaps) > 1 or gaps == {0}:
      others[axis] = line
      continue
    (gap,) = gaps
    starts[axis], limits[axis] = int(line.min()), int(line.max()) + 1
    steps[axis] = abs(gap)
    if gap < 0:
      backwards.append(axis)
  x = reverse(graph, sliced(graph, x, starts, limits, steps), backwards)
  for axis, line in others.items():
    shape = *x.shape[:axis], len(line), *x.shape[axis + 1 :]
    names, at = [x.name, graph.constant(line)], x.stored(axis)
    x = graph.node("Gather", names, shape, x.layout, axis=at)
  return x


CONVERSIONS: dict[str, Conversion] = {
  "gather": _gather,
  "scatter": _scatter("none"),
  "scatter-add": _scatter("add"),
  "scatter-max": _scatter("max"),
  "scatter-min": _scatter("min"),
  "scatter-mul": _scatter("mul"),
}
