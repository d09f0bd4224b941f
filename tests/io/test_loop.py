"""The loop around any step: rows, checkpoints, stop and resume."""

import dataclasses
import os
import signal
from typing import NamedTuple

import jax
import jax.numpy as jnp
import pytest

from hwnas_jax.core import tree
from hwnas_jax.io import checkpoint, loop, readers

PER_DISPATCH = 2


class State(NamedTuple):
  value: jax.Array
  step: jax.Array


def start():
  return State(jnp.ones(3), jnp.zeros((), jnp.int32))


def advance(state):
  value = 1.1 * state.value + state.step
  state = State(value, state.step + PER_DISPATCH)
  return state, {"loss": value.mean(), "accuracy": jnp.float32(0.5)}


OURS = {"data": "abc", "nets": "n", "config": {"seed": 0}}


def job(directory, **changes):
  toy = loop.Job(
    num_steps=12,
    checkpoint_every=4,
    directory=directory,
    label="toy",
    identity=loop.Identity(**OURS, split="s"),
  )
  return dataclasses.replace(toy, **changes)


def run(directory, dispatch=advance, **changes):
  return loop.run(job(directory, **changes), dispatch, start())


def rows(directory):
  return readers.read_jsonl(directory / "metrics.jsonl")


def steps_of(directory):
  return [row["step"] for row in rows(directory)]


def after(step, act):
  """Dispatches, and acts once `step` is reached."""

  def dispatch(state):
    state, metrics = advance(state)
    if int(state.step) == step:
      metrics = act(metrics) or metrics
    return state, metrics

  return dispatch


def ask_to_stop(metrics):
  del metrics
  os.kill(os.getpid(), signal.SIGTERM)


def power_cut(metrics):
  raise ConnectionAbortedError


def test_reaches_the_end_and_writes_a_row_a_dispatch(tmp_path):
  state = run(tmp_path / "new" / "search")
  folder = tmp_path / "new" / "search"
  assert int(state.step) == 12
  assert steps_of(folder) == [2, 4, 6, 8, 10, 12]
  assert {"loss", "accuracy"} < set(rows(folder)[0])
  assert checkpoint.steps(folder / "checkpoints") == [8, 12]


def test_the_last_step_is_saved_off_the_rhythm(tmp_path):
  run(tmp_path, num_steps=6)
  assert checkpoint.steps(tmp_path / "checkpoints") == [4, 6]


def test_a_finished_run_is_not_run_again(tmp_path):
  wanted = tree.digest(run(tmp_path))
  again = run(tmp_path, dispatch=lambda state: pytest.fail("stepped"))
  assert tree.digest(again) == wanted
  assert len(rows(tmp_path)) == 6


def test_a_finished_state_is_read_by_its_shapes_alone(tmp_path):
  like = jax.eval_shape(start)
  assert loop.finished(job(tmp_path), like) is None
  run(tmp_path, num_steps=8)
  assert loop.finished(job(tmp_path), like) is None
  done = run(tmp_path)
  read = loop.finished(job(tmp_path), like)
  assert tree.digest(read) == tree.digest(done)
  other = job(
    tmp_path, identity=loop.Identity(**OURS | {"data": "x"}, split="s")
  )
  with pytest.raises(ValueError, match="of another run: data differ"):
    loop.finished(other, like)


def test_a_stop_saves_raises_and_resumes(tmp_path):
  wanted = tree.digest(run(tmp_path / "whole"))
  folder = tmp_path / "stopped"
  with pytest.raises(loop.Stopped, match="toy: stopped at step 6 of 12"):
    run(folder, dispatch=after(6, ask_to_stop))
  assert checkpoint.steps(folder / "checkpoints")[-1] == 6
  assert steps_of(folder) == [2, 4, 6]
  assert tree.digest(run(folder)) == wanted
  assert steps_of(folder) == [2, 4, 6, 8, 10, 12]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_in_the_last_dispatch_or_save_stops_after_it(
  tmp_path, number, monkeypatch
):
  """What follows the loop may take minutes."""

  def ask(*unused):
    os.kill(os.getpid(), number)

  before = signal.signal(signal.SIGINT, signal.default_int_handler)
  with pytest.raises(loop.Stopped, match="stopped at step 12 of 12") as stopped:
    run(tmp_path / "dispatch", dispatch=after(12, ask))
  assert stopped.value.signal == number
  save = checkpoint.save

  def save_and_ask(directory, step, *rest, **options):
    save(directory, step, *rest, **options)
    if step == 12:
      ask()

  monkeypatch.setattr(checkpoint, "save", save_and_ask)
  with pytest.raises(loop.Stopped, match="stopped at step 12 of 12"):
    run(tmp_path / "save")
  signal.signal(signal.SIGINT, before)
  for name in ("dispatch", "save"):
    again = run(tmp_path / name, dispatch=lambda state: pytest.fail("stepped"))
    assert int(again.step) == 12


def test_a_loss_that_is_not_finite_at_first_has_no_last_good_state(tmp_path):
  dispatch = after(2, lambda metrics: metrics | {"loss": jnp.float32("nan")})
  with pytest.raises(FloatingPointError, match="nothing was saved before"):
    run(tmp_path, dispatch=dispatch)


def test_rows_behind_the_checkpoint_are_written_once(tmp_path):
  wanted = tree.digest(run(tmp_path / "whole"))
  folder = tmp_path / "killed"
  with pytest.raises(ConnectionAbortedError):
    run(folder, dispatch=after(8, power_cut))
  assert checkpoint.steps(folder / "checkpoints") == [4]
  assert steps_of(folder) == [2, 4, 6]  # the last is beyond the checkpoint
  seen = []

  def dispatch(state):
    seen.append(int(state.step))
    return advance(state)

  assert tree.digest(run(folder, dispatch=dispatch)) == wanted
  assert seen == [4, 6, 8, 10]
  assert steps_of(folder) == [2, 4, 6, 8, 10, 12]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, value):
  dispatch = after(6, lambda metrics: metrics | {"loss": jnp.float32(value)})
  with pytest.raises(FloatingPointError, match=r"toy: .* at step 6") as error:
    run(tmp_path, dispatch=dispatch)
  assert "of step 4, is in" in str(error.value)
  # What came before is kept, what is broken is not.
  assert checkpoint.steps(tmp_path / "checkpoints") == [4]
  assert steps_of(tmp_path) == [2, 4]


@pytest.mark.parametrize(
  ("identity", "names"),
  [
    ({"data": "xyz", "split": "s"}, "data differ"),
    ({"data": "xyz", "split": "t"}, "data, split differ"),
    ({"data": "abc", "split": "s", "table": "t"}, "table differ"),
    ({}, "split differ"),
    ({"split": "s", "nets": "m"}, "nets differ"),
    ({"split": "s", "config": {"seed": 1}}, "config/seed differ"),
    ({"data": "abc", "architecture": {"a": "b"}}, "architecture, split differ"),
  ],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path, identity, names):
  run(tmp_path, num_steps=4)
  with pytest.raises(ValueError, match=f"another run: {names}"):
    run(tmp_path, identity=loop.Identity(**OURS | identity))
  assert steps_of(tmp_path) == [2, 4]


def test_an_architecture_is_the_same_after_a_resume(tmp_path):
  identity = loop.Identity(**OURS, architecture={"edge 0": "skip"})
  run(tmp_path, num_steps=4, identity=identity)
  assert int(run(tmp_path, identity=identity).step) == 12


def test_a_state_of_another_shape_is_refused(tmp_path):
  run(tmp_path, num_steps=4)
  state = State(jnp.ones(4), jnp.zeros((), jnp.int32))
  with pytest.raises(ValueError, match=r"value: stored \(3,\)"):
    loop.run(job(tmp_path), advance, state)
