"""Features of an architecture: the table's ms by type of operation."""

from collections.abc import Mapping

import numpy as np

from hwnas_jax.core.types import ABSENT, Genotype
from hwnas_jax.spaces.spec import Spec

BASE = "base"
# "live": a compiler removes what does not reach the output (XLA, TensorRT).
# "all": every operation that is chosen runs (eager PyTorch).
LIVENESS = ("live", "all")


def features(
  net: Spec, costs: Mapping[str, float], genotype: Genotype, liveness: str
) -> np.ndarray:
  """Splits the table's sum for an architecture by type of operation.

  Args:
    net: the network's space.
    costs: ms by the key of a site.
    genotype: one operation a choice, or ABSENT.
    liveness: one of LIVENESS.

  Returns:
    float64[1 + O] in ms: the base, then each operation in the order of
    `net.ops`. A fixed site whose operation is also a choice counts there.

  Raises:
    KeyError: a site has no cost; the message is its key.
    ValueError: there is no such liveness.
  """
  if liveness not in LIVENESS:
    raise ValueError(f"liveness is {liveness!r}, expected {LIVENESS}")
  space = net.space()
  parts = np.zeros(1 + len(space.ops))
  for site in space.fixed:
    column = 1 + space.ops.index(site.op) if site.op in space.ops else 0
    parts[column] += costs[site.key]
  live = net.live(genotype)
  for row, op, runs in zip(space.sites, genotype, live, strict=True):
    if op != ABSENT and (runs or liveness == "all"):
      parts[1 + op] += sum(costs[site.key] for site in row[op])
  return parts
