"""What a conversion of a JAX primitive is, and what several of them use."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from jax import export

from hwnas_jax.deploy.onnx_graph import Graph, Value
from hwnas_jax.deploy.onnx_types import UnsupportedError


class Use(NamedTuple):
  """One use of a primitive.

  params: as JAX names them.
  ins, outs: abstract values, with their `shape` and `dtype`.
  """

  params: Mapping[str, Any]
  ins: Sequence[Any]
  outs: Sequence[Any]


class Conversion(Protocol):
  """Adds to a graph what one JAX primitive does."""

  def __call__(
    self, graph: Graph, values: list[Value], use: Use
  ) -> list[Value]:
    """Returns the values of the primitive's outputs.

    Args:
      graph: gets the nodes.
      values: of the inputs.
      use: the parameters and the types.

    Raises:
      UnsupportedError: this use of the primitive has no conversion.
    """


# A primitive written in simpler ones: (use, *values) -> what it returns.
Rewrite = Callable[..., Any]


def demand(holds: bool, otherwise: str) -> None:
  """Raises UnsupportedError with the text `otherwise` unless `holds`."""
  if not holds:
    raise UnsupportedError(otherwise)


def whole(size: Any) -> bool:
  """Whether a size is a number, which does not depend on the batch."""
  return not export.is_symbolic_dim(size)


def int64(values: Sequence[Any]) -> np.ndarray:
  """Sizes or axes as ONNX takes them.

  Raises:
    UnsupportedError: one depends on the batch.
  """
  for value in values:
    demand(whole(value), f"the size {value}, which depends on the batch")
  return np.asarray(values, np.int64)
