"""Several processes, one a host, that search and train together.

Process 0 leads: it alone measures, chooses and writes the run's folder, which
all of them see. The others follow: they run the steps of its searches and
trainings, on their part of the devices. The functions here do nothing, or give
back what they were given, where there is one process.
"""

import json
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

_Made = TypeVar("_Made")


def join(coordinator: str, count: int | None, index: int | None) -> None:
  """Joins the processes of a job; call it before JAX is used.

  Args:
    coordinator: HOST:PORT of process 0; "" where JAX knows the job: SLURM, MPI,
      Cloud TPU, GKE.
    count: of the processes; None where JAX knows the job.
    index: of this process, from 0; None where JAX knows the job.

  Raises:
    ValueError: only some of the three are given.
  """
  named = [bool(coordinator), count is not None, index is not None]
  if any(named) and not all(named):
    raise ValueError(
      "--coordinator, --num_processes and --process_id belong together: give"
      " all three, or --distributed alone where JAX knows the job"
    )
  jax.distributed.initialize(coordinator or None, count, index)


def several() -> bool:
  """Whether there is more than one process."""
  return jax.process_count() > 1


def leads() -> bool:
  """Whether this process measures, chooses and writes."""
  return jax.process_index() == 0


def wait() -> None:
  """Until all processes are here, so that they see what the leader wrote."""
  if several():
    multihost_utils.sync_global_devices("hwnas_jax")


def after_leader(make: Callable[[], _Made]) -> _Made:
  """What a function makes; a follower's call reads what the leader's wrote."""
  if leads():
    made = make()
    wait()
    return made
  wait()
  return make()


def largest(number: int) -> int:
  """The largest number that a process has, such as that of a signal."""
  if not several():
    return number
  return int(multihost_utils.process_allgather(np.asarray(number)).max())


def tell(message: Any) -> None:
  """Sends the followers what JSON can say; they call `hear`."""
  if several():
    _broadcast(json.dumps(message).encode())


def hear() -> Any:
  """What the leader tells next."""
  return json.loads(_broadcast(b""))


def _broadcast(text: bytes) -> bytes:
  """The leader's text, on all processes."""
  size = multihost_utils.broadcast_one_to_all(np.asarray(len(text)))
  letters = np.zeros(int(size), np.uint8)
  letters[: len(text)] = np.frombuffer(text, np.uint8)
  return bytes(multihost_utils.broadcast_one_to_all(letters).tobytes())
