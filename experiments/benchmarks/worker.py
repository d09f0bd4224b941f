"""Processes that run blocks of steps in turns."""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

REST_S = 0.3  # between blocks: threads of the last one stop spinning


class Worker:
  """A process that runs `serve`; `about` is its first answer."""

  def __init__(self, command: Sequence[str], environment: Mapping[str, str]):
    """Starts `python -m *command` and waits until it is ready."""
    self._process = subprocess.Popen(
      [sys.executable, "-m", *command],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
      env={**os.environ, **environment},
    )
    self.about = self._answer(" ".join(command))

  def _answer(self, asked: str) -> dict[str, float]:
    assert self._process.stdout is not None
    line = self._process.stdout.readline()
    if not line:
      raise RuntimeError(f"the worker ended at: {asked}; its error is above")
    return json.loads(line)

  def block(self) -> dict[str, float]:
    """Runs a block of steps."""
    assert self._process.stdin is not None
    time.sleep(REST_S)
    self._process.stdin.write("block\n")
    self._process.stdin.flush()
    return self._answer("a block")

  def close(self) -> None:
    """Ends the process."""
    self._process.communicate()


def take_turns(
  workers: Mapping[str, Worker], rounds: int
) -> dict[str, list[dict[str, float]]]:
  """Rounds of a block of each worker: what it answered, by its name."""
  rows: dict[str, list[dict[str, float]]] = {name: [] for name in workers}
  for _ in range(rounds):
    for name, worker in workers.items():
      rows[name].append(worker.block())
  for worker in workers.values():
    worker.close()
  return rows


def serve(
  block: Callable[[], object], about: Mapping[str, object], steps: int
) -> None:
  """Answers each line on the input with a line of JSON: a block's seconds.

  A block is run twice, and the second is timed. The first takes back the memory
  that the process gave to the system while it waited; a search never waits.

  Args:
    block: runs `steps` steps, and waits for them.
    about: the first line.
    steps: of a block; seconds are of one step. `system_s` are those of the
      system's own work, most of it to hand out memory.
  """
  print(json.dumps(about), flush=True)
  for _ in sys.stdin:
    block()
    start, system = time.perf_counter(), os.times().system
    block()
    row = {
      "step_s": (time.perf_counter() - start) / steps,
      "system_s": (os.times().system - system) / steps,
      "peak_rss_mib": peak_rss_mib(),
    }
    print(json.dumps(row), flush=True)


def peak_rss_mib() -> float:
  """The most memory that this process has had so far."""
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
