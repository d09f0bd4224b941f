"""Named random streams: one seed, one key for each purpose."""

import zlib

import jax

from hwnas_jax.core.types import Array


def stream(seed: int, name: str) -> Array:
  """Returns the typed key of stream `name`, a function of both alone."""
  return jax.random.fold_in(
    jax.random.key(seed), zlib.crc32(name.encode()) & 0x7FFFFFFF
  )
