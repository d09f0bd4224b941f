"""Where compiled programs are kept between runs."""

import os

import jax

from hwnas_jax.io import paths


def use_compilation_cache() -> None:
  """Keeps compiled programs in $HWNAS_CACHE_DIR/xla for later processes.

  Without the variable they are kept in ~/.cache/hwnas_jax/xla.
  """
  home = os.environ.get("HWNAS_CACHE_DIR", "~/.cache/hwnas_jax")
  path = paths.expand(home) / "xla"
  jax.config.update("jax_compilation_cache_dir", str(path))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
