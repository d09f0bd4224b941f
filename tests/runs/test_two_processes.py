"""Two processes search and train together, are killed, and one goes on."""

import os
import shutil
import signal
import socket
import subprocess
import time

import numpy as np
import pytest
from jobs import LONG_S, ROOT, command, environment, here
from toy_config import config
from toy_files import as_records

from hwnas_jax.core import devices, hosts
from hwnas_jax.io import checkpoint
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.runs import together

pytestmark = pytest.mark.slow
JOB = (
  "--config=digits:smoke",
  "--config.devices=2",
  "--config.cost.name=macs",
  "--config.space.num_cells=1",
  "--config.space.num_nodes=1",
  "--config.search.num_steps=12",
  "--config.search.steps_per_dispatch=4",
  "--config.search.checkpoint_every=4",
  "--config.derive.num_scales=1",
  "--config.derive.num_random=0",
  "--config.train.num_steps=8",
  "--config.train.steps_per_dispatch=4",
  "--config.train.checkpoint_every=4",
)


def free_port():
  with socket.socket() as one:
    one.bind(("localhost", 0))
    return one.getsockname()[1]


def start(folder, *more):
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
          command("main", *JOB, *place, *more),
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


def differ(folder, other):
  """The largest difference of two searches' weights, over the largest one."""
  found, expected = weights(folder), weights(other)
  return np.abs(found - expected).max() / np.abs(expected).max()


def test_two_processes_are_killed_and_one_goes_on(tmp_path):
  """On one device, with the result of one process; and the other way round."""
  both, alone = tmp_path / "both", tmp_path / "alone"
  processes = start(both)
  await_step(processes, both, 4)
  for process in processes:  # both before either sees that the other is gone
    process.kill()
  assert [p.wait(LONG_S) for p in processes] == 2 * [-signal.SIGKILL]
  assert not (both / "family.json").exists()
  for folder in (alone, both):
    here("search", *JOB, "--config.devices=1", f"--workdir={folder}")
  assert differ(both, alone) <= 1e-3
  members = [RunFolder(f).family().members[0] for f in (both, alone)]
  assert members[0].architecture == members[1].architecture
  # As if the one had been killed in its search and in its training.
  (trained,) = both.glob("networks/*/weights.npz")
  for path in (
    trained,
    trained.with_name("metrics.json"),
    both / "family.json",
  ):
    path.unlink()
  for folder, last in ((both / "search", 12), (trained.parent, 8)):
    shutil.rmtree(folder / "checkpoints" / str(last))
  kept = trained.parent / "checkpoints" / "4"
  made = kept.stat().st_mtime_ns
  codes = [p.wait(LONG_S) for p in start(both)]
  assert codes == [0, 0], text(both, 0) + text(both, 1)
  assert differ(both, alone) <= 1e-3
  assert kept.stat().st_mtime_ns == made  # the training went on from there
  again = RunFolder(both).family().members[0]
  assert again.architecture == members[1].architecture
  assert again.accuracies.test_accuracy is not None
  assert "report:" in text(both, 0)
  assert "report:" not in text(both, 1)  # the leader alone prints
  # Another run's folder: the leader refuses, and does not leave the other.
  codes = [p.wait(LONG_S) for p in start(both, "--config.seed=5")]
  assert codes == [1, 1]
  assert "the first process stopped:" in text(both, 1)


def test_streamed_data_and_a_table_that_the_leader_measures(tmp_path):
  """A signal to one stops both; they go on, and end as one process does."""
  more = (
    f"--config.data.name={as_records(tmp_path / 'files')}",
    "--config.data.in_memory_gib=0",
    "--config.data.workers=0",
    "--config.data.resize=8x8",
    "--config.search.batch_size=8",
    "--config.train.batch_size=8",
    "--config.cost.name=latency",
    "--config.latency.repeats=3",
    "--config.latency.calibration_networks=0",
  )
  both, alone = tmp_path / "both", tmp_path / "alone"
  processes = start(both, *more)
  await_step(processes, both, 4)
  os.kill(processes[1].pid, signal.SIGTERM)
  codes = [process.wait(LONG_S) for process in processes]
  assert codes == [143, 143], text(both, 0) + text(both, 1)
  assert "search: stopped at step" in text(both, 0)
  codes = [process.wait(LONG_S) for process in start(both, *more)]
  assert codes == [0, 0], text(both, 0) + text(both, 1)
  table = f"--config.latency.table={both / 'table.json'}"
  here("search", *JOB, *more, table, f"--workdir={alone}")
  assert differ(both, alone) <= 1e-3
  accuracies = [
    RunFolder(folder).family().members[0].accuracies for folder in (both, alone)
  ]
  assert accuracies[0].test_accuracy == pytest.approx(
    accuracies[1].test_accuracy, abs=1 / 21
  )
  # A finished run again: nothing is done anew.
  rows = (both / "search/metrics.jsonl").read_bytes()
  codes = [process.wait(LONG_S) for process in start(both, *more)]
  assert codes == [0, 0], text(both, 0) + text(both, 1)
  assert (both / "search/metrics.jsonl").read_bytes() == rows


def test_what_one_process_alone_can_do_is_refused(monkeypatch):
  monkeypatch.setattr(hosts, "several", lambda: True)
  for fields, message in (
    ({"train__teacher": True}, "train.teacher=True needs one process"),
    ({"train__inherit": True}, "train.inherit=True needs one process"),
    ({"train__side_by_side": True}, "side_by_side=True needs one process"),
    ({"quality__name": "surrogate"}, "quality.name=surrogate needs one"),
  ):
    with pytest.raises(ValueError, match=message):
      together.require(config(**fields))
  with pytest.raises(ValueError, match="set it to 8"):
    devices.require(1)


def test_one_process_needs_nobody():
  """What the functions do where there is no other process."""
  assert hosts.leads() and not hosts.several()
  assert hosts.largest(15) == 15
  assert hosts.same([1, None]) == [1, None]


@pytest.mark.parametrize(
  ("given", "message"),
  [
    (("host:1", None, None), "belong together"),
    (("", 2, 0), "belong together"),
    (("host:1", 2, None), "belong together"),
    (("host", 2, 0), "must be HOST:PORT, got 'host'"),
    (("host:1", 2, 2), "must be 0 to 1 of 2 processes, got 2"),
  ],
)
def test_an_address_that_cannot_be_is_refused(given, message):
  with pytest.raises(ValueError, match=message):
    hosts.join(*given)


def test_a_job_that_is_not_there_is_named(monkeypatch):
  def initialize():
    raise ValueError("coordinator_address should be defined.")

  monkeypatch.setattr(hosts, "_initialize", initialize)
  with pytest.raises(ValueError, match="JAX found no SLURM, .* give --coord"):
    hosts.join("", None, None)
