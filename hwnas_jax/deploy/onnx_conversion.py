"""What a conversion of a JAX primitive is, and what several of them use."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from hwnas_jax.deploy.onnx_graph import Graph, Tensor, Value

Params = Mapping[str, Any]  # of a primitive, as JAX names them


class Conversion(Protocol):
  """Adds to a graph what one JAX primitive does."""

  def __call__(
    self, graph: Graph, values: list[Value], params: Params, outs: Sequence[Any]
  ) -> list[Value]:
    """Returns the values of the primitive's outputs.

    Args:
      graph: gets the nodes.
      values: of the inputs; at least one is a Tensor.
      params: of the primitive.
      outs: abstract values of the outputs, with their `shape` and `dtype`.

    Raises:
      UnsupportedError: this use of the primitive has no conversion.
    """


class UnsupportedError(Exception):
  """A use of a known primitive that has no conversion."""


def demand(holds: bool, otherwise: str) -> None:
  """Raises UnsupportedError with the text `otherwise` unless `holds`."""
  if not holds:
    raise UnsupportedError(otherwise)


def tensor(value: Value) -> Tensor:
  """The value as a Tensor.

  Raises:
    UnsupportedError: it is a constant.
  """
  if not isinstance(value, Tensor):
    raise UnsupportedError("its main argument is a constant")
  return value


def largest(values: Sequence[Value]) -> Tensor:
  """The Tensor with most elements."""
  tensors = [v for v in values if isinstance(v, Tensor)]
  return max(tensors, key=lambda t: math.prod(t.shape))


def int64(values: Sequence[int]) -> np.ndarray:
  """Sizes or axes as ONNX takes them."""
  return np.asarray(values, np.int64)
