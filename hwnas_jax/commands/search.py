"""Searches, derives, trains and reports: the main job's command line.

python -m hwnas_jax.main --config=digits --workdir=runs/digits
python -m hwnas_jax.main --config=methods/fbnet:smoke --config.seed=1
python -m hwnas_jax.main --list

After a stop the same command goes on where it was.
"""

import difflib
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from absl import app, flags
from ml_collections import ConfigDict, config_flags

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
  flags.DEFINE_bool(
    "distributed",
    False,
    "joins the processes of a SLURM, Open MPI, Cloud TPU or GKE job",
  )
  flags.DEFINE_string(
    "coordinator", "", "joins processes: HOST:PORT of the first one"
  )
  flags.DEFINE_integer("num_processes", None, "with --coordinator: how many")
  flags.DEFINE_integer(
    "process_id", None, "with --coordinator: which this is, from 0"
  )


def arguments(argv: Sequence[str]) -> list[str]:
  """Arguments in which --config names a file, not a packaged config.

  The config is loaded too: absl would report its errors with a traceback.

  Raises:
    FileNotFoundError: there is no such config.
    ValueError: it has no such variant, or no such field.
  """
  named, previous, config = [], "", None
  for argument in argv:
    flag, equals, spec = argument.partition("=")
    if previous in _FLAGS:
      argument = spec = _by_path(argument)
      config = files.load(spec)
    elif flag in _FLAGS and equals:
      spec = _by_path(spec)
      argument, config = f"{flag}={spec}", files.load(spec)
    previous = argument
    named.append(argument)
  for argument in named if config is not None else ():
    flag, _, path = argument.partition("=")[0].partition(".")
    if flag.replace("-no", "-") in _FLAGS and path:
      _require_field(config, path)
  return named


_FLAGS = ("--config", "-config")


def _by_path(spec: str) -> str:
  name, colon, variant = spec.partition(":")
  return f"{files.locate(name)}{colon}{variant}"


def _require_field(config: ConfigDict, path: str) -> None:
  """Raises ValueError where a config has no such field."""
  part: Any = config
  for name in path.split("."):
    fields = list(part) if isinstance(part, ConfigDict) else []
    if name not in fields:
      close = difflib.get_close_matches(name, fields, 1)
      raise ValueError(
        f"there is no field config.{path}"
        + (f": did you mean {close[0]} in place of {name}?" if close else "")
      )
    part = part[name]


def main(argv: Sequence[str]) -> None:
  """Runs or resumes the job; prints who wins, and the report's path."""
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
  from hwnas_jax.core import hosts
  from hwnas_jax.io.cache import use_compilation_cache

  place = values.coordinator, values.num_processes, values.process_id
  if values.distributed or place != ("", None, None):
    hosts.join(*place)
  use_compilation_cache()
  spec = config_flags.get_config_filename(values["config"])
  name = pathlib.Path(spec.partition(":")[0]).stem
  run = hw.search(
    values.config,
    workdir=values.workdir or f"runs/{name}",
    command=shlex.join(["python", "-m", "hwnas_jax.main", *sys.argv[1:]]),
  )
  if not hosts.leads():
    return
  print(run.verdict)
  print(f"report: {run.report.path}")
