"""Named random streams: from one seed, a key for each purpose."""

import zlib

import jax

from hwnas_jax.core.types import Array


def stream(seed: int, name: str) -> Array:
  """Returns the typed PRNG key of the stream `name` under a seed."""
  return jax.random.fold_in(
    jax.random.key(seed), zlib.crc32(name.encode()) & 0x7FFFFFFF
  )
