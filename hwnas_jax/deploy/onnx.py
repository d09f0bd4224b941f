"""Converts a traced JAX function to ONNX: networks and their operations.

It converts the primitives that `nets` traces to under `tracing_for("onnx")`,
and refuses others by name. What does not depend on an input is computed here.
Inputs and outputs are float32; images, [B, H, W, C] in JAX, are [B, C, H, W]
in ONNX. docs/decisions.md#an-onnx-converter-of-our-own says why there is one.
"""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from hwnas_jax.deploy import onnx_ops
from hwnas_jax.deploy.onnx_conversion import UnsupportedError
from hwnas_jax.deploy.onnx_graph import Graph, Value, default_layout, require

# Primitives that call a jaxpr, and the parameter that has it.
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

  For example, with a network's module and variables:

  ```python
  with conv.tracing_for("onnx"):
    model = to_onnx(lambda x: module.apply(variables, x), [(1, 8, 8, 1)])
  ```

  Args:
    function: arrays -> an array or a pytree of arrays. Its weights are the
      arrays that it closes over. Call `to_onnx` inside
      `nets.conv.tracing_for("onnx")`.
    shapes: of its arguments, images as [B, H, W, C].

  Returns:
    An onnx.ModelProto; its outputs are in the order of `jax.tree.leaves`.

  Raises:
    ValueError: a primitive, or this use of it, has no conversion.
    ModuleNotFoundError: the extra [onnx] is not installed.
  """
  graph = Graph()
  examples = [jax.ShapeDtypeStruct(tuple(s), jnp.float32) for s in shapes]
  closed = jax.make_jaxpr(function)(*examples)
  inputs = [graph.input(shape) for shape in shapes]
  return graph.model(_run(graph, closed, inputs))


def run(model: Any, *arrays: Any) -> list[np.ndarray]:
  """Runs a model on this machine's CPU by onnxruntime.

  Args:
    model: a ModelProto, or the path of a file.
    *arrays: its inputs, images as [B, H, W, C].

  Returns:
    Its outputs, images as [B, H, W, C].

  Raises:
    ModuleNotFoundError: the extra [onnx] is not installed.
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
  """Adds what a jaxpr computes; returns its outputs."""
  jaxpr = closed.jaxpr
  values: dict[Any, Value] = dict(zip(jaxpr.invars, inputs, strict=True))
  consts = map(np.asarray, closed.consts)
  values.update(zip(jaxpr.constvars, consts, strict=True))

  def read(atom: Any) -> Value:
    is_literal = isinstance(atom, core.Literal)
    return np.asarray(atom.val, atom.aval.dtype) if is_literal else values[atom]

  for eqn in jaxpr.eqns:
    outputs = _apply(graph, eqn, [read(atom) for atom in eqn.invars])
    values.update(zip(eqn.outvars, outputs, strict=True))
  return [read(atom) for atom in jaxpr.outvars]


def _apply(graph: Graph, eqn: Any, values: list[Value]) -> list[Value]:
  """Adds what one equation computes; returns its outputs."""
  name = eqn.primitive.name
  if name in _CALLS:
    return _run(graph, eqn.params[_CALLS[name]], values)
  if all(isinstance(value, np.ndarray) for value in values):
    return _constants(eqn, values)
  if name not in onnx_ops.CONVERSIONS:
    raise ValueError(
      f"the primitive {name!r} has no ONNX conversion; these have one: "
      f"{', '.join(sorted(onnx_ops.CONVERSIONS))}"
    )
  outputs = [var.aval for var in eqn.outvars]
  wrong = [str(aval) for aval in outputs if aval.dtype != jnp.float32]
  if wrong:
    raise ValueError(
      f"the primitive {name!r} gives {wrong[0]}; the ONNX converter expects"
      " float32"
    )
  try:
    return onnx_ops.CONVERSIONS[name](graph, values, eqn.params, outputs)
  except UnsupportedError as error:
    raise ValueError(
      f"this use of the primitive {name!r} has no ONNX conversion: {error}"
    ) from error


# NumPy computes these: JAX would compile a program for every weight's shape.
_NUMPY: dict[str, Callable[..., np.ndarray]] = {
  "add": np.add,
  "div": np.divide,
  "mul": np.multiply,
  "neg": np.negative,
  "rsqrt": lambda x: 1 / np.sqrt(x),
  "sub": np.subtract,
}


def _constants(eqn: Any, values: list[Value]) -> list[Value]:
  """Computes what does not depend on an input, such as BN's factor."""
  name, params = eqn.primitive.name, eqn.params
  array = np.asarray(values[0]) if values else np.zeros(())
  if name in _NUMPY:
    return [_NUMPY[name](*values).astype(eqn.outvars[0].aval.dtype)]
  if name in ("reshape", "squeeze"):
    return [array.reshape(eqn.outvars[0].aval.shape)]
  if name == "broadcast_in_dim":  # a view, which takes no memory
    shape = np.ones(len(params["shape"]), int)
    shape[list(params["broadcast_dimensions"])] = array.shape
    return [np.broadcast_to(array.reshape(shape), params["shape"])]
  outputs = eqn.primitive.bind(*values, **params)
  if not eqn.primitive.multiple_results:
    outputs = [outputs]
  return [np.asarray(value) for value in outputs]
