"""What each JAX primitive becomes in ONNX.

A conversion takes (graph, values, the primitive's parameters, abstract
outputs), at least one value being a Tensor, and returns the outputs. Where
the plain translation is one that no deployer would run, the pattern is
recognised: a strided slice before a 1x1 convolution is its stride, a window
sum over its count is AveragePool.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from hwnas_jax.deploy.onnx_graph import NCHW, Graph, Tensor, Value

_Params = Mapping[str, Any]
_Convert = Callable[[Graph, list[Value], _Params, Sequence[Any]], list[Value]]


class UnsupportedError(Exception):
  """A use of a known primitive that has no conversion."""


def _demand(holds: bool, what: str) -> None:
  if not holds:
    raise UnsupportedError(what)


def _tensor(value: Value) -> Tensor:
  if not isinstance(value, Tensor):
    raise UnsupportedError("its main argument is a constant")
  return value


def _largest(values: Sequence[Value]) -> Tensor:
  tensors = [v for v in values if isinstance(v, Tensor)]
  return max(tensors, key=lambda t: math.prod(t.shape))


def _int64(values: Sequence[int]) -> np.ndarray:
  return np.asarray(values, np.int64)


def _same(
  graph: Graph, values: list[Value], params: _Params, outs: Sequence[Any]
) -> list[Value]:
  """Identity."""
  return values


def _operand(graph: Graph, value: Value, layout: Sequence[int]) -> str:
  """A constant is stored once where it repeats: ONNX broadcasts."""
  if not isinstance(value, np.ndarray):
    return graph.laid(value, layout)
  if value.ndim == 0:
    return graph.constant(value)
  once = tuple(slice(0, 1) if s == 0 else slice(None) for s in value.strides)
  return graph.laid(value[once], layout)


def _emit(
  op: str, graph: Graph, values: list[Value], params: _Params, outs: Any
) -> list[Value]:
  """An elementwise operation, in the layout of its largest tensor."""
  layout = _largest(values).layout
  names = [_operand(graph, value, layout) for value in values]
  return [graph.node(op, names, outs[0].shape, layout)]


def _elementwise(op: str) -> _Convert:
  return functools.partial(_emit, op)


def _max(
  graph: Graph, values: list[Value], params: _Params, outs: Sequence[Any]
) -> list[Value]:
  x, floor = values
  if isinstance(floor, np.ndarray) and not floor.any():
    return _emit("Relu", graph, [x], params, outs)
  return _emit("Max", graph, values, params, outs)


def _mul(
  graph: Graph, values: list[Value], params: _Params, outs: Sequence[Any]
) -> list[Value]:
  x, factor = values
  if isinstance(x, Tensor) and isinstance(factor, np.ndarray):
    source, pool = graph.window_sums.get(x.name, (None, {}))
    if source and _counts_pixels(source, x.shape, pool, factor):
      pool = {**pool, "count_include_pad": 0}
      name = graph.laid(source, NCHW)
      return [graph.node("AveragePool", [name], x.shape, NCHW, **pool)]
  return _emit("Mul", graph, values, params, outs)


def _counts_pixels(
  source: Tensor, shape: tuple[int, ...], pool: _Params, factor: np.ndarray
) -> bool:
  """Whether factor is one over a window's pixels inside the image."""
  inside = [
    [sum(0 <= s * i - low + t < size for t in range(k)) for i in range(length)]
    for size, length, k, s, low in zip(
      source.shape[1:3],
      shape[1:3],
      pool["kernel_shape"],
      pool["strides"],
      pool["pads"],
      strict=False,
    )
  ]
  rows, columns = inside
  counts = np.outer(rows, columns)[None, :, :, None]
  return factor.ndim in (0, 4) and np.allclose(factor * counts, 1.0, atol=1e-6)


def _rsqrt(
  graph: Graph, values: list[Value], params: _Params, outs: Sequence[Any]
) -> list[Value]:
  root = _emit("Sqrt", graph, values, params, outs)
  return _emit("Reciprocal", graph, root, params, outs)


def _square(
  graph: Graph, values: list[Value], params: _Params, outs: Sequence[Any]
) -> list[Value]:
  return _emit("Mul", graph, values * 2, params, outs)


def _integer_pow(
  graph: Graph, values: list[Value], params: _Params, outs: Sequence[Any]
) -> list[Value]:
  exponent = np.asarray(params["y"], np.float32)
  return _emit("Pow", graph, [*values, exponent], params, outs)


def _clamp(
  graph: Graph, values: list[Value], params: _Params, outs: Sequence[Any]
) -> list[Value]:
  low, x, high = values
  _demand(low.shape == high.shape == (), "bounds that are no scalars")
  return _emit("Clip", graph, [x, low, high], params, outs)


def _transpose(
  graph: Graph, values: list[Value], params: _Params, outs: Sequence[Any]
) -> list[Value]:
  x = _tensor(values[0])
  layout = [params["permutation"].index(axis) for axis in x.layout]
  return [Tensor(x.name, outs[0].shape, tuple(layout))]


def _reshape(
  graph: Graph, values: list[Value], params: _Params, outs: Sequence[Any]
) -> list[Value]:
  x, shape = _tensor(values[0]), outs[0].shape
  _demand(params.get("dimensions") is None, "a reshape that permutes")
  before, after = _reshaped(x, shape)
  sizes = graph.constant(_int64([shape[axis] for axis in after]))
  names = [graph.laid(x, before), sizes]
  return [graph.node("Reshape", names, shape, after)]


def _reshaped(
  x: Tensor, shape: tuple[int, ...]
) -> tuple[Sequence[int], Sequence[int]]:
  """Layouts (before, after) in which a reshape leaves the data as it lies.

  An axis that is split in two, or two that become one, stay where they are
  stored, as in a channel shuffle of NCHW; any other reshape is JAX's own.
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
  """The axis of `whole` that is two in `parts`, all others being the same."""
  for axis in range(len(whole) if len(parts) == len(whole) + 1 else 0):
    pair = parts[axis : axis + 2]
    if [*whole] == [*parts[:axis], math.prod(pair), *parts[axis + 2 :]]:
      return axis
  return None


def _with_second(layout: Sequence[int], axis: int) -> tuple[int, ...]:
  """The layout when an axis is two, stored one behind the other."""
  moved = [a + (a > axis) for a in layout]
  at = moved.index(axis) + 1
  return *moved[:at], axis + 1, *moved[at:]


def _broadcast(
  graph: Graph, values: list[Value], params: _Params, outs: Sequence[Any]
) -> list[Value]:
  x, shape = _tensor(values[0]), outs[0].shape
  middle = np.ones(len(shape), np.int64)
  middle[list(params["broadcast_dimensions"])] = x.shape
  name = graph.laid(x, range(len(x.shape)))
  order = range(len(shape))
  y = graph.node("Reshape", [name, graph.constant(middle)], shape, order)
  if tuple(middle) == shape:
    return [y]
  sizes = graph.constant(_int64(shape))
  return [graph.node("Expand", [y.name, sizes], shape, order)]


def _without(layout: Sequence[int], axes: Sequence[int]) -> tuple[int, ...]:
  """The layout when axes are gone."""
  left = sorted(set(layout) - set(axes))
  return tuple(left.index(axis) for axis in layout if axis in left)


def _squeeze(
  graph: Graph, values: list[Value], params: _Params, outs: Sequence[Any]
) -> list[Value]:
  x, axes = _tensor(values[0]), params["dimensions"]
  stored = graph.constant(_int64([x.stored(a) for a in axes]))
  layout = _without(x.layout, axes)
  return [graph.node("Squeeze", [x.name, stored], outs[0].shape, layout)]


def _reduce_sum(
  graph: Graph, values: list[Value], params: _Params, outs: Sequence[Any]
) -> list[Value]:
  x, axes = _tensor(values[0]), params["axes"]
  stored = graph.constant(_int64([x.stored(a) for a in axes]))
  layout, names = _without(x.layout, axes), [x.name, stored]
  return [graph.node("ReduceSum", names, outs[0].shape, layout, keepdims=0)]


def _reduce_max(
  graph: Graph, values: list[Value], params: _Params, outs: Sequence[Any]
) -> list[Value]:
  x, axes = _tensor(values[0]), params["axes"]
  stored = [x.stored(a) for a in axes]
  layout, more = _without(x.layout, axes), {"axes": stored, "keepdims": 0}
  return [graph.node("ReduceMax", [x.name], outs[0].shape, layout, **more)]


def _concatenate(
  graph: Graph, values: list[Value], params: _Params, outs: Sequence[Any]
) -> list[Value]:
  like = _largest(values)
  names = [graph.laid(value, like.layout) for value in values]
  axis = like.stored(params["dimension"])
  return [graph.node("Concat", names, outs[0].shape, like.layout, axis=axis)]


def _slice(
  graph: Graph, values: list[Value], params: _Params, outs: Sequence[Any]
) -> list[Value]:
  """Cuts, then strides."""
  x = _tensor(values[0])
  starts, limits = params["start_indices"], params["limit_indices"]
  strides = params["strides"] or (1,) * len(starts)
  cut = _slice_node(graph, x, starts, limits, (1,) * len(starts))
  zeros = (0,) * len(starts)
  found = _slice_node(graph, cut, zeros, cut.shape, strides)
  if found is not cut:
    graph.strided[found.name] = cut, strides
  return [found]


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
    graph.constant(_int64([row[axis] for axis in axes]))
    for row in (starts, limits)
  ]
  stored = graph.constant(_int64([x.stored(axis) for axis in axes]))
  steps = graph.constant(_int64([strides[axis] for axis in axes]))
  shape = [
    -(-(b - a) // s) for a, b, s in zip(starts, limits, strides, strict=True)
  ]
  names = [x.name, *numbers, stored, steps]
  return graph.node("Slice", names, shape, x.layout)


def _pad(
  graph: Graph, values: list[Value], params: _Params, outs: Sequence[Any]
) -> list[Value]:
  x, value = _tensor(values[0]), values[1]
  config = [params["padding_config"][axis] for axis in x.layout]
  _demand(isinstance(value, np.ndarray), "a value known only when run")
  _demand(all(c[2] == 0 for c in config), "padding between elements")
  if not np.any(config):
    return [x]
  ends = _int64([c[0] for c in config] + [c[1] for c in config])
  names = [x.name, graph.constant(ends), graph.constant(np.asarray(value))]
  return [graph.node("Pad", names, outs[0].shape, x.layout)]


def _conv(
  graph: Graph, values: list[Value], params: _Params, outs: Sequence[Any]
) -> list[Value]:
  x, w = values
  lhs, rhs, out = params["dimension_numbers"]
  _demand(set(params["lhs_dilation"]) == {1}, "a dilated input")
  _demand(params["batch_group_count"] == 1, "batch groups")
  low, high = zip(*params["padding"], strict=True)
  node = graph.node(
    "Conv",
    [graph.laid(x, lhs), graph.laid(w, rhs)],
    outs[0].shape,
    out,
    kernel_shape=[w.shape[axis] for axis in rhs[2:]],
    strides=params["window_strides"],
    dilations=params["rhs_dilation"],
    group=params["feature_group_count"],
    pads=[*low, *high],
  )
  return [node]


def _dot(
  graph: Graph, values: list[Value], params: _Params, outs: Sequence[Any]
) -> list[Value]:
  """A product of images and a matrix is a 1x1 convolution."""
  (x_axes, w_axes), batch = params["dimension_numbers"]
  x, w = _tensor(values[0]), values[1]
  rank = len(x.shape)
  _demand(
    not any(batch) and tuple(x_axes) == (rank - 1,) and len(w.shape) == 2,
    f"dimension numbers {params['dimension_numbers']}",
  )
  inward, outward = w_axes[0], 1 - w_axes[0]
  shape = outs[0].shape
  if rank == 4 and isinstance(w, np.ndarray):
    kernel = graph.constant(w.transpose(outward, inward)[:, :, None, None])
    source, strides = graph.strided.get(x.name, (x, (1, 1, 1, 1)))
    if strides[0] != 1 or strides[3] != 1:
      source, strides = x, (1, 1, 1, 1)
    names, steps = [graph.laid(source, NCHW), kernel], strides[1:3]
    more = {"kernel_shape": (1, 1), "strides": steps}
    return [graph.node("Conv", names, shape, NCHW, **more)]
  order = range(rank)
  names = [graph.laid(x, order), graph.laid(w, (inward, outward))]
  return [graph.node("MatMul", names, shape, order)]


def _window(params: _Params) -> dict[str, Any]:
  """Attributes of a pool over the image's axes."""
  window, strides = params["window_dimensions"], params["window_strides"]
  padding = params["padding"]
  dilations = {*params["base_dilation"], *params["window_dilation"]}
  _demand(len(window) == 4 and dilations == {1}, "no plain window of an image")
  outer = [(window[a], strides[a], *padding[a]) for a in (0, 3)]
  _demand(set(outer) == {(1, 1, 0, 0)}, "a window over examples or channels")
  low, high = zip(*padding[1:3], strict=True)
  pads = [*low, *high]
  return {"kernel_shape": window[1:3], "strides": strides[1:3], "pads": pads}


def _max_pool(
  graph: Graph, values: list[Value], params: _Params, outs: Sequence[Any]
) -> list[Value]:
  name, pool = graph.laid(values[0], NCHW), _window(params)
  return [graph.node("MaxPool", [name], outs[0].shape, NCHW, **pool)]


def _window_sum(
  graph: Graph, values: list[Value], params: _Params, outs: Sequence[Any]
) -> list[Value]:
  x, pool, shape = _tensor(values[0]), _window(params), outs[0].shape
  name, more = graph.laid(x, NCHW), {**pool, "count_include_pad": 1}
  mean = graph.node("AveragePool", [name], shape, NCHW, **more)
  size = np.asarray(math.prod(pool["kernel_shape"]), np.float32)
  (total,) = _emit("Mul", graph, [mean, size], params, outs)
  assert isinstance(total, Tensor)
  graph.window_sums[total.name] = x, pool
  return [total]


CONVERSIONS: dict[str, _Convert] = {
  "abs": _elementwise("Abs"),
  "add": _elementwise("Add"),
  "broadcast_in_dim": _broadcast,
  "clamp": _clamp,
  "concatenate": _concatenate,
  "conv_general_dilated": _conv,
  "convert_element_type": _same,
  "copy": _same,
  "div": _elementwise("Div"),
  "dot_general": _dot,
  "exp": _elementwise("Exp"),
  "integer_pow": _integer_pow,
  "log": _elementwise("Log"),
  "logistic": _elementwise("Sigmoid"),
  "max": _max,
  "min": _elementwise("Min"),
  "mul": _mul,
  "neg": _elementwise("Neg"),
  "optimization_barrier": _same,
  "pad": _pad,
  "reduce_max": _reduce_max,
  "reduce_sum": _reduce_sum,
  "reduce_window_max": _max_pool,
  "reduce_window_sum": _window_sum,
  "reshape": _reshape,
  "rsqrt": _rsqrt,
  "slice": _slice,
  "sqrt": _elementwise("Sqrt"),
  "square": _square,
  "squeeze": _squeeze,
  "sub": _elementwise("Sub"),
  "tanh": _elementwise("Tanh"),
  "transpose": _transpose,
}
