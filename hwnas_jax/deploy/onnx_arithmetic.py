"""Elementwise operations in ONNX."""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from hwnas_jax.deploy.onnx_conversion import Conversion, Use, demand
from hwnas_jax.deploy.onnx_graph import Graph, Tensor, Value, default_layout
from hwnas_jax.deploy.onnx_types import carrier


def same(graph: Graph, values: list[Value], use: Use) -> list[Value]:
  """The inputs as they are."""
  return values


def emit(
  op: str, graph: Graph, values: list[Value], use: Use, **attributes: Any
) -> list[Value]:
  """Adds the elementwise node `op`, in the layout of a Tensor among `values`.

  Nodes of ONNX broadcast. So where one operand has the shape of the output, an
  axis along which another repeats itself is read once.
  """
  shape = tuple(use.outs[0].shape)
  tensors = [v for v in values if isinstance(v, Tensor)]
  wide = [v for v in tensors if v.shape == shape]
  wide.sort(key=lambda v: v.name in graph.narrow)
  ranked = [v for v in tensors if len(v.shape) == len(shape)]
  like = next(iter([*wide, *ranked]), None)
  layout = like.layout if like else default_layout(len(shape))
  names = []
  for value in values:
    if wide and value is not like:
      value = _narrow(graph, value)
    names.append(graph.laid(value, layout if value.shape else ()))
  return [graph.node(op, names, shape, layout, **attributes)]


def _narrow(graph: Graph, value: Value) -> Value:
  """A value with size one along axes where it repeats itself."""
  if isinstance(value, Tensor):
    return graph.narrow.get(value.name, value)
  once = [slice(0, 1) if s == 0 else slice(None) for s in value.strides]
  return np.asarray(value[tuple(once)])


def _elementwise(op: str, **attributes: Any) -> Conversion:
  return functools.partial(emit, op, **attributes)


def _logical(op: str, on_bool: str) -> Conversion:
  """`op`, or for bool `on_bool`."""

  def convert(graph: Graph, values: list[Value], use: Use) -> list[Value]:
    is_bool = use.outs[0].dtype == bool
    return emit(on_bool if is_bool else op, graph, values, use)

  return convert


def _compare(op: str) -> Conversion:
  """`op` of numbers; see `onnx_rewrites` for truth values."""

  def convert(graph: Graph, values: list[Value], use: Use) -> list[Value]:
    is_bool = use.ins[0].dtype == bool
    return [] if is_bool else emit(op, graph, values, use)

  return convert


def _chain(*ops: str) -> Conversion:
  """Several nodes, all but the first of one input."""

  def convert(graph: Graph, values: list[Value], use: Use) -> list[Value]:
    for op in ops:
      values = emit(op, graph, values, use)
    return values

  return convert


def _max(graph: Graph, values: list[Value], use: Use) -> list[Value]:
  is_float = carrier(use.outs[0].dtype) == np.float32
  zero = [isinstance(v, np.ndarray) and not v.any() for v in values]
  if is_float and True in zero:
    return emit("Relu", graph, [values[1 - zero.index(True)]], use)
  return _logical("Max", "Or")(graph, values, use)


def _square(graph: Graph, values: list[Value], use: Use) -> list[Value]:
  return emit("Mul", graph, values * 2, use)


def _integer_pow(graph: Graph, values: list[Value], use: Use) -> list[Value]:
  exponent = np.asarray(use.params["y"], carrier(use.outs[0].dtype))
  return emit("Pow", graph, [*values, exponent], use)


def _round(graph: Graph, values: list[Value], use: Use) -> list[Value]:
  """Halves to even, or away from zero: sign(x) floor(|x| + 0.5)."""
  if use.params["rounding_method"] == lax.RoundingMethod.TO_NEAREST_EVEN:
    return emit("Round", graph, values, use)
  size = emit("Abs", graph, values, use)
  more = emit("Add", graph, [*size, np.asarray(0.5, np.float32)], use)
  sign = emit("Sign", graph, values, use)
  return emit("Mul", graph, emit("Floor", graph, more, use) + sign, use)


def _clamp(graph: Graph, values: list[Value], use: Use) -> list[Value]:
  low, x, high = values
  if low.shape or high.shape:
    return []
  return emit("Clip", graph, [x, low, high], use)


def _select(graph: Graph, values: list[Value], use: Use) -> list[Value]:
  """The second case where a truth value holds; or the case of a number."""
  which, *cases = values
  if isinstance(which, np.ndarray) and which.size == 1:
    return [cases[int(which.item())]]
  if use.ins[0].dtype == bool:
    return emit("Where", graph, [which, *cases[::-1]], use)
  chosen = cases[0]
  for index, case in enumerate(cases[1:], 1):
    number = np.asarray(index, np.int32)
    at = Use({}, (), (use.ins[0],))
    (hit,) = emit("GreaterOrEqual", graph, [which, number], at)
    (chosen,) = emit("Where", graph, [hit, case, chosen], use)
  return [chosen]


def convert_type(graph: Graph, values: list[Value], use: Use) -> list[Value]:
  """Casts between carriers; what is rounded is rounded by the caller."""
  before, after = carrier(use.ins[0].dtype), carrier(use.outs[0].dtype)
  x = graph.tensor(values[0])
  return [x if before == after else graph.cast(x, after)]


def _reduce_precision(
  graph: Graph, values: list[Value], use: Use
) -> list[Value]:
  bits = use.params["exponent_bits"], use.params["mantissa_bits"]
  types = {(8, 23): jnp.float32, (5, 10): jnp.float16, (8, 7): jnp.bfloat16}
  demand(bits in types, f"{bits} bits of exponent and mantissa")
  return [graph.rounded(values[0], np.dtype(types[bits]))]


_UNARY = "Abs Acos Acosh Asin Asinh Atan Atanh Ceil Cos Cosh Erf Exp Floor Log"
_UNARY += " Neg Sign Sin Sinh Sqrt Tan Tanh"
_SAME = "copy name optimization_barrier pvary reduced_vary_cast_p"
_SAME += " sharding_constraint stop_gradient"

CONVERSIONS: dict[str, Conversion] = {
  **{op.lower(): _elementwise(op) for op in _UNARY.split()},
  **dict.fromkeys(_SAME.split(), same),
  "add": _logical("Add", "Or"),
  "add_any": _elementwise("Add"),
  "and": _logical("BitwiseAnd", "And"),
  "clamp": _clamp,
  "convert_element_type": convert_type,
  "device_put": same,
  "div": _elementwise("Div"),
  "eq": _elementwise("Equal"),
  "ge": _compare("GreaterOrEqual"),
  "gt": _compare("Greater"),
  "integer_pow": _integer_pow,
  "le": _compare("LessOrEqual"),
  "logistic": _elementwise("Sigmoid"),
  "lt": _compare("Less"),
  "max": _max,
  "min": _logical("Min", "And"),
  "ne": _chain("Equal", "Not"),
  "not": _logical("BitwiseNot", "Not"),
  "or": _logical("BitwiseOr", "Or"),
  "pow": _elementwise("Pow"),
  "reduce_precision": _reduce_precision,
  "rem": _elementwise("Mod", fmod=1),
  "round": _round,
  "rsqrt": _chain("Sqrt", "Reciprocal"),
  "select_n": _select,
  "square": _square,
  "sub": _elementwise("Sub"),
  "xor": _logical("BitwiseXor", "Xor"),
}
