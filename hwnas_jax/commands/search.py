"""Searches, derives, trains and reports: the main job's command line.

python -m hwnas_jax.main --config=digits --workdir=runs/digits
python -m hwnas_jax.main --config=methods/fbnet:smoke --config.seed=1
python -m hwnas_jax.main --list

After a stop the same command goes on where it was.
"""

import shlex
import sys
from collections.abc import Sequence

from absl import app, flags, logging
from ml_collections import config_flags

from hwnas_jax.config import files

flags.disclaim_key_flags()


def define_flags() -> None:
  """Defines the command's flags; call it once a process."""
  config_flags.DEFINE_config_file(
    "config",
    None,
    "NAME or FILE.py, then [:variant]; fields are set by --config.x.y=z",
  )
  flags.DEFINE_string(
    "workdir", "", "run folder; by default runs/<config's name>"
  )
  flags.DEFINE_bool(
    "list", False, "prints every component that a config may name"
  )


def arguments(argv: Sequence[str]) -> list[str]:
  """Arguments in which --config names a file, not a packaged config.

  Raises:
    FileNotFoundError: there is no such config.
    ValueError: it has no such variant.
  """
  named, previous = [], ""
  for argument in argv:
    flag, equals, spec = argument.partition("=")
    if previous in _FLAGS:
      argument = _by_path(argument)
    elif flag in _FLAGS and equals:
      argument = f"{flag}={_by_path(spec)}"
    previous = argument
    named.append(argument)
  return named


_FLAGS = ("--config", "-config")


def _by_path(spec: str) -> str:
  name, colon, variant = spec.partition(":")
  path = f"{files.locate(name)}{colon}{variant}"
  files.load(path)  # here, because absl prints its error with a traceback
  return path


def main(argv: Sequence[str]) -> None:
  """Runs or resumes the job; prints the report's path."""
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
  values = flags.FLAGS
  if values.list:
    from hwnas_jax.config.listing import listing

    print(listing())
    return
  if values.config is None:
    raise ValueError("give --config=NAME or --config=FILE.py, or --list")
  # After the flags, so that `--help` and a wrong flag answer at once.
  import pathlib

  import hwnas_jax as hw
  from hwnas_jax.io.cache import use_compilation_cache
  from hwnas_jax.io.loop import Stopped

  use_compilation_cache()
  spec = config_flags.get_config_filename(values["config"])
  name = pathlib.Path(spec.partition(":")[0]).stem
  try:
    run = hw.search(
      values.config,
      workdir=values.workdir or f"runs/{name}",
      command=shlex.join(["python", "-m", "hwnas_jax.main", *sys.argv[1:]]),
    )
  except Stopped as stopped:
    logging.warning("%s; the same command goes on from there", stopped)
    sys.exit(143)
  print(f"report: {run.report.path}")
