import json
import os
import sys
import time
import types

import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.io import readers, writers


def test_rows_are_on_disk_at_once_and_plain(tmp_path):
  path = tmp_path / "new" / "metrics.jsonl"
  writer = writers.JsonlWriter(path)
  writer.write(
    np.int64(3),
    loss=jnp.float32(0.5),
    half=jnp.bfloat16(2),
    n=np.int8(4),
    ok=jnp.array(True),
    phase="warm-up",
    best=None,
  )
  (line,) = path.read_text().splitlines()
  row = json.loads(line)
  assert abs(row.pop("unix_time_s") - time.time()) < 60
  assert row == {
    "step": 3,
    "loss": 0.5,
    "half": 2.0,
    "n": 4,
    "ok": True,
    "phase": "warm-up",
    "best": None,
  }
  assert type(row["n"]) is int and row["ok"] is True


@pytest.mark.parametrize("value", [float("nan"), jnp.inf, jnp.array(-jnp.inf)])
def test_not_finite_is_null(tmp_path, value):
  writers.JsonlWriter(tmp_path / "m").write(1, loss=value)
  assert '"loss": null' in (tmp_path / "m").read_text()


def test_no_scalar_is_refused_by_name(tmp_path):
  writer = writers.JsonlWriter(tmp_path / "m")
  with pytest.raises(ValueError, match=r"'alpha' has shape \(2,\)"):
    writer.write(1, alpha=jnp.zeros(2))
  with pytest.raises(TypeError, match="object has no JSON form"):
    writer.write(1, alpha=object())
  assert not (tmp_path / "m").read_text()


def test_killed_and_resumed_run_has_no_row_twice(tmp_path):
  path = tmp_path / "m"
  writer = writers.JsonlWriter(path)
  for step in range(1, 6):
    writer.write(step, run=1)
  with path.open("a") as file:
    file.write('{"step": 6, "ru')
  writer = writers.JsonlWriter(path)
  writer.truncate_after(3)
  for step in range(4, 7):
    writer.write(step, run=2)
  rows = readers.read_jsonl(path)
  assert [(row["step"], row["run"]) for row in rows] == [
    *((1, 1), (2, 1), (3, 1)),
    *((4, 2), (5, 2), (6, 2)),
  ]
  assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_half_written_last_line_does_not_swallow_the_next_row(tmp_path):
  path = tmp_path / "m"
  path.write_text('{"step": 1}\n{"step": 2, "lo')
  assert readers.read_jsonl(path) == [{"step": 1}]
  writers.JsonlWriter(path).write(2)
  assert [row["step"] for row in readers.read_jsonl(path)] == [1, 2]


@pytest.mark.parametrize("line", ['{"step": 2, "lo', "[1]", '{"loss": 1}', ""])
def test_damaged_line_within_is_refused(tmp_path, line):
  path = tmp_path / "m"
  path.write_text('{"step": 1}\n' + line + '\n{"step": 3}\n')
  with pytest.raises(ValueError, match=f"{path}:2 is not a row"):
    writers.JsonlWriter(path)


def test_json_is_sorted_and_reads_back(tmp_path):
  path = tmp_path / "new" / "a.json"
  writers.write_json(path, {"b": jnp.arange(2), "a": np.float32(0.5)})
  text = '{\n "a": 0.5,\n "b": [\n  0,\n  1\n ]\n}\n'
  assert path.read_text() == text
  assert readers.read_json(path) == {"a": 0.5, "b": [0, 1]}
  assert [p.name for p in path.parent.iterdir()] == ["a.json"]


@pytest.mark.parametrize("bad", [{"x": float("nan")}, {"x": {1}}, object()])
def test_no_json_leaves_the_old_file(tmp_path, bad):
  path = tmp_path / "a.json"
  writers.write_json(path, 1)
  with pytest.raises(ValueError, match="a.json was not written"):
    writers.write_json(path, bad)
  assert readers.read_json(path) == 1


def test_failed_replace_leaves_the_old_file_and_no_litter(
  tmp_path, monkeypatch
):
  path = tmp_path / "a.json"
  writers.write_json(path, 1)

  def full(*unused):
    raise OSError("no space left")

  monkeypatch.setattr(os, "fsync", full)
  with pytest.raises(OSError, match="no space"):
    writers.write_json(path, 2)
  assert readers.read_json(path) == 1
  assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_corrupt_json_names_the_file_and_the_cure(tmp_path):
  path = tmp_path / "table.json"
  path.write_text('{"a": 1,')
  with pytest.raises(ValueError, match="table.json is not valid.*delete it"):
    readers.read_json(path)
  with pytest.raises(FileNotFoundError):
    readers.read_json(tmp_path / "missing.json")


def test_tensorboard_missing_names_the_command(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "tensorboardX", None)
  with pytest.raises(ModuleNotFoundError, match="pip install tensorboardX"):
    writers.TensorBoardWriter(tmp_path)


class _Recorder:
  calls: list

  def __init__(self, directory, purge_step=None, flush_secs=None):
    self.calls.append(("open", directory, purge_step))

  def add_scalar(self, *args):
    self.calls.append(args)


@pytest.fixture
def recorder(monkeypatch):
  _Recorder.calls = []
  module = types.SimpleNamespace(SummaryWriter=_Recorder)
  monkeypatch.setitem(sys.modules, "tensorboardX", module)
  return _Recorder


def test_tensorboard_gets_the_numbers(tmp_path, recorder):
  writer = writers.TensorBoardWriter(tmp_path)
  assert not recorder.calls
  writer.write(4, loss=jnp.float32(0.5), phase="warm-up", best=None)
  writer.write(5, loss=0.25)
  opened = ("open", str(tmp_path), None)
  assert recorder.calls == [opened, ("loss", 0.5, 4), ("loss", 0.25, 5)]


def test_tensorboard_purges_only_before_it_writes(tmp_path, recorder):
  writer = writers.TensorBoardWriter(tmp_path)
  writer.truncate_after(2)
  writer.write(3, loss=0.5)
  assert recorder.calls[0] == ("open", str(tmp_path), 3)
  with pytest.raises(ValueError, match="before the first write"):
    writer.truncate_after(2)


def test_tensorboard_writes_an_event_file(tmp_path):
  pytest.importorskip("tensorboardX")
  writers.TensorBoardWriter(tmp_path).write(1, loss=0.5)
  assert list(tmp_path.glob("events.out.tfevents.*"))
