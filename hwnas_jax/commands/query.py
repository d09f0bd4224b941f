"""Asks a finished run for the network of a budget.

python -m hwnas_jax.query --workdir=runs/digits --latency=0.6x
python -m hwnas_jax.query --workdir=runs/digits --latency=5ms --params=1e5 \
    --table=tables/phone.json --train

Prints the certificate; the network is in the run's queries/<id>/.
"""

import sys
from collections.abc import Sequence

from absl import app, flags, logging

_WORKDIR = flags.DEFINE_string(
  "workdir", None, "folder of a finished run", required=True
)
_LATENCY = flags.DEFINE_string(
  "latency",
  None,
  "5ms, or 0.4x or 60% of the largest architecture's",
  required=True,
)
_TABLE = flags.DEFINE_string(
  "table", None, "latency table of the device; by default the run's own"
)
_LIMITS = {
  "params": flags.DEFINE_float("params", None, "parameters at most"),
  "macs": flags.DEFINE_float("macs", None, "multiply-accumulates at most"),
  "memory_mb": flags.DEFINE_float(
    "memory_mb", None, "peak memory at most, of the compiled network"
  ),
}
_TRAIN = flags.DEFINE_bool(
  "train", False, "train the network by the run's recipe"
)


def _main(argv: Sequence[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
  # After the flags, so that `--help` and a wrong flag answer at once.
  from hwnas_jax.costs import table as tables
  from hwnas_jax.io.cache import use_compilation_cache
  from hwnas_jax.runs import family as families
  from hwnas_jax.runs import training

  use_compilation_cache()
  logging.set_verbosity(logging.WARNING)
  limits = {n: f.value for n, f in _LIMITS.items() if f.value is not None}
  try:
    table = tables.load(_TABLE.value) if _TABLE.value else None
    family = families.load(_WORKDIR.value)
    answer = family.query(_LATENCY.value, table=table, limits=limits)
    if _TRAIN.value:
      training.train(
        family.config,
        family.folder,
        family.dataset,
        family.derived,
        [answer.genotype],
      )
    folder = families.write(family, answer)
  except (ValueError, FileNotFoundError) as error:
    sys.exit(f"query: {error}")
  print((folder / "certificate.json").read_text())
  print(f"network: {folder}")


if __name__ == "__main__":
  app.run(_main)
