"""A main job that is killed goes on where it was."""

import os
import re
import signal
import subprocess
import time

import pytest
from jobs import LONG_S, ROOT, command, environment, here

from hwnas_jax.io import checkpoint, readers
from hwnas_jax.io.run_folder import RunFolder

pytestmark = pytest.mark.slow
SEARCH_ONLY = (
  "--config=digits:smoke",
  "--config.space.num_cells=1",
  "--config.search.num_steps=100",
  # Slow enough that a signal does not come too late.
  "--config.search.batch_size=96",
  "--config.search.steps_per_dispatch=10",
  "--config.search.checkpoint_every=10",
  "--config.train.num_steps=0",
  "--config.derive.num_scales=1",
  "--config.derive.num_random=1",
)


def await_step(process, folder, step):
  """Waits until a process has saved `step`."""
  give_up_s = time.monotonic() + LONG_S
  while not (folder / "search" / "checkpoints" / str(step)).exists():
    assert process.poll() is None, process.stderr.read()
    assert time.monotonic() < give_up_s, f"step {step} was never saved"
    time.sleep(0.005)


def interrupt(arguments, folder, step, number):
  """Starts a run, sends a signal once `step` is saved: (rc, stderr)."""
  with subprocess.Popen(
    command("main", *arguments),
    cwd=ROOT,
    env=environment(),
    stderr=subprocess.PIPE,
    stdout=subprocess.DEVNULL,
  ) as process:
    await_step(process, folder, step)
    os.kill(process.pid, number)
    _, errors = process.communicate(timeout=LONG_S)
  return process.returncode, errors.decode()


def digest(folder):
  """Of all that the search carries after its last step."""
  last = folder / "search" / "checkpoints" / "100"
  return checkpoint._read(last)[1]["digest"]


def test_a_killed_run_goes_on_bit_for_bit(finished_run, tmp_path):
  whole, torn = tmp_path / "whole", tmp_path / "torn"
  table = f"--config.latency.table={finished_run / 'runs/digits/table.json'}"
  here("search", *SEARCH_ONLY, table, f"--workdir={whole}")
  again = *SEARCH_ONLY, table, f"--workdir={torn}"
  code, _ = interrupt(again, torn, 10, signal.SIGKILL)
  assert code == -signal.SIGKILL
  assert 10 <= checkpoint.steps(torn / "search" / "checkpoints")[-1] < 100
  assert not (torn / "family.json").exists()
  code, errors = interrupt(again, torn, 50, signal.SIGTERM)
  assert code == 143
  assert re.search(r"stopped at step \d+ of 100; the same command", errors)
  here("search", *again)
  assert digest(torn) == digest(whole)
  rows = [
    [
      {name: value for name, value in row.items() if name != "unix_time_s"}
      for row in readers.read_jsonl(folder / "search" / "metrics.jsonl")
    ]
    for folder in (whole, torn)
  ]
  assert rows[0] == rows[1] and len(rows[0]) == 10
  architectures = [
    [member.architecture for member in RunFolder(folder).family().members]
    for folder in (whole, torn)
  ]
  assert architectures[0] == architectures[1]
