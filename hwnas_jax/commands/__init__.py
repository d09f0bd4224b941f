"""The command lines: every flag, and most of what is printed.

A command is a module with `define_flags()` and `main(argv)`. Importing one
defines no flag, so several commands can be imported in one process. `start`
runs a command. Its callers are `hwnas_jax/main.py`, `profile.py` and the like,
each a documented `python -m` name, and `console`, the script `hwnas-jax`.
"""

import contextlib
import errno
import importlib
import pathlib
import sys
from collections.abc import Iterator
from typing import NoReturn

from absl import app, flags, logging

import hwnas_jax
from hwnas_jax.io.source import BLAME
from hwnas_jax.io.stop import Interrupts, Stopped

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

  What a person causes (a wrong flag, file or config, Ctrl-C) ends in one line;
  any other exception keeps its traceback. docs/reliability.md has the codes.
  """
  _refuse_file()
  with _one_line(name), Interrupts():
    _start(name)


def _start(name: str) -> None:
  command = importlib.import_module(f"hwnas_jax.commands.{name}")
  # absl prints the main module's docstring for --help.
  sys.modules["__main__"].__doc__ = command.__doc__
  command.define_flags()
  logging.set_verbosity(logging.WARNING)  # orbax logs every save

  argv = sys.argv
  if hasattr(command, "arguments"):
    argv = command.arguments(argv)
  app.run(command.main, argv)


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
  """Turns what a person causes into one line and an exit.

  The exit codes are those of docs/reliability.md. Any other exception keeps its
  traceback, whose last line asks for a report.
  """
  try:
    yield
  except KeyboardInterrupt:
    _exit(f"{name}: interrupted; {_AGAIN}", INTERRUPTED)
  except Stopped as stopped:
    _exit(f"{name}: {stopped}; {_AGAIN}", 128 + stopped.signal)
  except OSError as error:
    sys.exit(f"{name}: {_of_system(error)}")
  except (ValueError, ModuleNotFoundError, FloatingPointError) as error:
    sys.exit(f"{name}: {error}")
  except Exception as error:
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
      reason = str(error).split("\n")[0]
      sys.exit(f"{name}: out of memory: give smaller batches ({reason})")
    notes = getattr(error, "__notes__", [])
    if not any(note.startswith(BLAME) for note in notes):
      error.add_note(_REPORT.format(version=hwnas_jax.__version__))
    raise


INTERRUPTED = 130  # 128 + SIGINT, as shells have it
_AGAIN = "the same command goes on from there"
_REPORT = (
  "This is a fault of hwnas_jax {version}, not of yours. Please report it with"
  " the lines above, the command and the config."
)
# What a person can do about an error of the system.
_REMEDIES = {
  errno.EACCES: "may not be read or written: give another path",
  errno.EEXIST: "exists: give another path",
  errno.EISDIR: "is a folder, and a file is needed: give another path",
  errno.ENOENT: "is not there: give another path",
  errno.ENOSPC: "the disk is full: free some space and try again",
  errno.ENOTDIR: "is not a folder: give another path",
  errno.EPERM: "may not be read or written: give another path",
  errno.EROFS: "is on a read-only disk: give another path",
}


def _of_system(error: OSError) -> str:
  """The path and what to do, of an error of the operating system."""
  remedy = _REMEDIES.get(error.errno or 0)
  if remedy is None:
    return str(error)
  return f"{error.filename}: {remedy}" if error.filename else remedy


def _exit(message: str, code: int) -> NoReturn:
  print(message, file=sys.stderr)
  sys.exit(code)


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
