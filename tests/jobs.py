"""Starts the main job in a process of its own."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]
LONG_S = 600


def command(workdir, *flags, config="digits.py:smoke"):
  return [
    sys.executable,
    "-m",
    "hwnas_jax.main",
    f"--config=configs/{config}",
    f"--workdir={workdir}",
    *flags,
  ]


def run(*arguments, timeout=LONG_S, **keywords):
  return subprocess.run(
    command(*arguments, **keywords),
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=timeout,
  )
