"""Convolutions and matrix products in ONNX."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hwnas_jax.deploy.onnx_conversion import Conversion, Use, demand
from hwnas_jax.deploy.onnx_graph import NCHW, Graph, Value
from hwnas_jax.deploy.onnx_layout import reverse


def _conv(graph: Graph, values: list[Value], use: Use) -> list[Value]:
  x, w = values
  lhs, rhs, out = use.params["dimension_numbers"]
  demand(use.params["batch_group_count"] == 1, "batch groups")
  if set(use.params["lhs_dilation"]) != {1}:
    return _transposed(graph, values, use)
  if np.min(use.params["padding"], initial=0) < 0:
    return []
  low, high = zip(*use.params["padding"], strict=True)
  node = graph.node(
    "Conv",
    [graph.laid(x, lhs), graph.laid(w, rhs)],
    use.outs[0].shape,
    out,
    kernel_shape=[w.shape[axis] for axis in rhs[2:]],
    strides=use.params["window_strides"],
    dilations=use.params["rhs_dilation"],
    group=use.params["feature_group_count"],
    pads=[*low, *high],
  )
  return [node]


def _transposed(graph: Graph, values: list[Value], use: Use) -> list[Value]:
  """A convolution of a spread input, of stride 1 and one group."""
  x, w = values
  lhs, (outward, inward, *spatial), out = use.params["dimension_numbers"]
  kernel = [w.shape[axis] for axis in spatial]
  dilations = use.params["rhs_dilation"]
  ends = [
    [(k - 1) * d - end for end in pair]
    for k, d, pair in zip(kernel, dilations, use.params["padding"], strict=True)
  ]
  plain = {*use.params["window_strides"], use.params["feature_group_count"]}
  if plain != {1} or np.min(ends) < 0:
    return []
  low, high = zip(*ends, strict=True)
  turned = (
    np.flip(w, spatial)
    if isinstance(w, np.ndarray)
    else reverse(graph, w, spatial)
  )
  node = graph.node(
    "ConvTranspose",
    [graph.laid(x, lhs), graph.laid(turned, [inward, outward, *spatial])],
    use.outs[0].shape,
    out,
    kernel_shape=kernel,
    strides=use.params["lhs_dilation"],
    dilations=dilations,
    pads=[*low, *high],
  )
  return [node]


def _dot(graph: Graph, values: list[Value], use: Use) -> list[Value]:
  """[*free, K] times [K, N], or [*batch, M, K] times [*batch, K, N].

  `onnx_rewrites` brings other products into these forms. A product of images
  and a constant matrix becomes a 1x1 convolution.
  """
  x, w = values
  shape, rank = use.outs[0].shape, len(x.shape)
  if not _is_plain(use):
    return []
  if rank == 4 and isinstance(w, np.ndarray) and w.ndim == 2:
    return [_pointwise(graph, graph.tensor(x), w, shape)]
  names = [graph.laid(x, range(rank)), graph.laid(w, range(len(w.shape)))]
  return [graph.node("MatMul", names, shape, range(rank))]


def _is_plain(use: Use) -> bool:
  (x_in, w_in), (x_batch, w_batch) = use.params["dimension_numbers"]
  x, w = (len(aval.shape) for aval in use.ins)
  count = len(x_batch)
  first = tuple(range(count))
  if (tuple(x_in), tuple(w_in)) != ((x - 1,), (count,)):
    return False
  if (tuple(x_batch), tuple(w_batch)) != (first, first) or w != count + 2:
    return False
  return x >= 2 if not count else x == count + 2


def _pointwise(
  graph: Graph, x: Any, w: np.ndarray, shape: Sequence[Any]
) -> Value:
  """[B, H, W, K] times [K, N] as a 1x1 convolution."""
  kernel = graph.constant(w.T[:, :, None, None])
  source, strides = graph.strided.get(x.name, (x, (1, 1, 1, 1)))
  if strides[0] != 1 or strides[3] != 1:
    source, strides = x, (1, 1, 1, 1)
  names, steps = [graph.laid(source, NCHW), kernel], strides[1:3]
  options = {"kernel_shape": (1, 1), "strides": steps}
  return graph.node("Conv", names, shape, NCHW, **options)


CONVERSIONS: dict[str, Conversion] = {
  "conv_general_dilated": _conv,
  "dot_general": _dot,
}
