"""Named streams: stable, and apart from each other."""

import jax
import numpy as np

from hwnas_jax.core.rng import stream

NAMES = ("", "weights", "weights ", "controller", "search", "Gewürz")


def bits(seed, name):
  return tuple(jax.random.key_data(stream(seed, name)).tolist())


def test_a_stream_is_a_typed_key():
  key = stream(0, "weights")
  assert jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key)
  assert key.shape == ()


def test_a_stream_is_a_function_of_seed_and_name():
  assert bits(3, "weights") == bits(3, "weights")
  assert len({bits(s, n) for s in range(3) for n in NAMES}) == 3 * len(NAMES)


def test_streams_stay_what_they_were():
  # Changing them changes the result of every run that names a seed.
  assert bits(0, "weights") == (295106320, 71624244)
  assert bits(7, "search") == (3336575594, 212016612)
  assert bits(7, "noise") == (1098984548, 342790718)


def test_streams_are_not_correlated():
  draws = [jax.random.normal(stream(0, name), (2000,)) for name in NAMES]
  correlation = np.corrcoef(np.stack(draws)) - np.eye(len(NAMES))
  assert np.abs(correlation).max() < 0.1
