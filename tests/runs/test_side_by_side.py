"""Networks that train at the same time, on a device each."""

import os
import signal
import threading

import jax
import msgspec
import pytest
from toy_config import small

from hwnas_jax.config import problem as problems
from hwnas_jax.core import devices
from hwnas_jax.data import embedded
from hwnas_jax.io import loop
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.io.stop import StopSignal
from hwnas_jax.runs import training

pytestmark = pytest.mark.slow

CONFIG = small(
  space__num_cells=1,
  derive__rule="argmax",
  data__pad=0,
  devices=2,
  train__batch_size=16,
  train__num_steps=4,
  train__steps_per_dispatch=2,
  train__checkpoint_every=2,
  train__side_by_side=True,
)
ALONE = msgspec.structs.replace(
  CONFIG,
  devices=1,
  train=msgspec.structs.replace(CONFIG.train, side_by_side=False),
)
NET = problems.make_nets(CONFIG).derived
GENOTYPES = [(op,) * len(NET.space().choices) for op in range(3)]


def train(folder, config=CONFIG):
  """{file: bytes} of the trained weights."""
  dataset = embedded.digits()
  training.train(config, RunFolder(folder), dataset, NET, GENOTYPES)
  return weights(folder)


def weights(folder):
  return {
    path.parent.name: path.read_bytes()
    for path in folder.rglob("networks/*/weights.npz")
  }


@pytest.fixture(scope="module")
def one_after_another(tmp_path_factory):
  return train(tmp_path_factory.mktemp("alone"), ALONE)


def test_each_has_a_device_and_the_bits_of_a_training_alone(
  tmp_path, monkeypatch, one_after_another
):
  used, run = {}, loop.run

  def watched(job, dispatch, state, shared=None):
    where = jax.tree.leaves(state.params)[0].devices()
    used[job.label] = (threading.get_ident(), *where)
    return run(job, dispatch, state, shared)

  monkeypatch.setattr(loop, "run", watched)
  assert train(tmp_path) == one_after_another
  assert len(used) == 3
  assert {device for _, device in used.values()} == set(jax.devices()[:2])
  assert len({thread for thread, _ in used.values()}) == 2


def test_a_signal_stops_all_and_the_same_call_goes_on(
  tmp_path, monkeypatch, one_after_another
):
  """It comes in a save; each makes a last dispatch, and no other begins."""
  both, save = threading.Barrier(2, timeout=60), loop.checkpoint.save
  heard = threading.Event()

  class Heard(StopSignal):
    def _request(self, number, frame):
      super()._request(number, frame)
      heard.set()

  def stopping(directory, step, *rest):
    if step == 2:
      if both.wait() == 0:
        os.kill(os.getpid(), signal.SIGTERM)
      assert heard.wait(60)
    return save(directory, step, *rest)

  monkeypatch.setattr(loop, "StopSignal", Heard)
  monkeypatch.setattr(loop.checkpoint, "save", stopping)
  with pytest.raises(loop.Stopped, match="stopped at step 4 of 4"):
    train(tmp_path)
  assert weights(tmp_path) == {}
  assert len([*tmp_path.rglob("checkpoints/4")]) == 2
  monkeypatch.setattr(loop.checkpoint, "save", save)
  assert train(tmp_path) == one_after_another


def test_where_one_fails_the_others_save_and_stop(tmp_path, monkeypatch):
  failed, save = threading.Event(), loop.checkpoint.save

  def failing(directory, *rest):
    if not failed.is_set() and threading.current_thread().name.endswith("_0"):
      failed.set()
      raise OSError("the disk is full")
    return save(directory, *rest)

  monkeypatch.setattr(loop.checkpoint, "save", failing)
  with pytest.raises(OSError, match="the disk is full"):
    train(tmp_path)
  assert len([*tmp_path.rglob("checkpoints/*/state")]) >= 1


@pytest.mark.parametrize(
  ("before", "after"), [(CONFIG, ALONE), (ALONE, CONFIG)], ids=["to", "from"]
)
def test_a_training_goes_on_in_either_way(
  tmp_path, monkeypatch, one_after_another, before, after
):
  """To one after another on one device, and from it."""
  save = loop.checkpoint.save

  def failing(directory, step, *rest):
    if step == 4:
      raise OSError("the disk is full")
    return save(directory, step, *rest)

  monkeypatch.setattr(loop.checkpoint, "save", failing)
  with pytest.raises(OSError, match="the disk is full"):
    train(tmp_path, before)
  begun = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("checkpoints/2")}
  assert begun and weights(tmp_path) == {}
  monkeypatch.setattr(loop.checkpoint, "save", save)
  assert train(tmp_path, after) == one_after_another
  assert begun == {p: p.stat().st_mtime_ns for p in begun}  # not begun anew


def test_arrays_are_placed_on_a_certain_device():
  second = jax.devices()[1]
  assert devices.place(jax.numpy.ones(2), second).devices() == {second}
  options = devices.everywhere(second)
  assert jax.jit(lambda x: x + 1, **options)(1.0).devices() == {second}
