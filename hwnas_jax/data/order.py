"""The order of the examples on the host: that of `arrays.batch_indices`.

Plain integers, one example at a time, because the processes that read files ask
for one at a time and should not wait for JAX.
"""

import dataclasses
import math
from collections.abc import Sequence

_MASK = 0xFFFFFFFF


@dataclasses.dataclass(frozen=True)
class Order:
  """Which example is used where: a function of (key, step) alone.

  Attributes:
    round_keys: The eight 32-bit keys of each epoch, of `arrays.round_keys`.
    num_examples: N.
    batch_size: B, at most N; an epoch is N // B steps.
  """

  round_keys: Sequence[Sequence[int]]
  num_examples: int
  batch_size: int

  def __getitem__(self, position: int) -> int:
    """The example in [0, N) at position `step * B + place in the batch`."""
    step, place = divmod(position, self.batch_size)
    epoch, batch = divmod(step, self.num_examples // self.batch_size)
    keys, side = self.round_keys[epoch], math.isqrt(self.num_examples - 1) + 1
    x = _feistel(keys, batch * self.batch_size + place, side)
    while x >= self.num_examples:
      x = _feistel(keys, x, side)
    return x


def _feistel(keys: Sequence[int], x: int, side: int) -> int:
  left, right = divmod(x, side)
  for key in keys:
    left, right = right, (left + _hash(right ^ key) % side) % side
  return left * side + right


def _hash(x: int) -> int:
  """The 32-bit finaliser of MurmurHash3 (Appleby, public domain)."""
  x = ((x ^ (x >> 16)) * 0x85EBCA6B) & _MASK
  x = ((x ^ (x >> 13)) * 0xC2B2AE35) & _MASK
  return x ^ (x >> 16)
