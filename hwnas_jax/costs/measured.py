"""Measured networks, the input of calibration and predictors."""

from collections.abc import Sequence
from typing import NamedTuple

from hwnas_jax.core.types import Genotype


class Measured(NamedTuple):
  """N architectures and the median latencies of their networks.

  genotypes: [N] one operation a choice, or ABSENT.
  latencies_ms: [N] above 0.
  """

  genotypes: Sequence[Genotype]
  latencies_ms: Sequence[float]

  def split(self, count: int) -> tuple["Measured", "Measured"]:
    """(the first `count`, the others)."""
    first = Measured(self.genotypes[:count], self.latencies_ms[:count])
    return first, Measured(self.genotypes[count:], self.latencies_ms[count:])
