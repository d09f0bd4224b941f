"""jax.jit as this package uses it."""

import concurrent.futures
from collections.abc import Callable, Generator, Iterable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


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


def repeat(step: Callable[..., Any], count: int) -> Callable[..., Any]:
  """`count` steps in one dispatch; metrics are their means.

  step: (state, *inputs) -> (state, metrics).
  """

  def steps(state: Any, *inputs: Any) -> tuple[Any, Any]:
    state, metrics = lax.scan(
      lambda carry, _: step(carry, *inputs), state, None, count
    )
    return state, jax.tree.map(jnp.mean, metrics)

  return steps


def ahead(
  compiled: Callable[[Any], Any], things: Iterable[Any]
) -> Generator[Any, None, None]:
  """`compiled` of each thing, in order; the next ones are on their way.

  Two at a time: XLA compiles a program on one core for the most part, and may
  take GiB for it.
  """
  pool = concurrent.futures.ThreadPoolExecutor(2)
  try:
    yield from pool.map(compiled, things)
  finally:
    pool.shutdown(cancel_futures=True)
