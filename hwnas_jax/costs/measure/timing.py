"""Measures operations and networks on JAX's default device.

An operation is the slope of a chain (`costs.measure.chains`), a network is
measured in its steady state. Samples of different operations, or networks, are
interleaved, so that a slow spell of a shared machine falls on all of them.
"""

import dataclasses
import functools
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from jax.stages import Compiled

from hwnas_jax.core.compile import ahead, jit
from hwnas_jax.core.types import Array, Genotype
from hwnas_jax.costs.measure import chains
from hwnas_jax.costs.measure.chains import (
  Chain,
  compile_chain,
  kind_of,
  random_inputs,
)
from hwnas_jax.costs.measure.meter import LATENCY, Meter, Run
from hwnas_jax.costs.table import Entry, site_fields
from hwnas_jax.io.records import Measurement
from hwnas_jax.nets.models import make_network
from hwnas_jax.spaces.spec import Site, Spec

GROUP = 16  # sites compiled, timed and handed on together
STEADY_MS = 5.0  # of calls of a network to warm up, and again to measure
RETRIES = 3  # of a site whose median slope is not above zero

_Name = TypeVar("_Name", bound=Hashable)
_Run = TypeVar("_Run")
_Run_contra = TypeVar("_Run_contra", contravariant=True)


class TakeSample(Protocol[_Run_contra]):
  """Takes one sample of a chain, or of a network."""

  def __call__(self, run: _Run_contra, /) -> float:
    """Returns the sample, in the meter's unit."""


def measure_sites(
  sites: Sequence[Site],
  batch_size: int,
  repeats: int,
  meter: Meter = LATENCY,
  dtype: str = "float32",
) -> Iterator[list[Entry]]:
  """Measures sites, a group at a time.

  Args:
    sites: what to measure; a site of the kind `free` is not timed.
    batch_size: images a call.
    repeats: samples of each site.
    meter: what to measure.
    dtype: of images and weights.

  Yields:
    The entries of each group, in the order of `sites`.

  Raises:
    ValueError: the machine is too busy to time a site.
  """
  for start in range(0, len(sites), GROUP):
    group = sites[start : start + GROUP]
    timed = [site for site in group if kind_of(site) != "free"]
    compiled = list(ahead(lambda s: compile_chain(s, batch_size, dtype), timed))
    slopes = _slopes(dict(zip(timed, compiled, strict=True)), repeats, meter)
    yield [entry_of(site, slopes.get(site, [])) for site in group]


def measure_networks(
  networks: Mapping[_Name, Run], repeats: int, meter: Meter = LATENCY
) -> dict[_Name, Measurement]:
  """Measures whole networks, interleaved, each in its steady state.

  Right after another network's call the caches hold none of a network's
  weights, and a call of about a millisecond takes 1.4 times as long. A sample
  is therefore a mean of repeated calls, after as many that are not counted.

  Args:
    networks: by name, a call that returns arrays, as of `compile_network`.
    repeats: samples of each, after one call that is not counted.
    meter: what to measure.
  """
  for run in networks.values():
    meter.sample(run, 0.0)
  samples = _interleave(networks, lambda run: _steady(run, meter), repeats)
  return {
    name: Measurement(
      median_ms=float(np.median(values)),
      iqr_ms=_iqr(values),
      min_ms=min(values),
      repeats=repeats,
    )
    for name, values in samples.items()
  }


@dataclasses.dataclass(frozen=True)
class CompiledNetwork:
  """Called, it gives class logits [batch_size, num_classes].

  run: the call, on inputs that lie on the device.
  program: (variables, images) -> logits, for weights of other values.
  peak_memory_mb: arguments, outputs and temporaries, 1 MB being 1e6 bytes.
  """

  run: Run
  program: Compiled
  peak_memory_mb: float

  def __call__(self) -> Array:
    """Runs it on inputs that lie on the device."""
    return self.run()


@functools.lru_cache(maxsize=8)  # what a query has measured, it evaluates
def compile_network(
  net: Spec, genotype: Genotype, batch_size: int, dtype: str = "float32"
) -> CompiledNetwork:
  """Compiles inference of a derived network, with random weights.

  Args:
    net: the networks' dimensions.
    genotype: the architecture.
    batch_size: images a call.
    dtype: of images and weights (`core.precision`).
  """
  module = make_network(net, genotype, "eval")
  shape = (batch_size, *net.image)
  variables, images = random_inputs(module, shape, dtype=dtype)
  program = jit(lambda v, x: module.apply(v, x)[0])
  compiled = program.lower(variables, images).compile()
  memory: Any = compiled.memory_analysis()
  sizes = (
    memory.argument_size_in_bytes,
    memory.output_size_in_bytes,
    memory.temp_size_in_bytes,
  )
  return CompiledNetwork(
    lambda: compiled(variables, images), compiled, sum(sizes) / 1e6
  )


def compile_networks(
  net: Spec,
  genotypes: Mapping[_Name, Genotype],
  batch_size: int,
  dtype: str = "float32",
) -> dict[_Name, CompiledNetwork]:
  """`compile_network` of each."""
  one = functools.partial(
    compile_network, net, batch_size=batch_size, dtype=dtype
  )
  return dict(zip(genotypes, ahead(one, genotypes.values()), strict=True))


def entry_of(site: Site, samples_ms: Sequence[float]) -> Entry:
  """A table's entry of a site; without samples its latency is 0."""
  return Entry(
    kind="fixed" if kind_of(site) == "fixed" else "op",
    latency_ms=float(np.median(samples_ms)) if len(samples_ms) else 0.0,
    iqr_ms=_iqr(samples_ms) if len(samples_ms) else 0.0,
    samples_ms=tuple(samples_ms),
    **site_fields(site),
  )


def _slopes(
  compiled: Mapping[Site, Chain], repeats: int, meter: Meter
) -> dict[Site, list[float]]:
  """Samples each site, again where a busy machine gave a median <= 0."""
  lengths = {chain: chains.long_length(chain) for chain in compiled.values()}

  def sample(chain: Chain) -> float:
    return chains.slope(chain, lengths[chain], meter)

  slopes: dict[Site, list[float]] = {}
  todo = dict(compiled)
  for _ in range(1 + RETRIES):
    slopes |= _interleave(todo, sample, repeats)
    todo = {s: c for s, c in compiled.items() if np.median(slopes[s]) <= 0}
    if not todo:
      return slopes
  raise ValueError(
    f"{', '.join(site.key for site in todo)}: sampled {1 + RETRIES} times, the"
    " median was never above 0, so another process uses this machine. What was"
    " measured before is kept: stop that process and give the same command"
    " again."
  )


def _interleave(
  runs: Mapping[_Name, _Run], sample: TakeSample[_Run], repeats: int
) -> dict[_Name, list[float]]:
  """Samples each in turn, `repeats` rounds."""
  samples: dict[_Name, list[float]] = {name: [] for name in runs}
  for _ in range(repeats):
    for name, run in runs.items():
      samples[name].append(float(sample(run)))
  return samples


def _steady(run: Run, meter: Meter) -> float:
  """A sample over STEADY_MS of calls, after as many uncounted ms of calls."""
  meter.sample(run, STEADY_MS)
  return meter.sample(run, STEADY_MS)


def _iqr(values: Sequence[float]) -> float:
  low, high = np.percentile(values, [25, 75])
  return float(high - low)
