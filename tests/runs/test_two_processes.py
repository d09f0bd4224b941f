"""Two processes search and train together, are killed, and go on."""

import os
import signal
import socket
import subprocess
import time

import numpy as np
import pytest
from jobs import LONG_S, ROOT, command, environment, here

from hwnas_jax.core import hosts
from hwnas_jax.io import checkpoint
from hwnas_jax.io.run_folder import RunFolder

pytestmark = pytest.mark.slow
JOB = (
  "--config=digits:smoke",
  "--config.devices=2",
  "--config.cost.name=macs",
  "--config.space.num_cells=1",
  "--config.search.num_steps=12",
  "--config.search.steps_per_dispatch=4",
  "--config.search.checkpoint_every=4",
  "--config.derive.num_scales=1",
  "--config.derive.num_random=0",
  "--config.train.num_steps=4",
  "--config.train.steps_per_dispatch=4",
  "--config.train.checkpoint_every=4",
)


def free_port():
  with socket.socket() as one:
    one.bind(("localhost", 0))
    return one.getsockname()[1]


def start(folder):
  """Both processes, the leader first; their output is in files."""
  port = free_port()
  processes = []
  for index in (0, 1):
    place = (
      f"--coordinator=localhost:{port}",
      "--num_processes=2",
      f"--process_id={index}",
      f"--workdir={folder}",
    )
    with (folder.parent / f"log{index}").open("a") as log:
      processes.append(
        subprocess.Popen(
          command("main", *JOB, *place),
          cwd=ROOT,
          env=environment() | {"JAX_NUM_CPU_DEVICES": "1"},
          stdout=log,
          stderr=log,
        )
      )
  return processes


def text(folder, index):
  return (folder.parent / f"log{index}").read_text()


def await_step(processes, folder, step):
  give_up_s = time.monotonic() + LONG_S
  while step not in checkpoint.steps(folder / "search" / "checkpoints"):
    assert all(p.poll() is None for p in processes), text(folder, 0)
    assert time.monotonic() < give_up_s
    time.sleep(0.01)


def weights(folder):
  last = folder / "search" / "checkpoints" / "12"
  leaves = checkpoint._read(last)[0]
  return np.concatenate(
    [np.ravel(x) for path, x in leaves.items() if path.startswith("weights/")]
  )


def test_two_processes_are_killed_and_go_on(tmp_path):
  together, alone = tmp_path / "together", tmp_path / "alone"
  processes = start(together)
  await_step(processes, together, 4)
  for process in processes:
    process.kill()
    assert process.wait(LONG_S) == -signal.SIGKILL
  assert not (together / "family.json").exists()
  processes = start(together)
  codes = [process.wait(LONG_S) for process in processes]
  assert codes == [0, 0], text(together, 0) + text(together, 1)
  here("search", *JOB, f"--workdir={alone}")
  expected = weights(alone)
  found = weights(together)
  assert np.abs(found - expected).max() <= 1e-3 * np.abs(expected).max()
  families = [RunFolder(folder).family() for folder in (together, alone)]
  assert families[0].members[0].architecture == (
    families[1].members[0].architecture
  )
  assert families[0].members[0].accuracies.test_accuracy is not None
  assert "report:" in text(together, 0)
  assert "report:" not in text(together, 1)  # the leader alone prints


def test_a_signal_to_one_process_stops_both(tmp_path):
  folder = tmp_path / "run"
  processes = start(folder)
  await_step(processes, folder, 4)
  os.kill(processes[1].pid, signal.SIGTERM)
  codes = [process.wait(LONG_S) for process in processes]
  assert codes == [143, 143], text(folder, 0) + text(folder, 1)
  assert "search: stopped at step" in text(folder, 0)


def test_one_process_needs_nobody():
  """What the functions do where there is no other process."""
  assert hosts.leads() and not hosts.several()
  assert hosts.after_leader(lambda: 3) == 3
  assert hosts.largest(15) == 15
  assert hosts.tell({"a": 1}) is None


@pytest.mark.parametrize(
  "given", [("host:1", None, None), ("", 2, 0), ("host:1", 2, None)]
)
def test_half_an_address_is_refused(given):
  with pytest.raises(ValueError, match="belong together"):
    hosts.join(*given)
