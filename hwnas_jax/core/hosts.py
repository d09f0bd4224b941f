"""Several processes, one a host, that search and train together.

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
    ValueError: only some of the three are given.
  """
  named = [bool(coordinator), count is not None, index is not None]
  if any(named) and not all(named):
    raise ValueError(
      "--coordinator, --num_processes and --process_id belong together: give"
      " all three, or --distributed alone where JAX knows the job"
    )
  # It would take SIGTERM away from the runs, which save and stop.
  jax.config.update("jax_enable_preemption_service", False)
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
