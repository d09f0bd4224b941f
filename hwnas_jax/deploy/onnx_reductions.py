"""Reductions, running sums and sorting in ONNX."""

import numpy as np

from hwnas_jax.deploy.onnx_conversion import Conversion, Use, demand
from hwnas_jax.deploy.onnx_graph import Graph, Tensor, Value
from hwnas_jax.deploy.onnx_layout import without


def _reduction(op: str) -> Conversion:
  """`op` over axes; truth values are reduced as numbers."""

  def convert(graph: Graph, values: list[Value], use: Use) -> list[Value]:
    x, axes = graph.tensor(values[0]), use.params["axes"]
    if not axes:
      return [x]
    is_bool = use.outs[0].dtype == bool
    if is_bool:
      x = graph.cast(x, np.int32)
    names = [x.name, graph.axes([x.stored(a) for a in axes])]
    shape, layout = use.outs[0].shape, without(x.layout, axes)
    y = graph.node(op, names, shape, layout, keepdims=0)
    return [graph.cast(y, np.bool_) if is_bool else y]

  return convert


def _argument(op: str) -> Conversion:
  """The index of the first extremum along one axis."""

  def convert(graph: Graph, values: list[Value], use: Use) -> list[Value]:
    x, (axis,) = graph.tensor(values[0]), use.params["axes"]
    if use.ins[0].dtype == bool:
      return []
    shape, layout = use.outs[0].shape, without(x.layout, [axis])
    at = x.stored(axis)
    y = graph.node(op, [x.name], shape, layout, axis=at, keepdims=0)
    return [graph.cast(y, np.int32)]

  return convert


def _cumsum(graph: Graph, values: list[Value], use: Use) -> list[Value]:
  x = graph.tensor(values[0])
  names = [x.name, graph.axes(x.stored(use.params["axis"]))]
  reverse = int(use.params["reverse"])
  return [graph.node("CumSum", names, x.shape, x.layout, reverse=reverse)]


def _sort(graph: Graph, values: list[Value], use: Use) -> list[Value]:
  """Sorts the first operand, and the others by it."""
  demand(use.params["num_keys"] == 1, "several keys")
  x, axis = graph.tensor(values[0]), use.params["dimension"]
  first, indices = _ordered(graph, x, axis, x.shape[axis], largest=0)
  at = x.stored(axis)
  rest = [
    graph.node(
      "GatherElements",
      [graph.laid(value, x.layout), indices.name],
      x.shape,
      x.layout,
      axis=at,
    )
    for value in values[1:]
  ]
  return [first, *rest]


def _top_k(graph: Graph, values: list[Value], use: Use) -> list[Value]:
  x = graph.tensor(values[0])
  axis = use.params.get("axis", len(x.shape) - 1) % len(x.shape)
  first, indices = _ordered(graph, x, axis, use.params["k"], largest=1)
  return [first, graph.cast(indices, np.int32)]


def _ordered(
  graph: Graph, x: Tensor, axis: int, count: int, *, largest: int
) -> tuple[Tensor, Tensor]:
  """The first `count` values of an order, and their int64 indices."""
  names = [x.name, graph.sizes([count])]
  options = {"axis": x.stored(axis), "largest": largest}
  made = graph.outputs("TopK", names, 2, **options)
  shape = *x.shape[:axis], count, *x.shape[axis + 1 :]
  first, indices = (Tensor(name, shape, x.layout) for name in made)
  return first, indices


CONVERSIONS: dict[str, Conversion] = {
  "argmax": _argument("ArgMax"),
  "argmin": _argument("ArgMin"),
  "cumsum": _cumsum,
  "reduce_and": _reduction("ReduceMin"),
  "reduce_max": _reduction("ReduceMax"),
  "reduce_min": _reduction("ReduceMin"),
  "reduce_or": _reduction("ReduceMax"),
  "reduce_prod": _reduction("ReduceProd"),
  "reduce_sum": _reduction("ReduceSum"),
  "sort": _sort,
  "top_k": _top_k,
}
