"""Runs a Python file that is not installed: a config, or a user's model."""

import importlib.util
import pathlib
import sys
import types


def run_file(path: pathlib.Path) -> types.ModuleType:
  """The module of a Python file.

  It is in `sys.modules` under its full path, where dataclasses look up their
  annotations.
  """
  name = str(path.resolve())
  spec = importlib.util.spec_from_file_location(name, path)
  assert spec is not None and spec.loader is not None
  module = importlib.util.module_from_spec(spec)
  sys.modules[name] = module
  spec.loader.exec_module(module)
  return module
