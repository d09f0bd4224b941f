"""Answers a latency budget by a network of a finished run.

python -m hwnas_jax.query --workdir=runs/digits --latency=0.6x
python -m hwnas_jax.query --workdir=runs/digits --latency=5ms --params=1e5 \
    --table=tables/phone.json --train
python -m hwnas_jax.query --workdir=runs/digits --latency=0.6x --finalists=3 \
    --finalist_steps=200

Prints the certificate, which says how the network was chosen and how its
latency is known. Its architecture and weights are in queries/<id>/ of the run
folder.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from absl import app, flags

if TYPE_CHECKING:
  import hwnas_jax as hw

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
  flags.DEFINE_list(
    "judges",
    [],
    "who ranks the candidates, such as synflow,jacov; by default the committee"
    " of hwnas_jax.derive.committee.COMMITTEES",
  )
  flags.DEFINE_integer(
    "finalists", None, "trains so many candidates briefly and takes the best"
  )
  flags.DEFINE_integer(
    "finalist_steps",
    None,
    "steps of such a training; of more than 8 finalists the worse half is"
    " dropped after half as many",
  )
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
  answer = hw.load(values.workdir).query(
    values.latency,
    table=table,
    train=values.train,
    judges=values.judges,
    finalists=_finalists(values.finalists, values.finalist_steps),
    **limits,
  )
  print((answer.folder.path / "certificate.json").read_text())
  print(f"network: {answer.folder.path}")


def _finalists(count: int | None, steps: int | None) -> "hw.Finalists | None":
  """Both flags, or neither.

  Raises:
    ValueError: one of the two is missing.
  """
  import hwnas_jax as hw

  if count is None and steps is None:
    return None
  if count is None or steps is None:
    raise ValueError("--finalists and --finalist_steps need each other")
  return hw.Finalists(count, steps)
