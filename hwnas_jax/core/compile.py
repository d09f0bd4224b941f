"""Compiling as this package does it: `jit`, repeated steps, compiling ahead."""

import concurrent.futures
import functools
from collections.abc import Callable, Generator, Iterable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

_Item = TypeVar("_Item")
_Program = TypeVar("_Program")

# (state, *inputs) -> (the next state, metrics): all are pytrees of arrays.
Step = Callable[..., tuple[Any, Any]]


_YNNPACK = "xla_cpu_experimental_ynn_fusion_type"  # "": nothing is fused


def jit(
  function: Callable[..., Any], *, large: bool = False, **options: Any
) -> Any:
  """`jax.jit`, with optimisation barriers that hold on CPU too.

  XLA:CPU removes barriers before it fuses. Then every operation that reads a
  node of a cell computes that node again: networks take up to twice as long,
  and no latency table predicts them (docs/decisions.md#barriers-on-cpu). Other
  backends keep barriers.

  Args:
    function: what to compile.
    large: whether it has so many operations that XLA:CPU takes longer to load
      fusions of YNNPACK from its cache than all the rest; then it has none
      (docs/decisions.md#large-programs-on-cpu).
    **options: of `jax.jit`.
  """
  if jax.default_backend() == "cpu":
    compiler = {"xla_disable_hlo_passes": "cse_barrier_expander"}
    if large and _has_option(_YNNPACK):
      compiler[_YNNPACK] = ""
    options["compiler_options"] = compiler
  return jax.jit(function, **options)


@functools.cache
def _has_option(name: str) -> bool:
  """Whether this version of XLA knows an option."""
  try:
    jax.jit(lambda: 0, compiler_options={name: ""}).lower().compile()
  except jax.errors.JaxRuntimeError:
    return False
  return True


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
