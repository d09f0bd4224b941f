"""Runs a search or a training: dispatches, metrics, checkpoints, stop, resume.

Several processes run it together (`core.hosts`): all save and restore, and one
writes the metrics. A *dispatch* is one call of a compiled program, which makes
some steps.
"""

import concurrent.futures
import contextlib
import dataclasses
import pathlib
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import jax
import numpy as np

from hwnas_jax.core import hosts
from hwnas_jax.io import checkpoint, records
from hwnas_jax.io.progress import Progress
from hwnas_jax.io.stop import Stopped, StopSignal
from hwnas_jax.io.writers import JsonlWriter, TensorBoardWriter

State = Any  # a pytree of arrays with a field `step`: int32[]


class Dispatch(Protocol):
  """Some steps in one call of a compiled program."""

  def __call__(self, state: State, /) -> tuple[State, Mapping[str, Any]]:
    """Returns (the state some steps on, scalar metrics by name).

    The metrics have `loss`. The state's arrays may be donated.
    """


class Identity(records.Record, frozen=True, kw_only=True, omit_defaults=True):
  """What a checkpoint belongs to; a resumed run must have the same.

  data: digest of the data set.
  nets: digest of the networks' dimensions and programs.
  config: the fields of the config that it depends on, by path.
  split: of a search: digest of the examples of weights and controller.
  table: of a search: digest of its prices.
  architecture: of a training: the network's operations.
  teacher: of a training: the network that teaches it.
  supernet: of a training: digest of the supernet's weights it started from.
  """

  data: str
  nets: str
  config: dict[str, Any]
  split: str | None = None
  table: str | None = None
  architecture: records.Architecture | None = None
  teacher: records.Teacher | None = None
  supernet: str | None = None


@dataclasses.dataclass(frozen=True)
class Job:
  """The goal of `run`, and its folder.

  num_steps: steps of the whole run.
  checkpoint_every: steps between checkpoints, a multiple of a dispatch's steps.
  directory: the folder of `checkpoints` and `metrics.jsonl`.
  label: names the run on the progress bar and in errors.
  identity: a checkpoint of another identity is not resumed.
  tensorboard: also writes TensorBoard events to `directory`/tensorboard.
  """

  num_steps: int
  checkpoint_every: int
  directory: pathlib.Path
  label: str
  identity: Identity
  tensorboard: bool = False

  @property
  def checkpoints(self) -> pathlib.Path:
    """The folder of the checkpoints."""
    return self.directory / "checkpoints"


def run(
  job: Job,
  dispatch: Dispatch,
  state: State,
  shared: StopSignal | None = None,
) -> State:
  """Runs until `job.num_steps`, from the newest checkpoint if there is one.

  After each dispatch a row of its metrics is added to metrics.jsonl.

  Args:
    job: what to reach.
    dispatch: makes some steps; `state.step` counts them.
    state: a fresh state. Its arrays may be donated.
    shared: what stops this run and those beside it (`side_by_side`).

  Returns:
    The state at `job.num_steps`.

  Raises:
    FloatingPointError: the loss is not finite; the message has the step.
    ValueError: the checkpoint is another run's, or cannot be read.
    Stopped: a signal asked to stop; every step that was made is saved.
  """
  job.directory.mkdir(parents=True, exist_ok=True)
  state = _restored(job, state)
  step = int(state.step)
  if hosts.same(step) != step:
    raise ValueError(
      f"{job.checkpoints} has step {step} here, and another one where the first"
      " process sees it: give all processes the same folder"
    )
  writers = _open_writers(job, step) if hosts.leads() else []
  asked = 0  # the signal that asked any of the processes to stop
  bar = Progress(job.num_steps, job.label, alone=shared is None)
  listening = contextlib.nullcontext(shared) if shared else StopSignal()
  with bar as progress, listening as stop:
    while step < job.num_steps:
      state, metrics = dispatch(state)
      step = int(state.step)
      row = {k: float(v) for k, v in jax.device_get(dict(metrics)).items()}
      if not np.isfinite(row["loss"]):
        raise FloatingPointError(_diverged(job, row["loss"], step))
      for writer in writers:
        writer.write(step, **row)
      if hosts.leads():
        progress.update(step, **row)
      asked = hosts.largest(stop.requested or 0)
      is_due = step % job.checkpoint_every == 0 or step >= job.num_steps
      if is_due or asked:
        metadata = records.to_json(job.identity)
        checkpoint.save(job.checkpoints, step, state, metadata)
      if asked:
        break
    asked = asked or hosts.largest(stop.requested or 0)
  if asked:
    text = f"{job.label}: stopped at step {step} of {job.num_steps}"
    raise Stopped(text, asked)
  return state


def side_by_side(tasks: Sequence[Callable[[StopSignal], None]]) -> None:
  """Does tasks at the same time, a thread each; call it in the main thread.

  If one fails, the others are asked to stop: they save what they have.

  Args:
    tasks: each gets the signal to give to its `run`s.

  Raises:
    Exception: what the first task that failed raised.
  """
  with (
    StopSignal() as stop,
    concurrent.futures.ThreadPoolExecutor(len(tasks)) as pool,
  ):
    futures = [pool.submit(task, stop) for task in tasks]
    try:
      for future in concurrent.futures.as_completed(futures):
        future.result()
    except BaseException:
      stop.requested = stop.requested or signal.SIGTERM
      raise


def _diverged(job: Job, loss: float, step: int) -> str:
  """The message of a loss that is not finite."""
  saved = max(checkpoint.steps(job.checkpoints), default=None)
  where = (
    "nothing was saved before"
    if saved is None
    else f"the last good state, of step {saved}, is in {job.checkpoints}"
  )
  return (
    f"{job.label}: the loss is {loss} at step {step}; {where}. Lower the"
    " learning rate or the temperature."
  )


def finished(job: Job, like: State) -> State | None:
  """The state at `job.num_steps`; None if the run did not get there.

  Args:
    job: as for `run`.
    like: the state's structure as ShapeDtypeStructs, which compiles nothing.

  Raises:
    ValueError: the checkpoint is another run's, or cannot be read.
  """
  if max(checkpoint.steps(job.checkpoints), default=0) < job.num_steps:
    return None
  state = _restored(job, like)
  return state if int(state.step) >= job.num_steps else None


def _restored(job: Job, fresh: State) -> State:
  """The newest checkpoint's state, or the fresh one where there is none."""
  require_same(job)
  newest = checkpoint.restore_latest(job.checkpoints, fresh)
  return fresh if newest is None else newest.state


def require_same(job: Job) -> None:
  """Raises ValueError where the job's checkpoints are of another identity."""
  stored = checkpoint.metadata(job.checkpoints)
  if not stored:
    return
  differing = records.differing(stored, records.to_json(job.identity))
  if differing:
    raise ValueError(
      f"{job.checkpoints} is of another run: {', '.join(differing)} differ."
      " Use another --workdir, or delete it."
    )


def _open_writers(job: Job, step: int) -> list[JsonlWriter | TensorBoardWriter]:
  """Writers that continue after `step`."""
  writers: list[JsonlWriter | TensorBoardWriter] = [
    JsonlWriter(job.directory / "metrics.jsonl")
  ]
  if job.tensorboard:
    writers.append(TensorBoardWriter(job.directory / "tensorboard"))
  for writer in writers:
    writer.truncate_after(step)
  return writers
