"""Operations on axes in ONNX: reshapes, slices, padding, reductions."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from hwnas_jax.deploy.onnx_conversion import (
  Conversion,
  Params,
  demand,
  int64,
  largest,
  tensor,
)
from hwnas_jax.deploy.onnx_graph import Graph, Tensor, Value


def _transpose(
  graph: Graph, values: list[Value], params: Params, outs: Sequence[Any]
) -> list[Value]:
  x = tensor(values[0])
  layout = [params["permutation"].index(axis) for axis in x.layout]
  return [Tensor(x.name, outs[0].shape, tuple(layout))]


def _reshape(
  graph: Graph, values: list[Value], params: Params, outs: Sequence[Any]
) -> list[Value]:
  x, shape = tensor(values[0]), outs[0].shape
  demand(params.get("dimensions") is None, "a reshape that permutes")
  before, after = _reshaped(x, shape)
  sizes = graph.constant(int64([shape[axis] for axis in after]))
  names = [graph.laid(x, before), sizes]
  return [graph.node("Reshape", names, shape, after)]


def _reshaped(
  x: Tensor, shape: tuple[int, ...]
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
    joined = _without(x.layout, [axis + 1])
    return _with_second(joined, axis), joined
  return range(len(x.shape)), range(len(shape))


def _divided(whole: Sequence[int], parts: Sequence[int]) -> int | None:
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


def _broadcast(
  graph: Graph, values: list[Value], params: Params, outs: Sequence[Any]
) -> list[Value]:
  x, shape = tensor(values[0]), outs[0].shape
  middle = np.ones(len(shape), np.int64)
  middle[list(params["broadcast_dimensions"])] = x.shape
  name = graph.laid(x, range(len(x.shape)))
  order = range(len(shape))
  y = graph.node("Reshape", [name, graph.constant(middle)], shape, order)
  if tuple(middle) == shape:
    return [y]
  sizes = graph.constant(int64(shape))
  return [graph.node("Expand", [y.name, sizes], shape, order)]


def _without(layout: Sequence[int], axes: Sequence[int]) -> tuple[int, ...]:
  """The layout after axes were removed."""
  kept = sorted(set(layout) - set(axes))
  return tuple(kept.index(axis) for axis in layout if axis in kept)


def _squeeze(
  graph: Graph, values: list[Value], params: Params, outs: Sequence[Any]
) -> list[Value]:
  x, axes = tensor(values[0]), params["dimensions"]
  stored = graph.constant(int64([x.stored(a) for a in axes]))
  layout = _without(x.layout, axes)
  return [graph.node("Squeeze", [x.name, stored], outs[0].shape, layout)]


def _reduce_sum(
  graph: Graph, values: list[Value], params: Params, outs: Sequence[Any]
) -> list[Value]:
  x, axes = tensor(values[0]), params["axes"]
  stored = graph.constant(int64([x.stored(a) for a in axes]))
  layout, names = _without(x.layout, axes), [x.name, stored]
  return [graph.node("ReduceSum", names, outs[0].shape, layout, keepdims=0)]


def _reduce_max(
  graph: Graph, values: list[Value], params: Params, outs: Sequence[Any]
) -> list[Value]:
  x, axes = tensor(values[0]), params["axes"]
  stored = [x.stored(a) for a in axes]
  layout, options = _without(x.layout, axes), {"axes": stored, "keepdims": 0}
  return [graph.node("ReduceMax", [x.name], outs[0].shape, layout, **options)]


def _concatenate(
  graph: Graph, values: list[Value], params: Params, outs: Sequence[Any]
) -> list[Value]:
  like = largest(values)
  names = [graph.laid(value, like.layout) for value in values]
  axis = like.stored(params["dimension"])
  return [graph.node("Concat", names, outs[0].shape, like.layout, axis=axis)]


def _slice(
  graph: Graph, values: list[Value], params: Params, outs: Sequence[Any]
) -> list[Value]:
  """Two nodes: one cuts, one takes every stride-th element.

  A 1x1 convolution that reads the second takes its stride over instead.
  """
  x = tensor(values[0])
  starts, limits = params["start_indices"], params["limit_indices"]
  strides = params["strides"] or (1,) * len(starts)
  cut = _slice_node(graph, x, starts, limits, (1,) * len(starts))
  zeros = (0,) * len(starts)
  strided = _slice_node(graph, cut, zeros, cut.shape, strides)
  if strided is not cut:
    graph.strided[strided.name] = cut, strides
  return [strided]


def _slice_node(
  graph: Graph,
  x: Tensor,
  starts: Sequence[int],
  limits: Sequence[int],
  strides: Sequence[int],
) -> Tensor:
  axes = [
    axis
    for axis, size in enumerate(x.shape)
    if (starts[axis], limits[axis], strides[axis]) != (0, size, 1)
  ]
  if not axes:
    return x
  numbers = [
    graph.constant(int64([row[axis] for axis in axes]))
    for row in (starts, limits)
  ]
  stored = graph.constant(int64([x.stored(axis) for axis in axes]))
  steps = graph.constant(int64([strides[axis] for axis in axes]))
  shape = [
    -(-(b - a) // s) for a, b, s in zip(starts, limits, strides, strict=True)
  ]
  names = [x.name, *numbers, stored, steps]
  return graph.node("Slice", names, shape, x.layout)


def _pad(
  graph: Graph, values: list[Value], params: Params, outs: Sequence[Any]
) -> list[Value]:
  x, value = tensor(values[0]), values[1]
  config = [params["padding_config"][axis] for axis in x.layout]
  demand(isinstance(value, np.ndarray), "a value that is not a constant")
  demand(all(c[2] == 0 for c in config), "padding between elements")
  if not np.any(config):
    return [x]
  ends = int64([c[0] for c in config] + [c[1] for c in config])
  names = [x.name, graph.constant(ends), graph.constant(np.asarray(value))]
  return [graph.node("Pad", names, outs[0].shape, x.layout)]


CONVERSIONS: dict[str, Conversion] = {
  "broadcast_in_dim": _broadcast,
  "concatenate": _concatenate,
  "pad": _pad,
  "reduce_max": _reduce_max,
  "reduce_sum": _reduce_sum,
  "reshape": _reshape,
  "slice": _slice,
  "squeeze": _squeeze,
  "transpose": _transpose,
}
