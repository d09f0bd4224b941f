"""The command lines: every flag, and most of what is printed.

A command is a module with `define_flags()` and `main(argv)`. Importing one
defines no flag, so several commands can be imported in one process. `start`
runs a command. Its callers are `hwnas_jax/main.py`, `profile.py` and the like,
each a documented `python -m` name, and `console`, the script `hwnas-jax`.
"""

import contextlib
import importlib
import pathlib
import sys
from collections.abc import Iterator

from absl import app, flags, logging

# --help lists the flags of a command as those of the main module.
flags.disclaim_key_flags()

# {name after `hwnas-jax`: what the command does}
COMMANDS = {
  "search": "searches, derives, trains and reports",
  "profile": "measures the latency table of a device",
  "query": "answers a latency budget from a finished run",
  "export": "writes a network as ONNX and StableHLO",
  "scale": "finds a larger network that takes no more time",
  "report": "writes a run's report again",
  "data": "prepares a data set",
}


def start(name: str) -> None:
  """Runs a command of COMMANDS on `sys.argv`, and exits.

  A user's mistake (a wrong flag, file or config) ends in one line and exit
  code 1; any other exception keeps its traceback.
  """
  _refuse_file()
  command = importlib.import_module(f"hwnas_jax.commands.{name}")
  # absl prints the main module's docstring for --help.
  sys.modules["__main__"].__doc__ = command.__doc__
  command.define_flags()
  logging.set_verbosity(logging.WARNING)  # orbax logs every save

  def main(argv: list[str]) -> None:
    with _one_line(name):
      command.main(argv)

  def parse(argv: list[str]) -> list[str]:
    with _one_line(name):
      return app.parse_flags_with_usage(argv)

  argv = sys.argv
  if hasattr(command, "arguments"):
    with _one_line(name):
      argv = command.arguments(argv)
  app.run(main, argv, flags_parser=parse)


def _refuse_file() -> None:
  """Exits if a file of the package is run by its path.

  Python would then look for imports in the file's folder first, and find
  `profile.py` there in place of the standard library's `profile`.
  """
  main, package = sys.modules["__main__"], pathlib.Path(__file__).parents[1]
  path = pathlib.Path(getattr(main, "__file__", None) or "").resolve()
  if not main.__package__ and package in path.parents:
    parts = path.relative_to(package.parent).with_suffix("").parts
    module = ".".join(parts).removesuffix(".__main__")
    sys.exit(f"run it as a module: python -m {module}")


@contextlib.contextmanager
def _one_line(name: str) -> Iterator[None]:
  """Turns the errors of a user's mistake into one line and an exit."""
  try:
    yield
  except (
    ValueError,
    OSError,
    ModuleNotFoundError,
    FloatingPointError,
  ) as error:
    sys.exit(f"{name}: {error}")


def console() -> None:
  """The script `hwnas-jax`: its first argument names the command."""
  name = sys.argv[1] if len(sys.argv) > 1 else ""
  if name not in COMMANDS:
    rows = [f"  {known:8} {what}" for known, what in COMMANDS.items()]
    wrong = name not in ("", "-h", "--help", "help")
    print(
      "\n".join(["usage: hwnas-jax COMMAND --flags; COMMAND is one of", *rows]),
      file=sys.stderr if wrong else sys.stdout,
    )
    sys.exit(f"hwnas-jax: there is no command {name!r}" if wrong else 0)
  del sys.argv[1]
  start(name)
