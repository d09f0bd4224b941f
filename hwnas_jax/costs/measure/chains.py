"""Chains: the compiled loops in which operations are timed.

One call of one operation measures the dispatch, not the operation. So an
operation is timed as the slope over the length of a chain: one compiled loop
that applies it, run at two lengths. On an edge of a cell the operation's
output is added into a sum; the loop does that too. Each iteration changes one
element of the input by a term of the output, too small to change its value:
iterations then depend on each other, and the compiler can take nothing out of
the loop.
"""

import functools
import math
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from hwnas_jax.core import precision
from hwnas_jax.core.compile import jit
from hwnas_jax.core.types import Array, Params
from hwnas_jax.costs.measure.meter import LATENCY, Meter
from hwnas_jax.nets.ops import Module, make_op
from hwnas_jax.spaces.spec import Site, SiteKind

DIFFERENCE_MS = 8.0  # at least, between the lengths: far above timer and jitter
MAX_LENGTH = 2**16


class RunChain(Protocol):
  """Runs a compiled loop."""

  def __call__(self, n: int, /) -> Any:
    """Applies the operation `n * inner` times; returns its arrays."""


class Chain(NamedTuple):
  """A compiled loop: `run(n)` applies an operation `n * inner` times."""

  run: RunChain
  inner: int


def kind_of(site: Site) -> SiteKind:
  """The kind of a site, by which its loop is made.

  Raises:
    ValueError: the site has none, because it was read from a file.
  """
  if site.kind is None:
    raise ValueError(
      f"{site.key} has no kind, so how to time it is not known: take the site"
      " from its space"
    )
  return site.kind


def compile_chain(site: Site, batch_size: int, dtype: str = "float32") -> Chain:
  """Compiles the loop in which a site is timed.

  Returns:
    A chain. For a site of kind `added`, `run(n)` returns the sum of all
    outputs, for any other the last output.
  """
  module = make_op(site, "eval")
  shape = (batch_size, site.height, site.width, site.channels_in)
  variables, x = random_inputs(module, shape, dtype=dtype)
  # A GPU's loop of unknown length asks the host before each iteration.
  inner = 1 if jax.default_backend() == "cpu" else 32
  loop = functools.partial(_loop, module, kind_of(site) == "added", inner)
  compiled = jit(loop).lower(variables, x, np.int32(1)).compile()
  return Chain(lambda n: compiled(variables, x, np.int32(n)), inner)


def slope(chain: Chain, length: int, meter: Meter) -> float:
  """One sample of an operation: the slope over the length of its chain.

  Args:
    chain: the operation's chain.
    length: the longer length, above 1; the shorter one is 1.
    meter: what to measure.

  Returns:
    The cost of one application, in the meter's unit; a busy machine can make
    it negative.
  """
  return _difference(chain, length, meter) / ((length - 1) * chain.inner)


def long_length(chain: Chain) -> int:
  """The least power of two that takes DIFFERENCE_MS more than length 1."""
  length = 2
  while length < MAX_LENGTH:
    # The least of three: one hiccup must not make a short chain seem long.
    times_ms = [_difference(chain, length, LATENCY) for _ in range(3)]
    if min(times_ms) >= DIFFERENCE_MS:
      break
    length *= 2
  return length


def random_inputs(
  module: Module,
  shape: tuple[int, ...],
  seed: int = 0,
  dtype: str = "float32",
) -> tuple[Params, Array]:
  """Random weights, running statistics of one, and a random batch.

  Args:
    module: the operation or network.
    shape: of the batch, NHWC.
    seed: of the draw.
    dtype: of images and weights; the statistics are float32.

  Returns:
    (variables, dtype[shape]), on the device.
  """
  rng = np.random.default_rng(seed)

  def value(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
    if len(leaf.shape) < 2:
      return np.ones(leaf.shape, np.float32)
    noise = rng.standard_normal(leaf.shape, np.float32)
    return noise * np.float32(math.sqrt(2 / math.prod(leaf.shape[:-1])))

  example = jax.ShapeDtypeStruct(shape, jnp.float32)
  variables = jax.eval_shape(module.init, jax.random.key(0), example)
  # By NumPy: JAX would compile a generator for every shape.
  x = rng.standard_normal(shape, np.float32)
  variables, x = jax.device_put((jax.tree.map(value, variables), x))
  return precision.cast_variables(variables, dtype), x.astype(dtype)


def _difference(chain: Chain, length: int, meter: Meter) -> float:
  """The cost of a chain of `length` less that of length 1."""
  short = meter.sample(lambda: chain.run(1), 0.0)
  return meter.sample(lambda: chain.run(length), 0.0) - short


def _loop(
  module: Module,
  adds: bool,
  inner: int,
  variables: Params,
  x: Array,
  n: Array,
) -> Any:
  def step(_: Array, state: tuple[Array, Any]) -> tuple[Array, Any]:
    x, total = state
    output = module.apply(variables, x)
    if adds:
      output = total + output
    return _tie(x, output), output

  outputs = jax.eval_shape(module.apply, variables, x)
  zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), outputs)
  steps = lambda _, state: lax.fori_loop(0, inner, step, state)  # noqa: E731
  return lax.fori_loop(0, n, steps, (x, zeros))[1]


def _tie(x: Array, outputs: Any) -> Array:
  """Makes x depend on the outputs without changing it, in place."""
  first = (0,) * x.ndim
  term = sum(y[(0,) * y.ndim] for y in jax.tree.leaves(outputs))
  value = (x[first] + 1e-30 * term).astype(x.dtype)
  return lax.dynamic_update_slice(x, value.reshape((1,) * x.ndim), first)
