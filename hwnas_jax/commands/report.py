"""Writes a run's report: python -m hwnas_jax.report --workdir=RUN."""

import argparse
import sys
from collections.abc import Sequence

from hwnas_jax.report import html


def main(argv: Sequence[str] | None = None) -> None:
  """Parses the flags and writes; says what is wrong in one line."""
  parser = argparse.ArgumentParser(
    prog="python -m hwnas_jax.report",
    description="Writes RUN/report.html, a page that needs nothing beside it.",
  )
  parser.add_argument("--workdir", required=True, help="the run folder, RUN")
  args = parser.parse_args(argv)
  try:
    path = html.write_report(args.workdir)
  except (OSError, ValueError) as error:
    sys.exit(f"report: {error}")
  print(path)


if __name__ == "__main__":
  main()
