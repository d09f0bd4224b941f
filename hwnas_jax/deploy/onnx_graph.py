"""An ONNX graph under construction, whose tensors know how they are stored.

JAX's images are [B, H, W, C]; ONNX's convolutions take [B, C, H, W]. A tensor
has JAX's shape and the order in which its axes are stored, so that a
transposition only changes that order. A Transpose node is added only where an
operation needs another order than its input is stored in. The networks of this
package need none.

A size may be symbolic: a multiple of the batch, which the model reads from its
first input while it runs.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax import export

from hwnas_jax.deploy import onnx_types
from hwnas_jax.deploy.onnx_types import CARRIERS, UnsupportedError, carrier

NCHW = (0, 3, 1, 2)
_MORE = 8  # by which a size may differ from a multiple of the batch


class Tensor(NamedTuple):
  """A value that depends on the graph's inputs.

  name: in the ONNX graph.
  shape: in JAX's order of axes; a size may be symbolic.
  layout: stored axis i is JAX's axis layout[i].
  """

  name: str
  shape: tuple[Any, ...]
  layout: tuple[int, ...]

  def stored(self, axis: int) -> int:
    """The stored axis that is JAX's `axis`."""
    return self.layout.index(axis)


Value = Tensor | np.ndarray  # an array is a constant, in JAX's order of axes


class Node(NamedTuple):
  """A node, named by its first output."""

  op: str
  inputs: tuple[str, ...]
  outputs: tuple[str, ...]
  attributes: Mapping[str, Any]


def default_layout(rank: int) -> tuple[int, ...]:
  """The layout of a graph's inputs and outputs: NCHW for images."""
  return NCHW if rank == 4 else tuple(range(rank))


class Graph:
  """Collects nodes; `onnx_model.build` makes an ONNX model of them.

  strided: by the name of a Tensor that was sliced with strides, the Tensor
    before that and the strides.
  window_sums: by the name of a Tensor that is a window sum, the Tensor it sums
    and the attributes of the window.
  narrow: by the name of a Tensor that repeats another along axes, that other,
    which has size 1 there.
  """

  def __init__(self) -> None:
    """An empty graph."""
    self.nodes: list[Node] = []
    self.constants: dict[str, np.ndarray] = {}
    self.inputs: list[Tensor] = []
    # For conversions that recognise a pattern: see `onnx_ops`.
    self.strided: dict[str, tuple[Tensor, tuple[int, ...]]] = {}
    self.window_sums: dict[str, tuple[Tensor, dict[str, Any]]] = {}
    self.narrow: dict[str, Tensor] = {}

  def input(self, name: str, shape: Sequence[Any]) -> Tensor:
    """Adds a float32 input; `shape` is in JAX's order of axes."""
    tensor = Tensor(name, tuple(shape), default_layout(len(shape)))
    self.inputs.append(tensor)
    return tensor

  def node(
    self,
    op: str,
    inputs: Sequence[str],
    shape: Sequence[Any],
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
    (name,) = self.outputs(op, inputs, 1, **attributes)
    return Tensor(name, tuple(shape), tuple(layout))

  def outputs(
    self, op: str, inputs: Sequence[str], count: int, **attributes: Any
  ) -> tuple[str, ...]:
    """Adds a node with `count` outputs; returns their names."""
    name = f"{op}_{len(self.nodes)}"
    names = name, *(f"{name}_{i}" for i in range(1, count))
    self.nodes.append(Node(op, tuple(inputs), names, attributes))
    return names

  def constant(self, array: Any) -> str:
    """Adds a constant, stored as it is given; returns its name."""
    array = np.asarray(array)
    if array.dtype.name in CARRIERS:
      array = array.astype(carrier(array.dtype), copy=False)
    if array.size > 1024 and (array == array.flat[0]).all():
      sizes = self.sizes(array.shape)
      value = array.reshape(-1)[:1]
      return self.node("ConstantOfShape", [sizes], (), (), value=value).name
    name = f"constant_{len(self.constants)}"
    self.constants[name] = array
    return name

  def axes(self, values: Sequence[int] | int) -> str:
    """Adds axes, or one axis, as an int64 constant; returns its name."""
    return self.constant(np.asarray(values, np.int64))

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

  def tensor(self, value: Value) -> Tensor:
    """A constant as a Tensor; a Tensor as it is."""
    if isinstance(value, Tensor):
      return value
    layout = default_layout(value.ndim)
    return Tensor(self.laid(value, layout), value.shape, layout)

  def cast(self, x: Tensor, dtype: Any) -> Tensor:
    """Converts a tensor's values to a type of ONNX."""
    to = onnx_types.number(dtype)
    return self.node("Cast", [x.name], x.shape, x.layout, to=to)

  def rounded(self, value: Value, dtype: Any) -> Value:
    """A value as a JAX type rounds it, where that is not its own carrier."""
    if isinstance(value, np.ndarray) or carrier(dtype) == dtype:
      return value
    return self.cast(self.cast(value, dtype), carrier(dtype))

  def sizes(self, shape: Sequence[Any]) -> str:
    """Name of an int64 vector of sizes, which may be symbolic."""
    if not any(map(export.is_symbolic_dim, shape)):
      return self.constant(np.asarray(shape, np.int64))
    parts = [self._size(size) for size in shape]
    return self.node("Concat", parts, (len(shape),), (0,), axis=0).name

  def number(self, size: Any) -> Tensor:
    """A size as an int32 number."""
    scalar = self.node("Squeeze", [self._size(size), self.axes([0])], (), ())
    return self.cast(scalar, np.int32)

  def _size(self, size: Any) -> str:
    """Name of an int64 vector of one size."""
    if not export.is_symbolic_dim(size):
      return self.axes([size])
    first = self.inputs[0]
    for more in range(-_MORE, _MORE + 1):
      times, rest = divmod(size - more, first.shape[0])
      if isinstance(times, int) and rest == 0:
        break
    else:
      raise UnsupportedError(f"the size {size}, no multiple of the batch")
    name = self.node("Shape", [first.name], (1,), (0,), start=0, end=1).name
    name = self.node("Mul", [name, self.axes([times])], (1,), (0,)).name
    return self.node("Add", [name, self.axes([more])], (1,), (0,)).name
