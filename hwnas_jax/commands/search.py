"""Runs a whole search: latency table, search, networks, training, report.

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
    "NAME of a packaged config, or FILE.py, then [:variant]; --config.x.y=z"
    " sets the field x.y",
  )
  flags.DEFINE_string(
    "workdir", "", "run folder; by default runs/<name of the config>"
  )
  flags.DEFINE_bool(
    "list", False, "prints what every field with few values may be, and exits"
  )


def arguments(argv: Sequence[str]) -> list[str]:
  """The arguments, with the file of a packaged config in place of its name.

  Raises:
    FileNotFoundError: --config names no config.
  """
  paths = []
  previous = ""
  for argument in argv:
    flag, equals, spec = argument.partition("=")
    if flag in ("--config", "-config") and equals:
      argument = f"{flag}={_path(spec)}"
    elif previous in ("--config", "-config"):
      argument = _path(argument)
    previous = argument
    paths.append(argument)
  return paths


def _path(spec: str) -> str:
  name, colon, variant = spec.partition(":")
  return f"{files.locate(name)}{colon}{variant}"


def main(argv: Sequence[str]) -> None:
  """Runs or resumes a search; prints the report's path."""
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
    logging.warning("%s; the same command resumes the run", stopped)
    sys.exit(143)
  print(f"report: {run.report.path}")
