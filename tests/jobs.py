"""Starts the main job in a process of its own."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]
LONG_S = 600
SMOKE = "digits.py:smoke"
TINY = ("--config.space.num_cells=1", "--config.derive.num_scales=2")


def command(workdir, *flags, config=SMOKE):
  return [
    sys.executable,
    "-m",
    "hwnas_jax.main",
    f"--config=configs/{config}",
    f"--workdir={workdir}",
    *(TINY if config == SMOKE else ()),
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
