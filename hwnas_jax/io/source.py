"""Runs a Python file that is not installed: a config, or a user's model."""

import contextlib
import importlib.util
import pathlib
import sys
import types
from collections.abc import Iterator

BLAME = "This was raised by your own code:"


@contextlib.contextmanager
def blaming(where: object) -> Iterator[None]:
  """Notes on an exception whose code it came from, unless a line says enough.

  Args:
    where: a file, or what names a model.
  """
  try:
    yield
  except (ValueError, OSError):
    raise
  except Exception as error:
    error.add_note(f"{BLAME} {where}")
    raise


def run_file(path: pathlib.Path) -> types.ModuleType:
  """The module of a Python file.

  It is in `sys.modules` under its full path, where dataclasses look up their
  annotations.

  Raises:
    ValueError: it is not Python; the message names the line.
  """
  name = str(path.resolve())
  spec = importlib.util.spec_from_file_location(name, path)
  assert spec is not None and spec.loader is not None
  module = importlib.util.module_from_spec(spec)
  sys.modules[name] = module
  try:
    with blaming(path):
      spec.loader.exec_module(module)
  except SyntaxError as error:
    raise ValueError(
      f"{error.filename}:{error.lineno}: {error.msg}: it is not Python"
    ) from error
  return module
