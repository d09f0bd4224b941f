"""The command lines: every flag and everything that is printed for a person.

A command is a module with `define_flags()` and `main(argv)`. Importing one
defines no flag, so several commands can live in one process. `start` runs one;
`hwnas_jax/main.py` and its like are its callers, one a documented
`python -m` name, and `console` is the script `hwnas-jax`.
"""

import contextlib
import importlib
import sys
from collections.abc import Iterator

from absl import app, flags, logging

# --help lists the flags of a command as those of the main module.
flags.disclaim_key_flags()

# By the name after `hwnas-jax`.
COMMANDS = {
  "search": "searches, derives, trains and reports",
  "profile": "measures the latency table of a device",
  "query": "asks a finished run for the network of a budget",
  "export": "writes a network as ONNX and StableHLO",
  "scale": "widens a network while the device takes no longer",
  "report": "writes a run's report again",
  "data": "prepares a data set",
}


def start(name: str) -> None:
  """Runs a command of COMMANDS on `sys.argv`, and exits.

  What a person can cause (a wrong flag, file or config) ends in one line and
  exit code 1; any other exception keeps its traceback.
  """
  command = importlib.import_module(f"hwnas_jax.commands.{name}")
  # absl prints the main module's docstring for --help.
  sys.modules["__main__"].__doc__ = command.__doc__
  command.define_flags()
  logging.set_verbosity(logging.WARNING)  # orbax logs every save

  def main(argv: list[str]) -> None:
    with _one_line(name):
      command.main(argv)

  argv = sys.argv
  if hasattr(command, "arguments"):
    with _one_line(name):
      argv = command.arguments(argv)
  app.run(main, argv)


@contextlib.contextmanager
def _one_line(name: str) -> Iterator[None]:
  """Ends with one line where a person's mistake raised an error."""
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
      "\n".join(["hwnas-jax COMMAND --flags; COMMAND is one of", *rows]),
      file=sys.stderr if wrong else sys.stdout,
    )
    sys.exit(f"hwnas-jax: no command {name!r}" if wrong else 0)
  del sys.argv[1]
  start(name)
