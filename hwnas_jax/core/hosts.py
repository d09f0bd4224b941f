"""Several processes, on one host or more, that search and train together.

Process 0 leads: it alone measures, chooses and writes the run's folder, which
all of them see. The others follow: they run the steps of its searches and
trainings, on their part of the devices. The functions here do nothing, or give
back what they were given, where there is one process.
"""

import json
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils


def join(coordinator: str, count: int | None, index: int | None) -> None:
  """Joins the processes of a job; call it before JAX is used.

  Args:
    coordinator: HOST:PORT of process 0; "" where JAX knows the job: SLURM, Open
      MPI, Cloud TPU, GKE.
    count: of the processes; None where JAX knows the job.
    index: of this process, from 0; None where JAX knows the job.

  Raises:
    ValueError: only some of the three are given, or wrong ones; or none, and
      JAX knows no job.
  """
  if not coordinator and count is None and index is None:
    _initialize_job()
    return
  if not coordinator or count is None or index is None:
    raise ValueError(
      "--coordinator, --num_processes and --process_id belong together: give"
      " all three, or --distributed alone where JAX knows the job"
    )
  host, _, port = coordinator.rpartition(":")
  if not host or not port.isdecimal():
    raise ValueError(f"--coordinator must be HOST:PORT, got {coordinator!r}")
  if not 0 <= index < count:
    raise ValueError(
      f"--process_id must be 0 to {count - 1} of {count} processes, got {index}"
    )
  _initialize(coordinator, count, index)


def _initialize_job() -> None:
  """By what the job's environment says."""
  try:
    _initialize()
  except ValueError as error:
    raise ValueError(
      f"JAX found no SLURM, Open MPI, Cloud TPU or GKE job here ({error}): give"
      " --coordinator, --num_processes and --process_id"
    ) from error


def _initialize(*place: Any) -> None:
  # It would take SIGTERM away from the runs, which save and stop.
  jax.config.update("jax_enable_preemption_service", False)
  jax.distributed.initialize(*place)


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


def largest(number: int) -> int:
  """The largest number that a process has, such as that of a signal."""
  if not several():
    return number
  return int(multihost_utils.process_allgather(np.asarray(number)).max())


def same(value: Any) -> Any:
  """The leader's value, which JSON can say, on all processes."""
  if not several():
    return value
  return json.loads(_broadcast(json.dumps(value).encode() if leads() else b""))


def _broadcast(text: bytes) -> bytes:
  """The leader's text, on all processes."""
  size = multihost_utils.broadcast_one_to_all(np.asarray(len(text)))
  letters = np.zeros(int(size), np.uint8)
  letters[: len(text)] = np.frombuffer(text, np.uint8)
  return bytes(multihost_utils.broadcast_one_to_all(letters).tobytes())
