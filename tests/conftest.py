"""Strict settings for every test: CPU, key reuse and rank promotion checked."""

import os
import pathlib

os.environ.setdefault(
  "JAX_COMPILATION_CACHE_DIR",
  str(pathlib.Path.home() / ".cache" / "hwnas_jax" / "xla-tests"),
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Most of the tests' time is compilation; this takes a third off it.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import jax
from absl import flags

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)


def pytest_configure() -> None:
  flags.FLAGS.mark_as_parsed()
