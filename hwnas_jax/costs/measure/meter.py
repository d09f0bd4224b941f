"""Meters: quantities that can be measured of a call, such as latency.

To add a quantity, write a function that samples it and register it:

  from hwnas_jax.costs.measure.meter import METERS, Meter

  METERS["energy"] = Meter("energy", "mJ", sample_energy)
"""

import time
from typing import Any, NamedTuple, Protocol

import jax


class Run(Protocol):
  """One call of a compiled operation or network."""

  def __call__(self) -> Any:
    """Starts the call and returns its arrays, which may not be ready yet."""


class Sample(Protocol):
  """Takes one sample of a quantity."""

  def __call__(self, run: Run, least_ms: float, /) -> float:
    """Calls `run` once or more, waits for the device, and measures.

    Args:
      run: what to measure.
      least_ms: calls are repeated until they have taken this long together.

    Returns:
      The mean of a call, in the meter's unit.
    """


class Meter(NamedTuple):
  """A quantity that can be measured.

  quantity: its name, as in METERS and in a table's file.
  unit: of a sample, such as "ms".
  sample: the function that takes one sample.
  """

  quantity: str
  unit: str
  sample: Sample


def sample_latency(run: Run, least_ms: float, /) -> float:
  """Mean wall-clock time of a call, in ms."""
  calls, start_s = 0, time.perf_counter()
  while not calls or time.perf_counter() - start_s < 1e-3 * least_ms:
    jax.block_until_ready(run())
    calls += 1
  return 1e3 * (time.perf_counter() - start_s) / calls


LATENCY = Meter("latency", "ms", sample_latency)

# By quantity. A table of a quantity that is not here is refused.
METERS: dict[str, Meter] = {LATENCY.quantity: LATENCY}
