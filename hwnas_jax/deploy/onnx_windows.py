"""Pooling in ONNX."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hwnas_jax.deploy.onnx_arithmetic import emit
from hwnas_jax.deploy.onnx_conversion import Conversion, Use, demand
from hwnas_jax.deploy.onnx_graph import Graph, Tensor, Value


def outer_axes(params: Mapping[str, Any]) -> list[int]:
  """Axes along which windows have size 1, the first and the last before."""
  rank = len(params["window_dimensions"])
  plain = [
    axis
    for axis in range(rank)
    if params["window_dimensions"][axis] == params["window_strides"][axis] == 1
    and params["padding"][axis] == (0, 0)
  ]
  return sorted(plain, key=lambda axis: axis not in (0, rank - 1))


def _layout(use: Use) -> tuple[int, ...]:
  """Two axes without windows, as batch and channels, then the others."""
  first, second = sorted(outer_axes(use.params)[:2])
  rest = set(range(len(use.params["window_dimensions"]))) - {first, second}
  return first, second, *sorted(rest)


def _is_plain(use: Use) -> bool:
  """Whether ONNX has such a window; see `onnx_rewrites` for the others."""
  params = use.params
  if len(outer_axes(params)) < 2 or set(params["base_dilation"]) != {1}:
    return False
  windows = zip(params["window_dimensions"], params["padding"], strict=True)
  return all(0 <= end < size for size, ends in windows for end in ends)


def _window(use: Use, axes: Sequence[int]) -> dict[str, Any]:
  """Attributes of a pooling node over axes."""
  params = use.params
  low, high = zip(*(params["padding"][axis] for axis in axes), strict=True)
  return {
    "kernel_shape": [params["window_dimensions"][axis] for axis in axes],
    "strides": [params["window_strides"][axis] for axis in axes],
    "pads": [*low, *high],
  }


def _max_pool(graph: Graph, values: list[Value], use: Use) -> list[Value]:
  if not _is_plain(use):
    return []
  layout = _layout(use)
  pool = _window(use, layout[2:])
  pool["dilations"] = [use.params["window_dilation"][a] for a in layout[2:]]
  name, shape = graph.laid(values[0], layout), use.outs[0].shape
  return [graph.node("MaxPool", [name], shape, layout, **pool)]


def _window_sum(graph: Graph, values: list[Value], use: Use) -> list[Value]:
  """The mean of the window times its size: ONNX has no pool that sums."""
  demand(set(use.params["window_dilation"]) == {1}, "a dilated window")
  if not _is_plain(use):
    return []
  layout, shape = _layout(use), use.outs[0].shape
  x, pool = graph.tensor(values[0]), _window(use, layout[2:])
  name, options = graph.laid(x, layout), {**pool, "count_include_pad": 1}
  mean = graph.node("AveragePool", [name], shape, layout, **options)
  size = np.asarray(math.prod(pool["kernel_shape"]), np.float32)
  (total,) = emit("Mul", graph, [mean, size], use)
  if isinstance(total, Tensor) and layout == (0, 3, 1, 2):
    graph.window_sums[total.name] = x, pool
  return [total]


def _mul(graph: Graph, values: list[Value], use: Use) -> list[Value]:
  """A product; a window sum over its count becomes one AveragePool."""
  if use.outs[0].dtype == bool:
    return emit("And", graph, values, use)
  return _mean(graph, values[0], values[1], use) or emit(
    "Mul", graph, values, use
  )


def _div(graph: Graph, values: list[Value], use: Use) -> list[Value]:
  """A quotient; a window sum over its count becomes one AveragePool."""
  x, count = values
  if isinstance(count, np.ndarray) and count.all() and _is_sum(graph, x):
    factor = (1 / count).astype(np.float32)
    if made := _mean(graph, x, factor, use):
      return made
  return emit("Div", graph, values, use)


def _is_sum(graph: Graph, x: Value) -> bool:
  return isinstance(x, Tensor) and x.name in graph.window_sums


def _mean(graph: Graph, x: Value, factor: Value, use: Use) -> list[Value]:
  """One AveragePool, if x is a window sum and the factor 1 / its count."""
  if not (isinstance(factor, np.ndarray) and isinstance(x, Tensor)):
    return []
  source, pool = graph.window_sums.get(x.name, (None, {}))
  if source is None:
    return []
  layout = x.layout
  for include in (0, 1):
    if _counts_pixels(source, x.shape, pool, factor, include):
      pool = {**pool, "count_include_pad": include}
      name = graph.laid(source, layout)
      return [graph.node("AveragePool", [name], x.shape, layout, **pool)]
  return []


def _counts_pixels(
  source: Tensor,
  shape: tuple[Any, ...],
  pool: Mapping[str, Any],
  factor: np.ndarray,
  include: int,
) -> bool:
  """Whether `factor` is 1 / (how many pixels of a window are counted).

  include: 1 to count the padding too.
  """
  inside = [
    [
      sum(include or 0 <= s * i - low + t < size for t in range(k))
      for i in range(length)
    ]
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


CONVERSIONS: dict[str, Conversion] = {
  "div": _div,
  "mul": _mul,
  "reduce_window_max": _max_pool,
  "reduce_window_sum": _window_sum,
}
