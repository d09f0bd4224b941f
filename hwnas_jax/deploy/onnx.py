"""ONNX of a traced JAX function: inference networks and their operations.

Covers the primitives that `nets` traces to under `tracing_for("onnx")`; an
unknown one is refused by name. What depends on no input is computed here.
Inputs and outputs are float32; images, [B, H, W, C] in JAX, are [B, C, H, W]
in ONNX. (jax2onnx 0.17 was tried: it wants an older orbax, takes half a
minute a network, and leaves a Transpose at every convolution.)
"""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from hwnas_jax.deploy import onnx_ops
from hwnas_jax.deploy.onnx_graph import Graph, Value, default_layout, require

# Calls, by primitive: the parameter that holds what they run.
_CALLS = {
  "jit": "jaxpr",
  "closed_call": "call_jaxpr",
  "custom_jvp_call": "call_jaxpr",
  "custom_vjp_call": "call_jaxpr",
}


def to_onnx(
  function: Callable[..., Any], shapes: Sequence[Sequence[int]]
) -> Any:
  """Converts a function of float32 arrays.

  Args:
    function: arrays -> array or pytree of arrays; weights are what it closes
      over. Trace it inside `nets.conv.tracing_for("onnx")`.
    shapes: of its arguments, as in JAX.

  Returns:
    An onnx.ModelProto; outputs in the order of `jax.tree.leaves`.

  Raises:
    ValueError: it holds a primitive, or a use of one, without a conversion.
    ModuleNotFoundError: the extra [onnx] is not installed.
  """
  graph = Graph()
  examples = [jax.ShapeDtypeStruct(tuple(s), jnp.float32) for s in shapes]
  closed = jax.make_jaxpr(function)(*examples)
  inputs = [graph.input(shape) for shape in shapes]
  return graph.model(_run(graph, closed, inputs))


def run(model: Any, *arrays: Any) -> list[np.ndarray]:
  """Runs a model on this CPU by onnxruntime.

  Args:
    model: a ModelProto, or the path of a file.
    *arrays: its inputs, images as in JAX: [B, H, W, C].

  Returns:
    Its outputs, images as in JAX again.
  """
  runtime = require("onnxruntime")
  is_path = isinstance(model, str | pathlib.Path)
  session = runtime.InferenceSession(
    str(model) if is_path else model.SerializeToString(),
    providers=["CPUExecutionProvider"],
  )
  feeds = {
    wanted.name: np.transpose(np.asarray(x), default_layout(np.ndim(x)))
    for wanted, x in zip(session.get_inputs(), arrays, strict=True)
  }
  return [
    y.transpose(np.argsort(default_layout(y.ndim)))
    for y in session.run(None, feeds)
  ]


def _run(
  graph: Graph, closed: core.ClosedJaxpr, inputs: Sequence[Value]
) -> list[Value]:
  """Adds what a jaxpr does; its outputs."""
  jaxpr = closed.jaxpr
  known: dict[Any, Value] = dict(zip(jaxpr.invars, inputs, strict=True))
  consts = map(np.asarray, closed.consts)
  known.update(zip(jaxpr.constvars, consts, strict=True))

  def read(atom: Any) -> Value:
    is_literal = isinstance(atom, core.Literal)
    return np.asarray(atom.val, atom.aval.dtype) if is_literal else known[atom]

  for eqn in jaxpr.eqns:
    values = [read(atom) for atom in eqn.invars]
    known.update(zip(eqn.outvars, _apply(graph, eqn, values), strict=True))
  return [read(atom) for atom in jaxpr.outvars]


def _apply(graph: Graph, eqn: Any, values: list[Value]) -> list[Value]:
  name = eqn.primitive.name
  if name in _CALLS:
    return _run(graph, eqn.params[_CALLS[name]], values)
  if all(isinstance(value, np.ndarray) for value in values):
    return _constants(eqn, values)
  if name not in onnx_ops.CONVERSIONS:
    raise ValueError(
      f"no ONNX conversion of the primitive {name!r}; there is one of "
      f"{', '.join(sorted(onnx_ops.CONVERSIONS))}"
    )
  outputs = [var.aval for var in eqn.outvars]
  wrong = [str(aval) for aval in outputs if aval.dtype != jnp.float32]
  if wrong:
    raise ValueError(f"ONNX of {name!r} gives {wrong[0]}, expected float32")
  try:
    found = onnx_ops.CONVERSIONS[name](graph, values, eqn.params, outputs)
  except onnx_ops.UnsupportedError as error:
    raise ValueError(f"no ONNX conversion of this {name!r}: {error}") from error
  return found


# By NumPy: JAX would compile a program for every shape of a weight.
_NUMPY: dict[str, Callable[..., np.ndarray]] = {
  "add": np.add,
  "div": np.divide,
  "mul": np.multiply,
  "neg": np.negative,
  "rsqrt": lambda x: 1 / np.sqrt(x),
  "sub": np.subtract,
}


def _constants(eqn: Any, values: list[Value]) -> list[Value]:
  """What depends on no input: BN's factor, a weight's shape."""
  name, params = eqn.primitive.name, eqn.params
  array = np.asarray(values[0]) if values else np.zeros(())
  if name in _NUMPY:
    return [_NUMPY[name](*values).astype(eqn.outvars[0].aval.dtype)]
  if name in ("reshape", "squeeze"):
    return [array.reshape(eqn.outvars[0].aval.shape)]
  if name == "broadcast_in_dim":  # a view, however large
    shape = np.ones(len(params["shape"]), int)
    shape[list(params["broadcast_dimensions"])] = array.shape
    return [np.broadcast_to(array.reshape(shape), params["shape"])]
  found = eqn.primitive.bind(*values, **params)
  many = eqn.primitive.multiple_results
  return [np.asarray(value) for value in (found if many else [found])]
