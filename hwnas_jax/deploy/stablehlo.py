"""StableHLO by jax.export: a program for JAX, or another compiler, to run."""

from collections.abc import Callable, Sequence
from typing import Any

from jax import export

from hwnas_jax.core.compile import jit

# What runs fast differs (nets.conv): trace each inside `tracing_for(name)`.
TARGETS = {"cpu": ("cpu",), "gpu": ("cuda", "tpu")}


def to_stablehlo(
  function: Callable[..., Any], arguments: Sequence[Any], target: str
) -> bytes:
  """Serialises a function for the platforms of a target.

  Args:
    function: of pytrees of arrays.
    arguments: what it takes; shapes are enough.
    target: one of TARGETS.

  Returns:
    What `jax.export.deserialize` reads. On CPU call it by
    `core.compile.jit(exported.call)`: plain `jax.jit` drops the barriers.
  """
  platforms = TARGETS[target]
  exported = export.export(jit(function), platforms=platforms)(*arguments)
  return bytes(exported.serialize())
