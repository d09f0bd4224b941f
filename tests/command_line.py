"""Runs commands: in this process, which is fast, or in one of their own."""

import importlib
import os
import subprocess
import sys
from unittest import mock

from absl import flags
from absl.testing import flagsaver
from shared import ROOT

from hwnas_jax import commands


def run(name: str, *arguments: str) -> None:
  """A command as `commands.start` runs it, but without absl's `app.run`.

  Wrong usage raises app.UsageError. Its flags exist while it runs.
  """
  command = importlib.import_module(f"hwnas_jax.commands.{name}")
  values = flags.FLAGS
  before = set(values)
  command.define_flags()
  try:
    with mock.patch.object(sys, "argv", [name, *arguments]):
      with flagsaver.flagsaver(), commands._one_line(name):
        change = getattr(command, "arguments", list)
        command.main(values(change(sys.argv)))
  finally:
    values.remove_flag_values(set(values) - before)


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
