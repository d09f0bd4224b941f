"""Compiling as this package does it: `jit`, repeated steps, compiling ahead."""

import concurrent.futures
from collections.abc import Callable, Generator, Iterable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

_Item = TypeVar("_Item")
_Program = TypeVar("_Program")

# (state, *inputs) -> (the next state, metrics): all are pytrees of arrays.
Step = Callable[..., tuple[Any, Any]]


def jit(function: Callable[..., Any], **options: Any) -> Any:
  """`jax.jit`, with optimisation barriers that hold on CPU too.

  XLA:CPU removes barriers before it fuses. Then every operation that reads a
  node of a cell computes that node again: networks take up to twice as long,
  and no latency table predicts them (docs/decisions.md#barriers-on-cpu). Other
  backends keep barriers.

  Args:
    function: what to compile.
    **options: of `jax.jit`.
  """
  if jax.default_backend() == "cpu":
    keep = {"xla_disable_hlo_passes": "cse_barrier_expander"}
    options["compiler_options"] = keep
  return jax.jit(function, **options)


def repeat(step: Step, count: int) -> Step:
  """A step that makes `count` steps in one call; its metrics are their means.

  Every step reads the same inputs, such as the training split.
  """

  def steps(state: Any, *inputs: Any) -> tuple[Any, Any]:
    state, metrics = lax.scan(
      lambda carry, _: step(carry, *inputs), state, None, count
    )
    return state, jax.tree.map(jnp.mean, metrics)

  return steps


def ahead(
  build: Callable[[_Item], _Program], items: Iterable[_Item]
) -> Generator[_Program, None, None]:
  """Yields `build(item)` for each item, in order, building the next meanwhile.

  Two threads build. XLA compiles a program mostly on one core, and may take
  GiB of memory for it. Closing the generator cancels what has not begun.
  """
  pool = concurrent.futures.ThreadPoolExecutor(2)
  try:
    yield from pool.map(build, items)
  finally:
    pool.shutdown(cancel_futures=True)
