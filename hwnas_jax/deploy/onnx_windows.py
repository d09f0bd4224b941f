"""Convolutions, matrix products and pooling in ONNX."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from hwnas_jax.deploy.onnx_arithmetic import emit
from hwnas_jax.deploy.onnx_conversion import (
  Conversion,
  Params,
  demand,
  tensor,
)
from hwnas_jax.deploy.onnx_graph import NCHW, Graph, Tensor, Value


def _conv(
  graph: Graph, values: list[Value], params: Params, outs: Sequence[Any]
) -> list[Value]:
  x, w = values
  lhs, rhs, out = params["dimension_numbers"]
  demand(set(params["lhs_dilation"]) == {1}, "a dilated input")
  demand(params["batch_group_count"] == 1, "batch groups")
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
  graph: Graph, values: list[Value], params: Params, outs: Sequence[Any]
) -> list[Value]:
  """A product of images and a constant matrix becomes a 1x1 convolution."""
  (x_axes, w_axes), batch = params["dimension_numbers"]
  x, w = tensor(values[0]), values[1]
  rank = len(x.shape)
  demand(
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
    options = {"kernel_shape": (1, 1), "strides": steps}
    return [graph.node("Conv", names, shape, NCHW, **options)]
  order = range(rank)
  names = [graph.laid(x, order), graph.laid(w, (inward, outward))]
  return [graph.node("MatMul", names, shape, order)]


def _window(params: Params) -> dict[str, Any]:
  """Attributes of a pooling node over height and width."""
  window, strides = params["window_dimensions"], params["window_strides"]
  padding = params["padding"]
  dilations = {*params["base_dilation"], *params["window_dilation"]}
  demand(
    len(window) == 4 and dilations == {1},
    "a window that is not plain, or not of images",
  )
  outer = [(window[a], strides[a], *padding[a]) for a in (0, 3)]
  demand(set(outer) == {(1, 1, 0, 0)}, "a window over examples or channels")
  low, high = zip(*padding[1:3], strict=True)
  pads = [*low, *high]
  return {"kernel_shape": window[1:3], "strides": strides[1:3], "pads": pads}


def _max_pool(
  graph: Graph, values: list[Value], params: Params, outs: Sequence[Any]
) -> list[Value]:
  name, pool = graph.laid(values[0], NCHW), _window(params)
  return [graph.node("MaxPool", [name], outs[0].shape, NCHW, **pool)]


def _window_sum(
  graph: Graph, values: list[Value], params: Params, outs: Sequence[Any]
) -> list[Value]:
  """The mean of the window times its size: ONNX has no pool that sums."""
  x, pool, shape = tensor(values[0]), _window(params), outs[0].shape
  name, options = graph.laid(x, NCHW), {**pool, "count_include_pad": 1}
  mean = graph.node("AveragePool", [name], shape, NCHW, **options)
  size = np.asarray(math.prod(pool["kernel_shape"]), np.float32)
  (total,) = emit("Mul", graph, [mean, size], params, outs)
  assert isinstance(total, Tensor)
  graph.window_sums[total.name] = x, pool
  return [total]


def _mul(
  graph: Graph, values: list[Value], params: Params, outs: Sequence[Any]
) -> list[Value]:
  """A product; a window sum over its count becomes one AveragePool."""
  x, factor = values
  if isinstance(x, Tensor) and isinstance(factor, np.ndarray):
    source, pool = graph.window_sums.get(x.name, (None, {}))
    if source and _counts_pixels(source, x.shape, pool, factor):
      pool = {**pool, "count_include_pad": 0}
      name = graph.laid(source, NCHW)
      return [graph.node("AveragePool", [name], x.shape, NCHW, **pool)]
  return emit("Mul", graph, values, params, outs)


def _counts_pixels(
  source: Tensor, shape: tuple[int, ...], pool: Params, factor: np.ndarray
) -> bool:
  """Whether `factor` is 1 / (how many pixels of a window are in the image)."""
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


CONVERSIONS: dict[str, Conversion] = {
  "conv_general_dilated": _conv,
  "dot_general": _dot,
  "mul": _mul,
  "reduce_window_max": _max_pool,
  "reduce_window_sum": _window_sum,
}
