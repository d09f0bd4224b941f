"""Converts a traced JAX function to ONNX: networks and their operations.

A primitive has a conversion, or is rewritten in simpler ones (`onnx_ops`); what
has neither is refused by name. What does not depend on an input is computed
here. Inputs are float32; images, [B, H, W, C] in JAX, are [B, C, H, W] in ONNX.
docs/decisions.md#an-onnx-converter-of-our-own says why there is one.
"""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jax.extend import core

from hwnas_jax.deploy import onnx_model, onnx_ops
from hwnas_jax.deploy.onnx_conversion import Use
from hwnas_jax.deploy.onnx_graph import Graph, Tensor, Value, default_layout
from hwnas_jax.deploy.onnx_types import UnsupportedError, carrier

# Parameters that have the jaxpr of a primitive that only calls it.
_BODIES = ("jaxpr", "call_jaxpr", "fun_jaxpr")
_CALLS = {"jit", "pjit", "call", "closed_call", "custom_jvp_call"}
_CALLS |= {"custom_vjp_call", "remat2", "checkpoint", "remat_opt"}


class UnconvertedError(ValueError):
  """A function has parts without an ONNX conversion."""


class Names(NamedTuple):
  """Names of a model's inputs and outputs; () for numbered ones."""

  inputs: tuple[str, ...] = ()
  outputs: tuple[str, ...] = ()


def to_onnx(
  function: Callable[..., Any],
  shapes: Sequence[Sequence[Any]],
  names: Names = Names(),  # noqa: B008 (immutable)
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
    shapes: of its arguments, images as [B, H, W, C]. The first size may be
      symbolic (`jax.export.symbolic_shape`), for a model of any batch.
    names: of the model's inputs and outputs.

  Returns:
    An onnx.ModelProto; its outputs are in the order of `jax.tree.leaves`.

  Raises:
    UnconvertedError: primitives, or uses of them, have no conversion; all are
      named.
    ModuleNotFoundError: the extra [onnx] is not installed.
  """
  graph, values, dtypes = _convert(function, shapes, names)
  return onnx_model.build(graph, values, dtypes, names.outputs)


def gaps(
  function: Callable[..., Any], variables: Any, shapes: Sequence[Sequence[int]]
) -> list[str]:
  """What of a function has no conversion, such as "'fft'"; [] if all has.

  Needs nothing of ONNX installed.

  Args:
    function: (variables, *arrays) -> an array or a pytree of arrays.
    variables: a pytree of shapes and types. Ones stand in for the values.
    shapes: of the arrays.
  """
  leaves = jax.tree.leaves(variables)
  ones = [np.broadcast_to(np.ones((), v.dtype), v.shape) for v in leaves]
  graph, missing = Graph(), _Missing()
  arrays = [jax.ShapeDtypeStruct(tuple(s), jnp.float32) for s in shapes]
  closed = jax.make_jaxpr(function)(variables, *arrays)
  inputs = [graph.input(str(i), shape) for i, shape in enumerate(shapes)]
  _run(graph, closed, [*ones, *inputs], missing)
  return _in_order(missing)


_Missing = dict[str, None]  # names, in the order in which they are met


def _in_order(missing: _Missing) -> list[str]:
  """Unknown primitives, then uses of known ones."""
  return sorted(missing, key=lambda name: name.startswith("this"))


def _convert(
  function: Callable[..., Any], shapes: Sequence[Sequence[Any]], names: Names
) -> tuple[Graph, list[Value], list[Any]]:
  """(the graph, the outputs, their types)."""
  graph, missing = Graph(), _Missing()
  examples = [jax.ShapeDtypeStruct(tuple(s), jnp.float32) for s in shapes]
  closed = jax.make_jaxpr(function)(*examples)
  given = names.inputs or [f"input_{i}" for i in range(len(shapes))]
  inputs: list[Value] = [
    graph.input(name, shape) for name, shape in zip(given, shapes, strict=True)
  ]
  values = _run(graph, closed, inputs, missing)
  if missing:
    raise UnconvertedError(
      f"no ONNX conversion of {'; '.join(_in_order(missing))}"
    )
  return graph, values, [aval.dtype for aval in closed.out_avals]


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
  session = load(model)
  feeds = {
    wanted.name: np.transpose(np.asarray(x), default_layout(np.ndim(x)))
    for wanted, x in zip(session.get_inputs(), arrays, strict=True)
  }
  return [
    y.transpose(np.argsort(default_layout(y.ndim)))
    for y in session.run(None, feeds)
  ]


def load(model: Any) -> Any:
  """An onnxruntime.InferenceSession of a model, see `run`."""
  is_path = isinstance(model, str | pathlib.Path)
  return onnx_model.require("onnxruntime").InferenceSession(
    str(model) if is_path else model.SerializeToString(),
    providers=["CPUExecutionProvider"],
  )


def _run(
  graph: Graph,
  closed: Any,
  inputs: Sequence[Value],
  missing: _Missing,
) -> list[Value]:
  """Adds what a jaxpr computes; returns its outputs.

  `missing` gets the primitives without a conversion. Their outputs are made
  up, so that those after them are found too.
  """
  # From JAX 0.12 on a jaxpr has its constants itself; before, a ClosedJaxpr has
  # them, and what an operation calls may be a jaxpr without any.
  jaxpr, stored = (
    getattr(closed, "jaxpr", closed),
    getattr(closed, "consts", ()),
  )
  values: dict[Any, Value] = dict(zip(jaxpr.invars, inputs, strict=True))
  consts = map(_stored, map(jnp.asarray, stored))
  values.update(zip(jaxpr.constvars, consts, strict=True))

  def read(atom: Any) -> Value:
    is_literal = isinstance(atom, core.Literal)
    return np.asarray(atom.val, atom.aval.dtype) if is_literal else values[atom]

  for eqn in jaxpr.eqns:
    with np.errstate(all="ignore"):  # infinities are values as any other
      outputs = _apply(graph, eqn, [read(atom) for atom in eqn.invars], missing)
    values.update(zip(eqn.outvars, outputs, strict=True))
  return [read(atom) for atom in jaxpr.outvars]


def _apply(
  graph: Graph, eqn: Any, values: list[Value], missing: _Missing
) -> list[Value]:
  """Adds what one equation computes; returns its outputs."""
  name = eqn.primitive.name
  if name in _CALLS:
    body = next(eqn.params[key] for key in _BODIES if key in eqn.params)
    return _run(graph, body, values, missing)
  use = Use(
    eqn.params, [v.aval for v in eqn.invars], [v.aval for v in eqn.outvars]
  )
  sizes = [size for out in use.outs for size in out.shape]
  fixed = not any(map(export.is_symbolic_dim, sizes)) and name != "dim_as_value"
  if fixed and not any(isinstance(value, Tensor) for value in values):
    return _constants(eqn, values)
  if fixed and all(0 in out.shape for out in use.outs):
    return [np.zeros(out.shape, out.dtype) for out in use.outs]
  known = name in onnx_ops.CONVERSIONS or name in onnx_ops.REWRITES
  if not known:
    missing[repr(name)] = None
  else:
    try:
      return _converted(graph, name, values, use, missing)
    except UnsupportedError as error:
      missing[f"this {name!r}: {error}"] = None
    except Exception as error:  # a case that no conversion foresees
      line = str(error).partition("\n")[0]
      missing[f"this {name!r}: {type(error).__name__}: {line}"] = None
  return [
    graph.node("Missing", [], out.shape, range(out.ndim)) for out in use.outs
  ]


def _converted(
  graph: Graph,
  name: str,
  values: list[Value],
  use: Use,
  missing: _Missing,
) -> list[Value]:
  """Adds what a primitive computes, by its conversion or its rewrite.

  Raises:
    UnsupportedError: this use has neither.
  """
  for aval in (*use.ins, *use.outs):
    carrier(aval.dtype)
  outputs: list[Value] = []
  if convert := onnx_ops.CONVERSIONS.get(name):
    outputs = convert(graph, values, use)
  if outputs:
    if name in onnx_ops.EXACT:
      return outputs
    kinds = [out.dtype for out in use.outs]
    return [graph.rounded(v, k) for v, k in zip(outputs, kinds, strict=True)]
  rewrite = onnx_ops.REWRITES[name]
  examples = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in use.ins]
  closed = jax.make_jaxpr(lambda *arrays: rewrite(use, *arrays))(*examples)
  return _run(graph, closed, values, missing)


# NumPy computes these: JAX would compile a program for every weight's shape.
_NUMPY: dict[str, Callable[..., np.ndarray]] = {
  "add": np.add,
  "div": np.divide,
  "mul": np.multiply,
  "neg": np.negative,
  "rsqrt": lambda x: 1 / np.sqrt(x),
  "sub": np.subtract,
}


def _constants(eqn: Any, values: list[Any]) -> list[Value]:
  """Computes what does not depend on an input, such as BN's factor."""
  name, params = eqn.primitive.name, eqn.params
  out = eqn.outvars[0].aval
  if name in _NUMPY and jnp.issubdtype(out.dtype, np.floating):
    return [np.asarray(_NUMPY[name](*values), out.dtype)]
  outputs: Any
  if not all(isinstance(value, np.ndarray) for value in values):
    pass  # a random key
  elif name in ("reshape", "squeeze"):
    return [values[0].reshape(out.shape)]
  elif name == "broadcast_in_dim":  # a view, which takes no memory
    shape = np.ones(len(params["shape"]), int)
    shape[list(params["broadcast_dimensions"])] = values[0].shape
    return [np.broadcast_to(values[0].reshape(shape), params["shape"])]
  outputs = eqn.primitive.bind(*values, **params)
  if not eqn.primitive.multiple_results:
    outputs = [outputs]
  return [_stored(value) for value in outputs]


def _stored(value: Any) -> Any:
  """A constant as NumPy has it; a random key stays what it is."""
  is_key = jnp.issubdtype(value.dtype, jax.dtypes.extended)
  return value if is_key else np.asarray(value)
