"""An ONNX model made of a graph."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax import export

from hwnas_jax.deploy import onnx_types
from hwnas_jax.deploy.onnx_graph import Graph, Node, Value, default_layout

OPSET, IR_VERSION = 18, 8  # onnxruntime 1.14 (2023) and later


def require(library: str) -> Any:
  """Imports `onnx` or `onnxruntime`.

  Raises:
    ModuleNotFoundError: it is not installed; the message has the command.
  """
  import importlib

  try:
    return importlib.import_module(library)
  except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
      f"this needs {library}: pip install onnx onnxruntime"
    ) from error


def build(
  graph: Graph,
  values: Sequence[Value],
  dtypes: Sequence[Any],
  names: Sequence[str] = (),
) -> Any:
  """The checked ModelProto; nodes that no output needs are left out.

  Args:
    graph: has the nodes.
    values: the outputs.
    dtypes: their types.
    names: their names; () for those of the nodes.

  Raises:
    ModuleNotFoundError: the extra [onnx] is not installed.
  """
  onnx = require("onnx")
  layouts = [default_layout(len(value.shape)) for value in values]
  sources = [graph.laid(v, at) for v, at in zip(values, layouts, strict=True)]
  nodes = _outputs(graph, sources, names)
  kept = _needed(nodes, sources)
  used = {name for node in kept for name in node.inputs}
  outputs = [
    _info(onnx, name, value.shape, onnx_types.number(onnx_types.carrier(dtype)))
    for name, value, dtype in zip(sources, values, dtypes, strict=True)
  ]
  model = onnx.helper.make_model(
    onnx.helper.make_graph(
      [_proto(onnx, node) for node in kept],
      "network",
      [_info(onnx, t.name, t.shape, 1) for t in graph.inputs],
      outputs,
      [
        onnx.numpy_helper.from_array(np.asarray(array, order="C"), name)
        for name, array in graph.constants.items()
        if name in used
      ],
    ),
    producer_name="hwnas_jax",
    ir_version=IR_VERSION,
    opset_imports=[onnx.helper.make_opsetid("", OPSET)],
  )
  onnx.checker.check_model(model)
  return model


def _outputs(
  graph: Graph, sources: list[str], names: Sequence[str]
) -> list[Node]:
  """The nodes, with outputs of the given names, which `sources` then has.

  A value that is an input, a constant or an output before gets an Identity.
  """
  new: dict[str, str] = {}
  made = {name for node in graph.nodes for name in node.outputs}
  copies = []
  for index, source in enumerate(sources):
    name = names[index] if names else source
    if source in new or source not in made:
      name = name if names else f"output_{index}"
      copies.append(Node("Identity", (source,), (name,), {}))
    else:
      new[source] = name
    sources[index] = name
  return [
    Node(
      node.op,
      tuple(new.get(name, name) for name in node.inputs),
      tuple(new.get(name, name) for name in node.outputs),
      node.attributes,
    )
    for node in (*graph.nodes, *copies)
  ]


def _needed(nodes: Sequence[Node], outputs: Sequence[str]) -> list[Node]:
  needed, kept = set(outputs), []
  for node in reversed(nodes):
    if needed & set(node.outputs):
      needed |= set(node.inputs)
      kept.append(node)
  return kept[::-1]


def _info(onnx: Any, name: str, shape: Sequence[Any], kind: int) -> Any:
  stored = [shape[axis] for axis in default_layout(len(shape))]
  sizes = [str(s) if export.is_symbolic_dim(s) else int(s) for s in stored]
  return onnx.helper.make_tensor_value_info(name, kind, sizes)


def _proto(onnx: Any, node: Node) -> Any:
  attributes = {
    name: onnx.numpy_helper.from_array(value)
    if isinstance(value, np.ndarray)
    else value
    for name, value in node.attributes.items()
  }
  name = node.outputs[0]
  return onnx.helper.make_node(
    node.op, node.inputs, node.outputs, name, **attributes
  )
