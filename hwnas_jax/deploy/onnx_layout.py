"""Operations on axes in ONNX: reshapes, slices, padding, repetition."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from hwnas_jax.deploy.onnx_arithmetic import convert_type
from hwnas_jax.deploy.onnx_conversion import (
  Conversion,
  Use,
  demand,
  int64,
  whole,
)
from hwnas_jax.deploy.onnx_graph import Graph, Tensor, Value, default_layout

_END = 2**31 - 1  # a limit beyond every size


def _transpose(graph: Graph, values: list[Value], use: Use) -> list[Value]:
  return [transposed(graph.tensor(values[0]), use.params["permutation"])]


def transposed(x: Tensor, permutation: Sequence[int]) -> Tensor:
  """x with its axes in another order; nothing moves."""
  shape = tuple(x.shape[axis] for axis in permutation)
  order = [list(permutation).index(axis) for axis in x.layout]
  return Tensor(x.name, shape, tuple(order))


def _reshape(graph: Graph, values: list[Value], use: Use) -> list[Value]:
  demand(use.params.get("dimensions") is None, "a reshape that permutes")
  return [reshaped(graph, graph.tensor(values[0]), use.outs[0].shape)]


def reshaped(graph: Graph, x: Tensor, shape: Sequence[Any]) -> Tensor:
  """x in another shape, in JAX's order of elements."""
  shape = tuple(shape)
  if shape == x.shape:
    return x
  before, after = _layouts(x, shape)
  name = graph.laid(x, before)
  stored = [shape[axis] for axis in after]
  return graph.node("Reshape", [name, _sizes(graph, stored)], shape, after)


def _sizes(graph: Graph, shape: Sequence[Any]) -> str:
  """Sizes of a reshape: one that depends on the batch follows from the rest."""
  open_sizes = [size for size in shape if not whole(size)]
  if len(open_sizes) == 1:
    return graph.constant(int64([s if whole(s) else -1 for s in shape]))
  return graph.sizes(shape)


def _layouts(
  x: Tensor, shape: tuple[Any, ...]
) -> tuple[Sequence[int], Sequence[int]]:
  """Layouts (before, after) in which a reshape moves no element.

  Where one axis becomes two, or two become one, they stay where they are
  stored, as in a channel shuffle of NCHW. Any other reshape is done in JAX's
  order of axes.
  """
  axis = _divided(x.shape, shape)
  if axis is not None:
    return x.layout, _with_second(x.layout, axis)
  axis = _divided(shape, x.shape)
  if axis is not None:
    joined = without(x.layout, [axis + 1])
    return _with_second(joined, axis), joined
  return range(len(x.shape)), range(len(shape))


def _divided(whole: Sequence[Any], parts: Sequence[Any]) -> int | None:
  """The axis of `whole` that `parts` has as two; None if others differ too."""
  for axis in range(len(whole) if len(parts) == len(whole) + 1 else 0):
    pair = parts[axis : axis + 2]
    if [*whole] == [*parts[:axis], math.prod(pair), *parts[axis + 2 :]]:
      return axis
  return None


def _with_second(layout: Sequence[int], axis: int) -> tuple[int, ...]:
  """The layout after an axis became two, the second stored after the first."""
  moved = [a + (a > axis) for a in layout]
  place = moved.index(axis) + 1
  return *moved[:place], axis + 1, *moved[place:]


def _broadcast(graph: Graph, values: list[Value], use: Use) -> list[Value]:
  x, axes = graph.tensor(values[0]), use.params["broadcast_dimensions"]
  return [broadcast(graph, x, use.outs[0].shape, axes)]


def broadcast(
  graph: Graph, x: Tensor, shape: Sequence[Any], axes: Sequence[int]
) -> Tensor:
  """x repeated to a shape, in which its axes are `axes`."""
  shape = tuple(shape)
  middle: list[Any] = [1] * len(shape)
  for axis, size in zip(axes, x.shape, strict=True):
    middle[axis] = size
  order = default_layout(len(shape))
  name = graph.laid(x, [list(axes).index(a) for a in order if a in axes])
  if len(shape) > len(x.shape):
    sizes = _sizes(graph, [middle[axis] for axis in order])
    narrow = graph.node("Reshape", [name, sizes], middle, order)
  else:
    narrow = Tensor(name, tuple(middle), order)
  if narrow.shape == shape:
    return narrow
  # A size of one leaves the size that there is.
  new = [1 if a == b else b for a, b in zip(middle, shape, strict=True)]
  sizes = graph.sizes([new[axis] for axis in order])
  wide = graph.node("Expand", [narrow.name, sizes], shape, order)
  graph.narrow[wide.name] = narrow
  return wide


def without(layout: Sequence[int], axes: Sequence[int]) -> tuple[int, ...]:
  """The layout after axes were removed."""
  kept = sorted(set(layout) - set(axes))
  return tuple(kept.index(axis) for axis in layout if axis in kept)


def _squeeze(graph: Graph, values: list[Value], use: Use) -> list[Value]:
  x, axes = graph.tensor(values[0]), use.params["dimensions"]
  stored = graph.axes([x.stored(a) for a in axes])
  layout = without(x.layout, axes)
  return [graph.node("Squeeze", [x.name, stored], use.outs[0].shape, layout)]


def _concatenate(graph: Graph, values: list[Value], use: Use) -> list[Value]:
  return [concatenated(graph, values, use.params["dimension"])]


def concatenated(graph: Graph, values: Sequence[Value], axis: int) -> Tensor:
  """Values one after another along an axis."""
  values = [v for v in values if 0 not in v.shape] or values
  tensors = [v for v in values if isinstance(v, Tensor)]
  like = tensors[0] if tensors else graph.tensor(values[0])
  shape = list(like.shape)
  shape[axis] = sum(value.shape[axis] for value in values)
  names = [graph.laid(value, like.layout) for value in values]
  at = like.stored(axis)
  return graph.node("Concat", names, shape, like.layout, axis=at)


def _slice(graph: Graph, values: list[Value], use: Use) -> list[Value]:
  starts, limits = use.params["start_indices"], use.params["limit_indices"]
  strides = use.params["strides"] or (1,) * len(starts)
  return [sliced(graph, graph.tensor(values[0]), starts, limits, strides)]


def sliced(
  graph: Graph,
  x: Tensor,
  starts: Sequence[Any],
  limits: Sequence[Any],
  strides: Sequence[int],
) -> Tensor:
  """Two nodes: one cuts, one takes every stride-th element.

  A 1x1 convolution that reads the second takes its stride over instead.
  """
  ones, zeros = (1,) * len(starts), (0,) * len(starts)
  cut = _slice_node(graph, x, starts, limits, ones)
  strided = _slice_node(graph, cut, zeros, cut.shape, strides)
  if strided is not cut:
    graph.strided[strided.name] = cut, tuple(strides)
  return strided


def _slice_node(
  graph: Graph,
  x: Tensor,
  starts: Sequence[Any],
  limits: Sequence[Any],
  strides: Sequence[int],
) -> Tensor:
  cuts = list(zip(starts, limits, strides, strict=True))
  axes = [
    axis
    for axis, (size, cut) in enumerate(zip(x.shape, cuts, strict=True))
    if cut != (0, size, 1)
  ]
  if not axes:
    return x
  ends = [_from_end(limits[axis], x.shape[axis]) for axis in axes]
  names = [
    x.name,
    graph.constant(int64([_from_end(starts[a], x.shape[a]) for a in axes])),
    graph.constant(int64(ends)),
    graph.axes([x.stored(axis) for axis in axes]),
    graph.constant(int64([strides[axis] for axis in axes])),
  ]
  shape = [-(-(b - a) // s) for a, b, s in cuts]
  return graph.node("Slice", names, shape, x.layout)


def _from_end(place: Any, size: Any) -> Any:
  """A place along an axis; one that depends on the batch, from its end."""
  if whole(place):
    return place
  return _END if place == size else place - size


def _reverse(graph: Graph, values: list[Value], use: Use) -> list[Value]:
  return [reverse(graph, graph.tensor(values[0]), use.params["dimensions"])]


def reverse(graph: Graph, x: Tensor, axes: Sequence[int]) -> Tensor:
  """x backwards along some axes."""
  if not axes:
    return x
  last = [-1] * len(axes)
  ends = graph.axes([-_END] * len(axes))
  stored = graph.axes([x.stored(axis) for axis in axes])
  names = [x.name, graph.axes(last), ends, stored, graph.axes(last)]
  return graph.node("Slice", names, x.shape, x.layout)


def _pad(graph: Graph, values: list[Value], use: Use) -> list[Value]:
  """One Pad node; a negative width cuts. See `onnx_rewrites` for gaps."""
  if any(gap for _, _, gap in use.params["padding_config"]):
    return []
  x, value = graph.tensor(values[0]), values[1]
  config = [use.params["padding_config"][axis] for axis in x.layout]
  if not np.any(config):
    return [x]
  ends = int64([c[0] for c in config] + [c[1] for c in config])
  names = [x.name, graph.constant(ends), graph.tensor(value).name]
  return [graph.node("Pad", names, use.outs[0].shape, x.layout)]


def _split(graph: Graph, values: list[Value], use: Use) -> list[Value]:
  x, axis = graph.tensor(values[0]), use.params["axis"]
  names = [x.name, graph.constant(int64(use.params["sizes"]))]
  at = x.stored(axis)
  parts = graph.outputs("Split", names, len(use.outs), axis=at)
  return [
    Tensor(name, tuple(out.shape), x.layout)
    for name, out in zip(parts, use.outs, strict=True)
  ]


def _tile(graph: Graph, values: list[Value], use: Use) -> list[Value]:
  x, shape = graph.tensor(values[0]), use.outs[0].shape
  repeats = [use.params["reps"][axis] for axis in x.layout]
  names = [x.name, graph.constant(int64(repeats))]
  return [graph.node("Tile", names, shape, x.layout)]


def _iota(graph: Graph, values: list[Value], use: Use) -> list[Value]:
  """The index along an axis, where a size depends on the batch."""
  axis, shape = use.params["dimension"], use.outs[0].shape
  limit = graph.number(shape[axis])
  ends = [graph.constant(np.asarray(end, np.int32)) for end in (0, 1)]
  names = [ends[0], limit.name, ends[1]]
  count = graph.node("Range", names, shape[axis : axis + 1], (0,))
  number = use._replace(ins=[np.zeros(0, np.int32)])
  (typed,) = convert_type(graph, [count], number)
  return [broadcast(graph, graph.tensor(typed), shape, (axis,))]


def _dimension(graph: Graph, values: list[Value], use: Use) -> list[Value]:
  return [graph.number(use.params["dim"])]


CONVERSIONS: dict[str, Conversion] = {
  "broadcast_in_dim": _broadcast,
  "concatenate": _concatenate,
  "dim_as_value": _dimension,
  "iota": _iota,
  "pad": _pad,
  "reshape": _reshape,
  "rev": _reverse,
  "slice": _slice,
  "split": _split,
  "squeeze": _squeeze,
  "tile": _tile,
  "transpose": _transpose,
}
