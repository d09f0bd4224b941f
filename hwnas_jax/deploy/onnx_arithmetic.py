"""Elementwise arithmetic in ONNX."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from hwnas_jax.deploy.onnx_conversion import (
  Conversion,
  Params,
  demand,
  largest,
)
from hwnas_jax.deploy.onnx_graph import Graph, Value


def _same(
  graph: Graph, values: list[Value], params: Params, outs: Sequence[Any]
) -> list[Value]:
  """The inputs as they are."""
  return values


def _operand(graph: Graph, value: Value, layout: Sequence[int]) -> str:
  """Name of a value in a layout. A repeated constant is stored once.

  Nodes of ONNX broadcast, so an axis along which all is the same has size 1.
  """
  if not isinstance(value, np.ndarray):
    return graph.laid(value, layout)
  if value.ndim == 0:
    return graph.constant(value)
  once = tuple(slice(0, 1) if s == 0 else slice(None) for s in value.strides)
  return graph.laid(value[once], layout)


def emit(
  op: str, graph: Graph, values: list[Value], params: Params, outs: Any
) -> list[Value]:
  """Adds the elementwise node `op`, in the layout of its largest input."""
  layout = largest(values).layout
  names = [_operand(graph, value, layout) for value in values]
  return [graph.node(op, names, outs[0].shape, layout)]


def _elementwise(op: str) -> Conversion:
  return functools.partial(emit, op)


def _max(
  graph: Graph, values: list[Value], params: Params, outs: Sequence[Any]
) -> list[Value]:
  x, floor = values
  if isinstance(floor, np.ndarray) and not floor.any():
    return emit("Relu", graph, [x], params, outs)
  return emit("Max", graph, values, params, outs)


def _rsqrt(
  graph: Graph, values: list[Value], params: Params, outs: Sequence[Any]
) -> list[Value]:
  root = emit("Sqrt", graph, values, params, outs)
  return emit("Reciprocal", graph, root, params, outs)


def _square(
  graph: Graph, values: list[Value], params: Params, outs: Sequence[Any]
) -> list[Value]:
  return emit("Mul", graph, values * 2, params, outs)


def _integer_pow(
  graph: Graph, values: list[Value], params: Params, outs: Sequence[Any]
) -> list[Value]:
  exponent = np.asarray(params["y"], np.float32)
  return emit("Pow", graph, [*values, exponent], params, outs)


def _clamp(
  graph: Graph, values: list[Value], params: Params, outs: Sequence[Any]
) -> list[Value]:
  low, x, high = values
  demand(low.shape == high.shape == (), "bounds that are not scalars")
  return emit("Clip", graph, [x, low, high], params, outs)


CONVERSIONS: dict[str, Conversion] = {
  "abs": _elementwise("Abs"),
  "add": _elementwise("Add"),
  "clamp": _clamp,
  "convert_element_type": _same,
  "copy": _same,
  "div": _elementwise("Div"),
  "exp": _elementwise("Exp"),
  "integer_pow": _integer_pow,
  "log": _elementwise("Log"),
  "logistic": _elementwise("Sigmoid"),
  "max": _max,
  "min": _elementwise("Min"),
  "neg": _elementwise("Neg"),
  "optimization_barrier": _same,
  "rsqrt": _rsqrt,
  "sqrt": _elementwise("Sqrt"),
  "square": _square,
  "sub": _elementwise("Sub"),
  "tanh": _elementwise("Tanh"),
}
