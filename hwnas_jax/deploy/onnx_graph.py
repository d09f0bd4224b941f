"""An ONNX graph in the making, whose tensors know how their axes lie.

JAX's images are [B, H, W, C], ONNX's convolutions want [B, C, H, W]. A tensor
keeps JAX's shape and the order in which its axes are stored, so that a
transposition is bookkeeping: nodes are spent on one only where two tensors
that meet are stored differently, which in our networks they never are.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

OPSET, IR_VERSION = 17, 8  # onnxruntime 1.12 (2022) and later
NCHW = (0, 3, 1, 2)


class Tensor(NamedTuple):
  """A value known only at run time.

  name: as in the ONNX graph.
  shape: as in JAX.
  layout: stored axis i is JAX's axis layout[i].
  """

  name: str
  shape: tuple[int, ...]
  layout: tuple[int, ...]

  def stored(self, axis: int) -> int:
    """Where JAX's axis is stored."""
    return self.layout.index(axis)


Value = Tensor | np.ndarray  # an array: known already, with JAX's axes


def require(library: str) -> Any:
  """Imports `onnx` or `onnxruntime`.

  Raises:
    ModuleNotFoundError: it is not there; the message says how to get it.
  """
  import importlib

  try:
    return importlib.import_module(library)
  except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
      f"this needs {library}: pip install 'hwnas_jax[onnx]'"
    ) from error


def default_layout(rank: int) -> tuple[int, ...]:
  """How inputs and outputs of a graph are stored: images as NCHW."""
  return NCHW if rank == 4 else tuple(range(rank))


class Graph:
  """Collects nodes; `model` makes an ONNX model of them."""

  def __init__(self) -> None:
    """An empty graph.

    Raises:
      ModuleNotFoundError: the extra [onnx] is not installed.
    """
    self._onnx = require("onnx")
    self._nodes: list[Any] = []
    self._constants: dict[str, Any] = {}
    self._inputs: list[Tensor] = []
    # What a later node may replace; see onnx_ops.
    self.strided: dict[str, tuple[Tensor, tuple[int, ...]]] = {}
    self.window_sums: dict[str, tuple[Tensor, dict[str, Any]]] = {}

  def input(self, shape: Sequence[int]) -> Tensor:
    """Adds a float32 input of JAX's `shape`."""
    tensor = Tensor(
      f"input_{len(self._inputs)}", tuple(shape), default_layout(len(shape))
    )
    self._inputs.append(tensor)
    return tensor

  def node(
    self,
    op: str,
    inputs: Sequence[str],
    shape: Sequence[int],
    layout: Sequence[int],
    **attributes: Any,
  ) -> Tensor:
    """Adds a node of one output."""
    name = f"{op}_{len(self._nodes)}"
    self._nodes.append(
      self._onnx.helper.make_node(op, inputs, [name], name, **attributes)
    )
    return Tensor(name, tuple(shape), tuple(layout))

  def constant(self, array: np.ndarray) -> str:
    """Name of a constant, stored as it is given."""
    array = np.asarray(array)
    if array.size > 1024 and np.ptp(array) == 0:  # the zeros of an empty node
      shape = self.constant(np.asarray(array.shape, np.int64))
      value = self._onnx.numpy_helper.from_array(array.reshape(-1)[:1])
      return self.node("ConstantOfShape", [shape], (), (), value=value).name
    name = f"constant_{len(self._constants)}"
    self._constants[name] = self._onnx.numpy_helper.from_array(
      np.ascontiguousarray(array), name
    )
    return name

  def laid(self, value: Value, layout: Sequence[int]) -> str:
    """Name of a value whose axes lie as in `layout`."""
    if isinstance(value, np.ndarray):
      return self.constant(value.transpose(layout))
    if value.layout == tuple(layout):
      return value.name
    perm = [value.stored(axis) for axis in layout]
    return self.node(
      "Transpose", [value.name], value.shape, layout, perm=perm
    ).name

  def model(self, outputs: Sequence[Value]) -> Any:
    """The checked ModelProto of what the outputs need."""
    names = []
    for value in outputs:
      layout = default_layout(len(value.shape))
      name = self.laid(value, layout)
      if name in names or not any(name in n.output for n in self._nodes):
        name = self.node("Identity", [name], value.shape, layout).name
      names.append(name)
    self._keep_only(names)
    helper = self._onnx.helper
    graph = helper.make_graph(
      self._nodes,
      "network",
      [self._info(t.name, t.shape) for t in self._inputs],
      [self._info(n, v.shape) for n, v in zip(names, outputs, strict=True)],
      list(self._constants.values()),
    )
    model = helper.make_model(
      graph,
      producer_name="hwnas_jax",
      ir_version=IR_VERSION,
      opset_imports=[helper.make_opsetid("", OPSET)],
    )
    self._onnx.checker.check_model(model)
    return model

  def _info(self, name: str, shape: Sequence[int]) -> Any:
    stored = [shape[axis] for axis in default_layout(len(shape))]
    kind = self._onnx.TensorProto.FLOAT
    return self._onnx.helper.make_tensor_value_info(name, kind, stored)

  def _keep_only(self, outputs: Sequence[str]) -> None:
    """Drops nodes and constants that no output needs."""
    needed = set(outputs)
    nodes = []
    for node in reversed(self._nodes):
      if needed & set(node.output):
        needed |= set(node.input)
        nodes.append(node)
    self._nodes = nodes[::-1]
    self._constants = {
      name: c for name, c in self._constants.items() if name in needed
    }
