"""Measures the latency table of a search space on this device.

  python -m hwnas_jax.profile --backend=cpu --config=configs/cifar.py

writes tables/<fingerprint>.json (schema: costs/table.py). Stopped, the same
command goes on where it was; a table that lacks nothing is left alone.
"""

import os
import sys

if __name__ == "__main__" and not __package__:
  # Run as a file, this module takes the place of the standard `profile`.
  sys.exit("run it as a module: python -m hwnas_jax.profile")

import jax
from absl import app, flags, logging

from hwnas_jax import build
from hwnas_jax import config as configuration
from hwnas_jax.costs import table as tables
from hwnas_jax.costs.measure import REPEATS, profile_space
from hwnas_jax.costs.table import LatencyTable
from hwnas_jax.io import versions
from hwnas_jax.spaces.spec import Space

_BACKEND = flags.DEFINE_enum(
  "backend",
  None,
  ["cpu", "gpu", "tpu"],
  "what to measure on; by default what JAX finds first",
)
_CONFIG = flags.DEFINE_string(
  "config", "configs/cifar.py", "file of the search space, as main takes it"
)
_OUT = flags.DEFINE_string(
  "out", None, "table to write; tables/<fingerprint>.json by default"
)
_REPEATS = flags.DEFINE_integer(
  "repeats", REPEATS, "samples of each site", lower_bound=3
)


def use_backend(name: str) -> None:
  """Makes `name` (cpu, gpu or tpu) JAX's default; call it before other uses.

  Raises:
    RuntimeError: it is not there; the message names what is.
  """
  if name == "cpu":
    # Where there is a GPU too, it would stay the default.
    jax.config.update("jax_platforms", "cpu")
  try:
    found = jax.default_backend()
  except (RuntimeError, AssertionError) as error:
    raise RuntimeError(f"JAX has no usable backend: {error}") from error
  if found != name:
    raise RuntimeError(
      f"no {name} here, JAX finds {found} ({jax.devices()[0].device_kind}): "
      f"measure with --backend={found}, or install JAX for {name} and see "
      "that JAX_PLATFORMS allows it"
    )


def summary(table: LatencyTable, space: Space) -> str:
  """A few lines for people: dearest and cheapest sites, and the base."""
  keys = {site.key for site in space.unique_sites()}
  rows = sorted(
    (e for e in table.entries if e.site.key in keys and e.samples_ms),
    key=lambda e: -e.latency_ms,
  )
  shown = rows if len(rows) <= 8 else [*rows[:5], None, *rows[-3:]]
  lines = [
    f"  {e.latency_ms:9.4f} ms +- {e.spread_ms:.4f}  {e.site.key}"
    if e
    else "  ..."
    for e in shown
  ]
  base = f"{tables.base_ms(table, space):.3f} ms: stem, preprocess, classifier"
  head = f"{table.fingerprint}, batch {table.batch_size}: {len(rows)} sites"
  return "\n".join([head, *lines, f"  base {base}"])


def main(argv: list[str]) -> None:
  """Measures the space of --config on --backend."""
  if len(argv) > 1:
    raise app.UsageError(f"unknown argument: {argv[1]}")
  # JAX tells of every backend that it looked for in vain.
  logging.set_verbosity(logging.WARNING)
  try:
    if _BACKEND.value:
      use_backend(_BACKEND.value)
    config = configuration.load(_CONFIG.value)
    space = build.make_nets(config)[1].space()
    name = versions.fingerprint_id(versions.device_fingerprint())
    out = _OUT.value or f"tables/{name}.json"
    existed = os.path.exists(out)
    table = profile_space(space, config.latency.batch_size, out, _REPEATS.value)
  except (RuntimeError, ValueError, FileNotFoundError) as error:
    sys.exit(f"profile: {error}")
  print(summary(table, space))
  print(f"{out}" + (": delete it to measure again" if existed else ""))


if __name__ == "__main__":
  app.run(main)
