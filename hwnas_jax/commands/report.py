"""Writes a run's report.html again: one file, which can be moved anywhere.

python -m hwnas_jax.report --workdir=runs/digits
"""

from collections.abc import Sequence

from absl import app, flags

flags.disclaim_key_flags()


def define_flags() -> None:
  """Defines the command's flags; call it once a process."""
  flags.DEFINE_string("workdir", None, "run folder", required=True)


def main(argv: Sequence[str]) -> None:
  """Writes the report and prints its path."""
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
  import hwnas_jax as hw

  print(hw.load(flags.FLAGS.workdir).write_report().path)
