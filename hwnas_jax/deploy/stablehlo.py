"""Exports a function as StableHLO, for JAX or another compiler to run."""

from collections.abc import Callable, Sequence
from typing import Any

from jax import export

from hwnas_jax.core.compile import jit

# Platforms of each target. Convolutions differ: see `nets.conv.tracing_for`.
TARGETS = {"cpu": ("cpu",), "gpu": ("cuda", "tpu")}


def to_stablehlo(
  function: Callable[..., Any], arguments: Sequence[Any], target: str
) -> bytes:
  """Serialises a function for the platforms of a target.

  Args:
    function: of pytrees of arrays. Call `to_stablehlo` inside
      `nets.conv.tracing_for(target)`.
    arguments: arrays or ShapeDtypeStructs.
    target: a key of TARGETS.

  Returns:
    Bytes for `jax.export.deserialize`. On CPU run what it gives by
    `core.compile.jit(exported.call)`; `jax.jit` drops the barriers.

  Raises:
    KeyError: there is no such target.
  """
  platforms = TARGETS[target]
  exported = export.export(jit(function), platforms=platforms)(*arguments)
  return bytes(exported.serialize())
