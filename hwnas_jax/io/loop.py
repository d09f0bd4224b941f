"""Runs a search: dispatches, metrics, checkpoints, stop and resume."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from hwnas_jax.io import checkpoint
from hwnas_jax.io.progress import Progress
from hwnas_jax.io.stop import StopSignal
from hwnas_jax.io.writers import JsonlWriter, TensorBoardWriter

State = Any  # a pytree with a field `step`
Dispatch = Callable[[State], tuple[State, Mapping[str, Any]]]


class Stopped(Exception):
  """SIGTERM or Ctrl-C; the state is on disk."""


@dataclasses.dataclass(frozen=True)
class Job:
  """What `run` has to reach, and where it keeps it.

  num_steps: total, reached exactly.
  checkpoint_every: steps between checkpoints, a multiple of a dispatch's.
  directory: holds `checkpoints` and `metrics.jsonl`.
  label: of the progress bar.
  identity: what a checkpoint must agree with to be resumed.
  tensorboard: also writes `directory`/tensorboard.
  """

  num_steps: int
  checkpoint_every: int
  directory: pathlib.Path
  label: str
  identity: Mapping[str, Any]
  tensorboard: bool = False


def run(job: Job, dispatch: Dispatch, state: State) -> State:
  """Steps until `job.num_steps`, from the newest checkpoint if there is one.

  The same loop runs the search and the training of a network. A row of
  means is written to metrics.jsonl after each dispatch.

  Args:
    job: what to reach.
    dispatch: some steps at once; `state.step` counts them.
    state: fresh state; its arrays may be donated.

  Raises:
    FloatingPointError: the loss is not finite; names the step.
    ValueError: the checkpoint is of another run.
    Stopped: asked to stop; everything done is saved.
  """
  num_steps, label = job.num_steps, job.label
  job.directory.mkdir(parents=True, exist_ok=True)
  saved = job.directory / "checkpoints"
  restored = checkpoint.restore_latest(saved, state)
  if restored is not None:
    _, state, found = restored
    _check_identity(saved, job.identity, found)
  writers = _open_writers(job.directory, int(state.step), job.tensorboard)
  with Progress(num_steps, label) as progress, StopSignal() as stop:
    step = int(state.step)
    while step < num_steps:
      state, metrics = dispatch(state)
      step = int(state.step)
      row = {k: float(v) for k, v in jax.device_get(dict(metrics)).items()}
      if not np.isfinite(row["loss"]):
        raise FloatingPointError(
          f"{label}: the loss is {row['loss']} at step {step}; the last good"
          f" state is in {saved}. Lower the learning rate or the temperature."
        )
      for writer in writers:
        writer.write(step, **row)
      progress.update(step, **row)
      if (
        step % job.checkpoint_every == 0 or step >= num_steps or stop.requested
      ):
        checkpoint.save(saved, step, state, dict(job.identity))
      if stop.requested and step < num_steps:
        raise Stopped(f"{label}: stopped at step {step} of {num_steps}")
  return state


def _open_writers(
  directory: pathlib.Path, step: int, tensorboard: bool
) -> list[JsonlWriter | TensorBoardWriter]:
  """Writers that go on behind `step`."""
  writers: list[JsonlWriter | TensorBoardWriter] = [
    JsonlWriter(directory / "metrics.jsonl")
  ]
  if tensorboard:
    writers.append(TensorBoardWriter(directory / "tensorboard"))
  for writer in writers:
    writer.truncate_after(step)
  return writers


def _check_identity(
  directory: pathlib.Path, wanted: Mapping[str, Any], found: Mapping[str, Any]
) -> None:
  differing = sorted(k for k in wanted if found.get(k) != wanted[k])
  if differing:
    raise ValueError(
      f"{directory} is of another run: {', '.join(differing)} differ."
      " Use another --workdir, or delete it."
    )
