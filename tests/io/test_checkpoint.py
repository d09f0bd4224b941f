import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hwnas_jax.core import tree
from hwnas_jax.io import checkpoint

ADAM = optax.adam(0.1)


class Stats(NamedTuple):
  flag: jax.Array
  nothing: None


@chex.dataclass(frozen=True)
class State:
  params: dict
  opt: tuple
  stats: Stats
  key: jax.Array
  step: jax.Array


def _init():
  key = jax.random.key(7)
  params = {
    "stage0": {
      "w": jax.random.normal(key, (16, 16)),
      "none": jnp.zeros((0, 3)),
    },
    "half": jnp.array([1.5, -0.0, jnp.nan, jnp.inf], jnp.bfloat16),
  }
  return State(
    params=params,
    opt=ADAM.init(params),
    stats=Stats(jnp.array(True), None),
    key=jax.random.fold_in(jax.random.clone(key), 1),
    step=jnp.zeros((), jnp.int32),
  )


def _advance(state):
  key, noise_key = jax.random.split(state.key)
  noise = jax.random.normal(noise_key, (16, 16))
  grads = jax.tree.map(jnp.cos, state.params)
  grads["stage0"]["w"] += noise
  updates, opt = ADAM.update(grads, state.opt)
  return state.replace(
    params=optax.apply_updates(state.params, updates),
    opt=opt,
    key=key,
    step=state.step + 1,
  )


LIKE = jax.eval_shape(_init)


def _flip(folder, needle):
  """Changes one byte of `needle` in the first file that holds it."""
  for path in sorted(p for p in folder.rglob("*") if p.is_file()):
    data = path.read_bytes()
    if needle in data:
      place = data.index(needle) + len(needle) // 2
      path.write_bytes(
        data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
      )
      return
  raise AssertionError("no file holds the bytes")


def test_restores_bits_structure_keys_and_metadata(tmp_path):
  state = _init()
  metadata = {"epoch": 3, "loss": math.inf, "names": ["a", None], "n": {1: 2}}
  checkpoint.save(tmp_path / "new" / "run", 12, state, metadata)
  restored = checkpoint.restore_latest(tmp_path / "new" / "run", LIKE)
  assert restored.step == 12
  assert restored.metadata == json.loads(json.dumps(metadata))
  loaded = restored.state
  assert jax.tree.structure(loaded) == jax.tree.structure(state)
  assert tree.digest(loaded) == tree.digest(state)
  assert loaded.params["stage0"]["none"].shape == (0, 3)
  jax.random.normal(loaded.key)


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_keys_come_back_with_their_implementation(tmp_path, impl):
  keys = jax.random.split(jax.random.key(3, impl=impl), 4)
  checkpoint.save(tmp_path, 0, {"keys": keys}, {})
  _, loaded, _ = checkpoint.restore_latest(tmp_path, {"keys": keys})
  assert loaded["keys"].dtype == keys.dtype
  chex.assert_trees_all_equal(
    jax.random.key_data(loaded["keys"]), jax.random.key_data(keys)
  )


def test_six_steps_are_three_and_three(tmp_path):
  advance = jax.jit(_advance, donate_argnums=0)
  whole = _init()
  for _ in range(6):
    whole = advance(whole)
  half = _init()
  for _ in range(3):
    half = advance(half)
  checkpoint.save(tmp_path, 3, half, {})
  _, half, _ = checkpoint.restore_latest(tmp_path, LIKE)
  for _ in range(3):
    half = advance(half)
  assert tree.digest(half) == tree.digest(whole)


def test_leaves_go_where_like_is(tmp_path):
  mesh = jax.make_mesh((1,), ("data",))
  replicated = jax.NamedSharding(mesh, jax.P())
  checkpoint.save(tmp_path, 0, {"w": jnp.ones(4)}, {})
  like = {"w": jax.device_put(jnp.ones(4), replicated)}
  _, loaded, _ = checkpoint.restore_latest(tmp_path, like)
  assert loaded["w"].committed and loaded["w"].sharding == replicated
  _, loaded, _ = checkpoint.restore_latest(tmp_path, {"w": jnp.ones(4)})
  assert not loaded["w"].committed


def test_nothing_stored_is_none(tmp_path):
  assert checkpoint.restore_latest(tmp_path / "missing", LIKE) is None
  (tmp_path / "5.orbax-checkpoint-tmp").mkdir()
  (tmp_path / "notes.txt").touch()
  assert checkpoint.restore_latest(tmp_path, LIKE) is None


def test_keeps_the_newest(tmp_path):
  for step in (1, 9, 10):
    checkpoint.save(tmp_path, step, {"x": jnp.full(2, step, jnp.int32)}, {})
  assert checkpoint.steps(tmp_path) == [9, 10]
  step, loaded, _ = checkpoint.restore_latest(
    tmp_path, {"x": jnp.zeros(2, int)}
  )
  assert step == 10 and loaded["x"][0] == 10


def test_other_shapes_are_refused_with_a_line_each(tmp_path):
  checkpoint.save(tmp_path, 4, _init(), {})
  like = LIKE.replace(
    params=LIKE.params | {"stage0": {"w": jnp.zeros((32, 32))}}
  )
  with pytest.raises(ValueError, match="step 4") as error:
    checkpoint.restore_latest(tmp_path, like)
  assert str(error.value).splitlines()[1:] == [
    "  params/stage0/none: stored (0, 3) float32, unexpected",
    "  params/stage0/w: stored (16, 16) float32, wanted (32, 32) float32",
  ]


# Too random to compress: its bytes stand in a file as they are.
BIG = {"w": jax.random.bits(jax.random.key(0), (40_000,))}


def test_flipped_byte_falls_back_and_says_so(tmp_path, caplog):
  like = jax.eval_shape(lambda: BIG)
  checkpoint.save(tmp_path, 1, {"w": BIG["w"] + 1}, {"at": 1})
  checkpoint.save(tmp_path, 2, BIG, {"at": 2})
  _flip(tmp_path / "2", np.asarray(BIG["w"])[:64].tobytes())
  before = sorted(tmp_path.iterdir())
  step, loaded, metadata = checkpoint.restore_latest(tmp_path, like)
  assert (step, metadata) == (1, {"at": 1})
  assert jnp.array_equal(loaded["w"], BIG["w"] + 1)
  assert "skipped step 2: its arrays were changed" in caplog.text
  assert sorted(tmp_path.iterdir()) == before


def test_flipped_byte_of_metadata_falls_back(tmp_path, caplog):
  for step in (1, 2):
    checkpoint.save(tmp_path, step, BIG, {"note": "abcdefgh"})
  _flip(tmp_path / "2", b"abcdefgh")
  assert checkpoint.restore_latest(tmp_path, BIG)[0] == 1
  assert "skipped step 2: its record was changed" in caplog.text


@pytest.mark.parametrize("name", ["_METADATA", "_CHECKPOINT_METADATA"])
@pytest.mark.parametrize("damage", ["delete", "truncate"])
def test_damaged_index_falls_back(tmp_path, name, damage):
  for step in (1, 2):
    checkpoint.save(tmp_path, step, {"x": jnp.ones(3)}, {})
  (path,) = (tmp_path / "2").rglob(name)
  if damage == "delete":
    path.unlink()
  else:
    os.truncate(path, path.stat().st_size // 2)
  assert checkpoint.restore_latest(tmp_path, {"x": jnp.ones(3)})[0] == 1


def test_all_damaged_is_an_error_not_a_fresh_start(tmp_path):
  checkpoint.save(tmp_path, 1, BIG, {})
  checkpoint.save(tmp_path, 2, BIG, {})
  _flip(tmp_path / "1", np.asarray(BIG["w"])[:64].tobytes())
  (tmp_path / "2" / "_CHECKPOINT_METADATA").write_text("{}")
  with pytest.raises(ValueError, match="no checkpoint that can be read") as e:
    checkpoint.restore_latest(tmp_path, BIG)
  lines = str(e.value).splitlines()[1:]
  assert lines == [
    "  step 2: it has no record of hwnas_jax",
    "  step 1: its arrays were changed",
  ]


def test_other_schema_is_refused(tmp_path, monkeypatch):
  checkpoint.save(tmp_path, 1, BIG, {})
  monkeypatch.setattr(checkpoint, "SCHEMA", 2)
  with pytest.raises(ValueError, match="schema 1, this version reads 2"):
    checkpoint.restore_latest(tmp_path, BIG)


def test_save_sets_later_steps_aside(tmp_path, caplog):
  for step in (3, 6):
    checkpoint.save(tmp_path, step, BIG, {})
  checkpoint.save(tmp_path, 4, BIG, {})
  assert checkpoint.steps(tmp_path) == [3, 4]
  assert (tmp_path / "6.superseded").is_dir()
  assert "step 6 is renamed" in caplog.text


def test_only_step_set_aside_is_an_error_not_a_fresh_start(
  tmp_path, monkeypatch
):
  checkpoint.save(tmp_path, 3, BIG, {})

  def killed(*unused, **unused_too):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(checkpoint.ocp, "save", killed)
    with pytest.raises(KeyboardInterrupt):
      checkpoint.save(tmp_path, 3, BIG, {})
  with pytest.raises(ValueError, match="3.superseded: rename it to 3"):
    checkpoint.restore_latest(tmp_path, BIG)
  (tmp_path / "3.superseded").rename(tmp_path / "3")
  assert checkpoint.restore_latest(tmp_path, BIG)[0] == 3


def test_same_step_saved_again_is_replaced(tmp_path):
  for value in (1, 2):
    checkpoint.save(tmp_path, 3, {"x": jnp.full(2, value, jnp.int32)}, {})
  assert [path.name for path in tmp_path.iterdir()] == ["3"]
  _, loaded, _ = checkpoint.restore_latest(tmp_path, {"x": jnp.zeros(2, int)})
  assert loaded["x"][0] == 2


@pytest.mark.parametrize(
  "state, metadata, message",
  [
    ({"a": {"b": 1}}, {}, "a/b: int, not a JAX array"),
    ({"a": np.ones(2)}, {}, "a: ndarray, not a JAX array"),
    ({"a": jnp.asarray(1.0)}, {}, "a: it has a weak type"),
    ({}, {}, "nothing to save"),
    ({"a": jnp.zeros(0)}, {}, "nothing to save"),
    ({"a": jnp.ones(1)}, {"f": {1}}, "metadata is not JSON.*set"),
  ],
)
def test_save_refuses(tmp_path, state, metadata, message):
  with pytest.raises(ValueError, match=message):
    checkpoint.save(tmp_path, 0, state, metadata)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("step, keep", [(-1, 2), (0, 0)])
def test_save_refuses_numbers_out_of_range(tmp_path, step, keep):
  with pytest.raises(ValueError, match=f"step {step} .* keep {keep}"):
    checkpoint.save(tmp_path, step, BIG, {}, keep=keep)


KILLED = """
import sys, jax.numpy as jnp
from hwnas_jax.io import checkpoint
checkpoint.save(sys.argv[1], 1, {"x": jnp.ones(3)}, {})
big = {str(i): jnp.ones((256, 256)) + i for i in range(400)}
checkpoint.save(sys.argv[1], 2, big, {})
"""


def test_kill_in_mid_save_leaves_the_step_before(tmp_path):
  process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)])
  deadline = time.monotonic() + 60
  while not list(tmp_path.glob("2.*")) and time.monotonic() < deadline:
    assert process.poll() is None, "it ended before it could be killed"
    time.sleep(0.001)
  process.kill()
  assert process.wait() == -signal.SIGKILL
  assert {path.name for path in tmp_path.iterdir()} > {"1"}
  step, loaded, _ = checkpoint.restore_latest(tmp_path, {"x": jnp.ones(3)})
  assert step == 1
  checkpoint.save(tmp_path, 3, loaded, {})
  assert {path.name for path in tmp_path.iterdir()} == {"1", "3"}


def test_a_full_disk_names_the_folder(tmp_path, monkeypatch):
  def full(*args, **keywords):
    raise ValueError("RESOURCE_EXHAUSTED: x: No space left on device [28]")

  monkeypatch.setattr(checkpoint.ocp, "save", full)
  with pytest.raises(OSError, match="No space left") as error:
    checkpoint.save(tmp_path, 1, {"a": jnp.zeros(1)}, {})
  assert error.value.filename == str(tmp_path)


def test_a_step_that_a_disk_cannot_hold_is_not_begun(tmp_path, monkeypatch):
  state = {"a": jnp.zeros(4)}
  usage = shutil.disk_usage(tmp_path)
  enough = 16 + checkpoint._RECORD_BYTES + checkpoint._SPARE_BYTES
  free = {"bytes": enough}
  monkeypatch.setattr(
    checkpoint.shutil,
    "disk_usage",
    lambda path: usage._replace(free=free["bytes"]),
  )
  checkpoint.save(tmp_path, 1, state, {})
  free["bytes"] = enough - 1
  with pytest.raises(OSError, match="No space left") as error:
    checkpoint.save(tmp_path, 1, state, {})
  assert error.value.filename == str(tmp_path)
  # Not even set aside.
  assert [path.name for path in tmp_path.iterdir()] == ["1"]
