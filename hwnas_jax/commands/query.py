"""Answers a latency budget by a network of a finished run.

python -m hwnas_jax.query --workdir=runs/digits --latency=0.6x
python -m hwnas_jax.query --workdir=runs/digits --latency=5ms --params=1e5 \
    --table=tables/phone.json --train

Prints the certificate, which says how the latency is known. The network's
architecture and weights are in queries/<id>/ of the run folder.
"""

from collections.abc import Sequence
from typing import Any

from absl import app, flags

flags.disclaim_key_flags()

_LIMITS = {
  "params": "parameters at most",
  "macs": "multiply-accumulates at most",
  "memory_mb": "peak memory of the compiled network at most, in MB",
}


def define_flags() -> None:
  """Defines the command's flags; call it once a process."""
  flags.DEFINE_string(
    "workdir", None, "run folder of a finished run", required=True
  )
  flags.DEFINE_string(
    "latency",
    None,
    "budget: 5ms, or 0.4x or 60% of the largest architecture's latency",
    required=True,
  )
  flags.DEFINE_string(
    "table", None, "latency table of the device; by default the run's"
  )
  for name, meaning in _LIMITS.items():
    flags.DEFINE_float(name, None, meaning)
  flags.DEFINE_bool("train", False, "trains the network by the run's recipe")


def main(argv: Sequence[str]) -> None:
  """Prints the certificate and the network's folder."""
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
  # After the flags, so that `--help` and a wrong flag answer at once.
  import hwnas_jax as hw
  from hwnas_jax.io.cache import use_compilation_cache

  use_compilation_cache()
  values = flags.FLAGS
  limits: dict[str, Any] = {
    name: values[name].value
    for name in _LIMITS
    if values[name].value is not None
  }
  table = hw.Table.load(values.table) if values.table else None
  run = hw.load(values.workdir)
  answer = run.query(values.latency, table=table, train=values.train, **limits)
  print((answer.folder.path / "certificate.json").read_text())
  print(f"network: {answer.folder.path}")
