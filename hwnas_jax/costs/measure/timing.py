"""Times operations and networks on JAX's default device.

One call of one operation measures dispatch. An operation is therefore timed
as the slope over the length of a chain: one compiled loop that applies it, at
two lengths. What an edge of a cell runs is added into a sum there, as the edge
does. Every iteration changes one element of the input by a term of the output,
too small to change its value, so that iterations depend on each other and
nothing leaves the loop. Samples of different operations are interleaved, so
slow spells of a shared machine fall on all of them.
"""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from hwnas_jax.core.compile import ahead, jit
from hwnas_jax.core.types import Array, Genotype, Params
from hwnas_jax.costs.table import Entry
from hwnas_jax.nets.models import make_network
from hwnas_jax.nets.ops import Module, make_op
from hwnas_jax.spaces.custom import OUTSIDE
from hwnas_jax.spaces.mobile import SKIPS
from hwnas_jax.spaces.spec import Site, Spec

FIXED_OPS = (
  "stem_conv_3x3",
  "stem_imagenet",
  "relu_conv_1x1",
  "factorized_reduce",
  "residual_block",
  "classifier",
  "norm_classifier",
  "stem_3x3",
  "stem_3x3_relu6",
  "mb_k3",
  "mb_k3_relu6",
  "head_1x1",
  "head_1x1_relu6",
  "hidden",
  "hidden_relu6",
)
GROUP = 16  # sites compiled, timed and handed on together
DIFFERENCE_MS = 8.0  # at least, between the lengths: far above timer and jitter
MAX_LENGTH = 2**16
STEADY_MS = 5.0  # of calls of a network to warm up, and again to time
RETRIES = 3  # of a site whose median slope is not above zero

_Name = TypeVar("_Name", bound=Hashable)


@functools.cache
def is_free(site: Site) -> bool:
  """Whether nothing runs there: `none`, or a layer that gives its input."""
  if site.program:
    module = make_op(site, "eval")
    shape = (1, site.height, site.width, site.channels_in)
    example = jax.ShapeDtypeStruct(shape, jnp.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), example)
    return not jax.make_jaxpr(module.apply)(variables, example).eqns
  return site.op == "none" or (site.op in SKIPS and site.keeps_shape)


def adds(site: Site) -> bool:
  """Whether what it gives is added into a sum, as on an edge of a cell.

  A fixed site's is not, nor a layer's of a chain or of a user's model.
  """
  layer = site.op in SKIPS or site.op.startswith("mb_")
  return not (layer or site.program or is_fixed(site))


def measure_sites(
  sites: Sequence[Site],
  batch_size: int,
  *,
  repeats: int,
  done: Mapping[str, Entry],
  on_group: Callable[[list[Entry]], None],
) -> list[Entry]:
  """Measures every site that is not done yet.

  Args:
    sites: what to measure; what `is_free` is not timed.
    batch_size: images a call.
    repeats: samples a site.
    done: entries measured before, by site key.
    on_group: called with the new entries whenever a group of sites is done.

  Returns:
    The entries of `sites`, in their order.

  Raises:
    ValueError: the machine is too busy to time a site.
  """
  entries = dict(done)
  todo = [site for site in sites if site.key not in done]
  for start in range(0, len(todo), GROUP):
    group = _measure_group(todo[start : start + GROUP], batch_size, repeats)
    entries.update({entry.site.key: entry for entry in group})
    on_group(group)
  return [entries[site.key] for site in sites]


def measure_networks(
  networks: Mapping[str, Callable[[], Any]], repeats: int
) -> dict[str, dict[str, float]]:
  """Times whole networks, interleaved, each as it runs call after call.

  Another network leaves nothing of one's weights in the caches, so that a call
  after it takes 1.4 times as long where networks take a millisecond. What is
  sampled is therefore the steady state, whatever else is measured in turn.

  Args:
    networks: by name, a call that returns arrays, as of `compile_network`.
    repeats: samples of each, after one that is not counted.

  Returns:
    By name: median_ms, iqr_ms (interquartile range), min_ms and repeats.
  """
  for run in networks.values():
    _elapsed_ms(run)
  samples = _interleave(networks, _steady_ms, repeats)
  return {
    name: {
      "median_ms": float(np.median(values)),
      "iqr_ms": _iqr(values),
      "min_ms": min(values),
      "repeats": repeats,
    }
    for name, values in samples.items()
  }


@dataclasses.dataclass(frozen=True)
class CompiledNetwork:
  """Called, it gives class logits [batch_size, num_classes].

  peak_memory_mb: arguments, outputs and temporaries, 1 MB being 1e6 bytes.
  """

  run: Callable[[], Array]
  peak_memory_mb: float

  def __call__(self) -> Array:
    """Runs it on inputs that lie on the device."""
    return self.run()


def compile_network(
  net: Spec, genotype: Genotype, batch_size: int
) -> CompiledNetwork:
  """Compiles inference of a derived network, with random weights."""
  module = make_network(net, genotype, "eval")
  variables, images = random_inputs(module, (batch_size, *net.image))
  infer = jit(lambda v, x: module.apply(v, x)[0])
  compiled = infer.lower(variables, images).compile()
  memory = compiled.memory_analysis()
  sizes = (
    memory.argument_size_in_bytes,
    memory.output_size_in_bytes,
    memory.temp_size_in_bytes,
  )
  return CompiledNetwork(lambda: compiled(variables, images), sum(sizes) / 1e6)


def compile_networks(
  net: Spec, genotypes: Mapping[_Name, Genotype], batch_size: int
) -> dict[_Name, CompiledNetwork]:
  """`compile_network` of each."""
  one = functools.partial(compile_network, net, batch_size=batch_size)
  return dict(zip(genotypes, ahead(one, genotypes.values()), strict=True))


def is_fixed(site: Site) -> bool:
  """Whether it adds into nothing: it is not on an edge, not at a choice."""
  if site.program:  # a user's own operation may have any name
    return site.op == OUTSIDE
  return site.op in FIXED_OPS


class Chain(NamedTuple):
  """A compiled loop: `run(n)` applies an operation `n * inner` times."""

  run: Callable[[int], Any]
  inner: int


def compile_chain(site: Site, batch_size: int) -> Chain:
  """Compiles the loop that a site is timed with.

  Returns:
    A chain whose `run(n)` gives the sum of all outputs of an operation that
    `adds`, and of another the last output.
  """
  module = make_op(site, "eval")
  shape = (batch_size, site.height, site.width, site.channels_in)
  variables, x = random_inputs(module, shape)
  # A GPU's loop of unknown length asks the host before each iteration.
  inner = 1 if jax.default_backend() == "cpu" else 32
  loop = functools.partial(_loop, module, adds(site), inner)
  compiled = jit(loop).lower(variables, x, np.int32(1)).compile()
  return Chain(lambda n: compiled(variables, x, np.int32(n)), inner)


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
  value = (x[first] + 1e-30 * term).reshape((1,) * x.ndim)
  return lax.dynamic_update_slice(x, value, first)


def random_inputs(
  module: Module, shape: tuple[int, ...], seed: int = 0
) -> tuple[Params, Array]:
  """Random weights, running statistics of one, and a random batch."""
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
  return jax.device_put((jax.tree.map(value, variables), x))


def _measure_group(
  sites: Sequence[Site], batch_size: int, repeats: int
) -> list[Entry]:
  timed = [site for site in sites if not is_free(site)]
  chains = list(ahead(lambda s: compile_chain(s, batch_size), timed))
  lengths = {c: _long_length(c) for c in chains}
  slopes = _slopes(dict(zip(timed, chains, strict=True)), lengths, repeats)
  return [entry_of(site, slopes.get(site, [])) for site in sites]


def _slopes(
  chains: Mapping[Site, Chain], lengths: Mapping[Chain, int], repeats: int
) -> dict[Site, list[float]]:
  """Samples a site in ms, again where a busy machine gave a median <= 0."""
  slopes: dict[Site, list[float]] = {}
  todo = dict(chains)
  for _ in range(1 + RETRIES):
    slopes |= _interleave(
      todo, lambda chain: _slope_ms(chain, lengths[chain]), repeats
    )
    todo = {s: c for s, c in chains.items() if np.median(slopes[s]) <= 0}
    if not todo:
      return slopes
  raise ValueError(
    f"{', '.join(site.key for site in todo)}: timed {1 + RETRIES} times, never"
    " longer than nothing: another process takes this machine's time. What was"
    " measured before is kept; stop it and give the same command again."
  )


def entry_of(site: Site, samples_ms: list[float]) -> Entry:
  """A table's row of a site; without samples it costs nothing."""
  kind = "fixed" if is_fixed(site) else "op"
  if not samples_ms:
    return Entry(site, kind, 0.0, 0.0, ())
  median = float(np.median(samples_ms))
  return Entry(site, kind, median, _iqr(samples_ms), tuple(samples_ms))


def _interleave(
  runs: Mapping[_Name, Any], sample: Callable[[Any], float], repeats: int
) -> dict[_Name, list[float]]:
  """Samples each in turn, `repeats` rounds."""
  samples: dict[_Name, list[float]] = {name: [] for name in runs}
  for _ in range(repeats):
    for name, run in runs.items():
      samples[name].append(sample(run))
  return samples


def _elapsed_ms(run: Callable[[], Any]) -> float:
  start_s = time.perf_counter()
  jax.block_until_ready(run())
  return 1e3 * (time.perf_counter() - start_s)


def _steady_ms(run: Callable[[], Any]) -> float:
  """Mean of the calls in STEADY_MS, after as long again of uncounted ones."""
  for _ in range(2):
    calls, start_s = 0, time.perf_counter()
    while not calls or time.perf_counter() - start_s < 1e-3 * STEADY_MS:
      jax.block_until_ready(run())
      calls += 1
    elapsed_ms = 1e3 * (time.perf_counter() - start_s)
  return elapsed_ms / calls


def _difference_ms(chain: Chain, length: int) -> float:
  """How much longer than a chain of length 1 one of `length` takes."""
  short_ms = _elapsed_ms(lambda: chain.run(1))
  return _elapsed_ms(lambda: chain.run(length)) - short_ms


def _slope_ms(chain: Chain, length: int) -> float:
  return _difference_ms(chain, length) / ((length - 1) * chain.inner)


def _long_length(chain: Chain) -> int:
  """The length, a power of two, whose difference is large enough."""
  length = 2
  while length < MAX_LENGTH:
    # The least of three: a hiccup must not pass for a long chain.
    if min(_difference_ms(chain, length) for _ in range(3)) >= DIFFERENCE_MS:
      break
    length *= 2
  return length


def _iqr(values: Sequence[float]) -> float:
  low, high = np.percentile(values, [25, 75])
  return float(high - low)
