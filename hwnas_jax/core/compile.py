"""jax.jit as this package uses it."""

from collections.abc import Callable
from typing import Any

import jax


def jit(function: Callable[..., Any], **options: Any) -> Any:
  """`jax.jit`, with optimisation barriers that hold on CPU too.

  XLA:CPU removes barriers before it fuses, and then computes a node of a cell
  again in every operation that reads it: networks run up to twice as long,
  and no table predicts them (BUILD_NOTES.md). Other backends keep barriers.
  """
  if jax.default_backend() == "cpu":
    keep = {"xla_disable_hlo_passes": "cse_barrier_expander"}
    options["compiler_options"] = keep
  return jax.jit(function, **options)
