"""An ONNX graph under construction, whose tensors know how they are stored.

JAX's images are [B, H, W, C]; ONNX's convolutions take [B, C, H, W]. A tensor
has JAX's shape and the order in which its axes are stored, so that a
transposition only changes that order. A Transpose node is added only where an
operation needs another order than its input is stored in. The networks of this
package need none.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

OPSET, IR_VERSION = 17, 8  # onnxruntime 1.12 (2022) and later
NCHW = (0, 3, 1, 2)


class Tensor(NamedTuple):
  """A value that depends on the graph's inputs.

  name: in the ONNX graph.
  shape: in JAX's order of axes.
  layout: stored axis i is JAX's axis layout[i].
  """

  name: str
  shape: tuple[int, ...]
  layout: tuple[int, ...]

  def stored(self, axis: int) -> int:
    """The stored axis that is JAX's `axis`."""
    return self.layout.index(axis)


Value = Tensor | np.ndarray  # an array is a constant, in JAX's order of axes


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
      f"this needs {library}: pip install 'hwnas_jax[onnx]'"
    ) from error


def default_layout(rank: int) -> tuple[int, ...]:
  """The layout of a graph's inputs and outputs: NCHW for images."""
  return NCHW if rank == 4 else tuple(range(rank))


class Graph:
  """Collects nodes; `model` makes an ONNX model of them.

  strided: by the name of a Tensor that was sliced with strides, the Tensor
    before that and the strides.
  window_sums: by the name of a Tensor that is a window sum, the Tensor it sums
    and the attributes of the window.
  """

  def __init__(self) -> None:
    """An empty graph.

    Raises:
      ModuleNotFoundError: the extra [onnx] is not installed.
    """
    self._onnx = require("onnx")
    self._nodes: list[Any] = []
    self._constants: dict[str, Any] = {}
    self._inputs: list[Tensor] = []
    # For conversions that recognise a pattern: see `onnx_ops`.
    self.strided: dict[str, tuple[Tensor, tuple[int, ...]]] = {}
    self.window_sums: dict[str, tuple[Tensor, dict[str, Any]]] = {}

  def input(self, shape: Sequence[int]) -> Tensor:
    """Adds a float32 input; `shape` is in JAX's order of axes."""
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
    """Adds a node with one output.

    Args:
      op: ONNX's name of the operation.
      inputs: names of tensors and constants.
      shape: of the output, in JAX's order of axes.
      layout: of the output.
      **attributes: of the node.
    """
    name = f"{op}_{len(self._nodes)}"
    self._nodes.append(
      self._onnx.helper.make_node(op, inputs, [name], name, **attributes)
    )
    return Tensor(name, tuple(shape), tuple(layout))

  def constant(self, array: np.ndarray) -> str:
    """Adds a constant, stored as it is given; returns its name."""
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
    """Name of a value stored in `layout`, transposed if it has to be."""
    if isinstance(value, np.ndarray):
      return self.constant(value.transpose(layout))
    if value.layout == tuple(layout):
      return value.name
    perm = [value.stored(axis) for axis in layout]
    return self.node(
      "Transpose", [value.name], value.shape, layout, perm=perm
    ).name

  def model(self, outputs: Sequence[Value]) -> Any:
    """The checked ModelProto; nodes that no output needs are left out."""
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
