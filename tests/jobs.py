"""Starts commands: each in a process of its own, or in this one."""

import contextlib
import importlib
import os
import pathlib
import subprocess
import sys
import warnings
from collections.abc import Iterator
from unittest import mock

import jax
from absl import flags
from absl.testing import flagsaver

from hwnas_jax import commands

ROOT = pathlib.Path(__file__).parents[1]
LONG_S = 600


def command(name: str, *arguments: str) -> list[str]:
  """`python -m hwnas_jax.NAME` and its arguments."""
  return [sys.executable, "-m", f"hwnas_jax.{name}", *arguments]


def environment() -> dict[str, str]:
  """In which any folder's process imports this checkout."""
  path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
  return {**os.environ, "PYTHONPATH": path}


def run(
  name: str,
  *arguments: str,
  cwd: pathlib.Path = ROOT,
  timeout_s: float = LONG_S,
) -> subprocess.CompletedProcess[str]:
  """Runs a command as its users do."""
  return subprocess.run(
    command(name, *arguments),
    cwd=cwd,
    env=environment(),
    capture_output=True,
    text=True,
    timeout=timeout_s,
  )


def process(*arguments: str) -> subprocess.CompletedProcess[str]:
  """Python in a process of its own, on whatever device there is."""
  environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": ""}
  return subprocess.run(
    [sys.executable, *arguments],
    cwd=ROOT,
    env=environment,
    capture_output=True,
    text=True,
    timeout=60,
  )


def here(name: str, *arguments: str) -> None:
  """Runs a command in this process, without what an import takes.

  `name` is a module of `commands`. Its flags are parsed as ever, and gone
  afterwards, so that the next command can define its own.

  Raises:
    SystemExit: a person's mistake, in one line.
    flags.Error: a flag is unknown, missing or out of range.
  """
  module = importlib.import_module(f"hwnas_jax.commands.{name}")
  argv = [f"hwnas_jax.{name}", *arguments]
  with (
    flagsaver.flagsaver(),
    mock.patch.object(sys, "argv", argv),
    _jax_config(),
    warnings.catch_warnings(),
    commands._one_line(name),
  ):
    # ml_collections imports a config by what Python has deprecated.
    warnings.filterwarnings("ignore", "the load_module", DeprecationWarning)
    module.define_flags()
    if hasattr(module, "arguments"):
      argv = module.arguments(argv)
    module.main(flags.FLAGS(argv))


@contextlib.contextmanager
def _jax_config() -> Iterator[None]:
  """Takes back where a command keeps compiled programs."""
  names = (
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
  )
  before = {name: getattr(jax.config, name) for name in names}
  try:
    yield
  finally:
    for name, value in before.items():
      jax.config.update(name, value)
