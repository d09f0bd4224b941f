"""Types of values: those that ONNX computes in, and what it cannot do."""

from typing import Any

import numpy as np

# By JAX's type, the one that carries its values in ONNX.
CARRIERS = {
  "bool": "bool",
  "float32": "float32",
  "int32": "int32",
  "bfloat16": "float32",
  "float16": "float32",
  "int8": "int32",
  "int16": "int32",
  "uint8": "int32",
  "uint16": "int32",
  "uint32": "int64",
}
# TensorProto.DataType of ONNX.
_NUMBERS = {
  "float32": 1,
  "uint8": 2,
  "int8": 3,
  "uint16": 4,
  "int16": 5,
  "int32": 6,
  "int64": 7,
  "bool": 9,
  "float16": 10,
  "uint32": 12,
  "bfloat16": 16,
}


class UnsupportedError(Exception):
  """A use of a primitive that has no conversion."""


def carrier(dtype: Any) -> np.dtype:
  """The type in which ONNX computes values of a JAX type.

  A value of another type than its carrier is rounded to it after every
  operation, as JAX rounds.

  Raises:
    UnsupportedError: there is none, as for complex numbers.
  """
  name = getattr(dtype, "name", str(dtype))
  if name not in CARRIERS:
    raise UnsupportedError(f"values of type {name}")
  return np.dtype(CARRIERS[name])


def number(dtype: Any) -> int:
  """ONNX's number of a type."""
  return _NUMBERS[np.dtype(dtype).name]
