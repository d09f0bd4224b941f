"""The reach of a space on a device: its latencies, before any search.

Latencies are sums of table entries, as the search's penalty reads them:
operations that do not reach the output count too. Architectures are the
genotypes that a rule of `spaces.rules` can give; some compute the same
function.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.spaces.rules import MASKS
from hwnas_jax.spaces.spec import Space

NUM_RANDOM = 1000


class Reach(NamedTuple):
  """Latencies in ms with the base, and the number of architectures.

  typical_ms: median of `NUM_RANDOM` random architectures.
  """

  smallest_ms: float
  typical_ms: float
  largest_ms: float
  log10_size: float

  def __str__(self) -> str:
    return (
      f"reachable: {self.smallest_ms:.3g} ms smallest, {self.typical_ms:.3g} ms"
      f" typical, {self.largest_ms:.3g} ms largest of 10^{self.log10_size:.1f}"
      " architectures"
    )


def _allowed(space: Space, rule: str) -> np.ndarray:
  """bool[E, O]: the operations that a kept choice may have."""
  banned = "none" if rule == "top_k" else None
  return space.allowed() & [op != banned for op in space.ops]


def _group_sizes(space: Space, rule: str) -> list[tuple[np.ndarray, int]]:
  """(rows, how many of them are kept) by group; all of them under argmax."""
  group = np.asarray(space.group)
  rows = [np.flatnonzero(group == g) for g in np.unique(group)]
  keep = space.keep if rule == "top_k" else len(group)
  return [(r, min(keep, len(r))) for r in rows]


def bounds_ms(
  space: Space, reference: np.ndarray, base_ms: float, rule: str
) -> tuple[float, float]:
  """(smallest, largest) latency of an architecture, exactly.

  A sum is least if each kept choice has its fastest operation and each group
  keeps its fastest choices; likewise for the largest.

  Args:
    space: the space.
    reference: [E, O] ms, summed over the sites of a choice.
    base_ms: what every architecture pays.
    rule: a name in `rules.MASKS`.
  """
  costs, allowed = np.asarray(reference, np.float64), _allowed(space, rule)
  fastest = np.where(allowed, costs, np.inf).min(1)
  slowest = np.where(allowed, costs, -np.inf).max(1)
  smallest, largest = base_ms, base_ms
  for rows, keep in _group_sizes(space, rule):
    smallest += np.sort(fastest[rows])[:keep].sum()
    largest += np.sort(slowest[rows])[::-1][:keep].sum()
  return float(smallest), float(largest)


def log10_size(space: Space, rule: str) -> float:
  """log10 of the number of architectures.

  A group of n choices that keeps k gives C(n, k) * O^k of them: DARTS's two
  cells of 14 edges and 7 operations 10^18.04 (Liu et al. 2019, section 2.1).
  """
  num_ops = _allowed(space, rule).sum(1)
  return sum(
    # Where a group keeps some of its choices, they all have the same number.
    math.log10(math.comb(len(rows), keep))
    + keep * float(np.log10(num_ops[rows]).mean())
    for rows, keep in _group_sizes(space, rule)
  )


def typical_ms(
  space: Space, reference: np.ndarray, base_ms: float, rule: str
) -> float:
  """Median latency of `NUM_RANDOM` architectures, all equally likely."""
  shape = (NUM_RANDOM, *space.shape)
  # By symmetry no choice and no operation is more likely to have the largest.
  logits = np.random.default_rng(0).standard_normal(shape, np.float32)
  logits = np.where(space.allowed(), logits, -np.inf)
  masks = jax.vmap(lambda rows: MASKS[rule](space, rows))(jnp.asarray(logits))
  latencies = (np.asarray(masks) * np.asarray(reference)).sum((1, 2))
  return float(base_ms + np.median(latencies))


def reach(
  space: Space, reference: np.ndarray, base_ms: float, rule: str
) -> Reach:
  """The reach of a space; see `bounds_ms` for the arguments."""
  smallest, largest = bounds_ms(space, reference, base_ms, rule)
  middle = typical_ms(space, reference, base_ms, rule)
  return Reach(smallest, middle, largest, log10_size(space, rule))
