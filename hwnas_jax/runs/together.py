"""A search and trainings that all processes of a run make together.

The leader says what comes next, and the followers join it (`core.hosts`).
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from hwnas_jax.config.fields import Config
from hwnas_jax.config.problem import Problem
from hwnas_jax.core import hosts
from hwnas_jax.data.arrays import Dataset
from hwnas_jax.io.records import Accuracies
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.runs import searching, training
from hwnas_jax.runs.helpers import ALONE, Helpers
from hwnas_jax.runs.training import Sized

_Made = TypeVar("_Made")


class _OnAll(Exception):
  """Carries an error of what all processes do, so that all have it."""


def require(config: Config) -> None:
  """Raises ValueError for what one process alone can do."""
  if not hosts.several():
    return
  for field, used in {
    "quality.name=surrogate": config.quality.name == "surrogate",
    "train.teacher=True": config.train.teacher,
    "train.inherit=True": config.train.inherit,
    "train.side_by_side=True": config.train.side_by_side,
  }.items():
    if used:
      raise ValueError(f"{field} needs one process: start no others")


@contextlib.contextmanager
def leading() -> Iterator[None]:
  """Lets the followers go at the end, also where the leader alone fails."""
  try:
    yield
  except _OnAll as error:
    assert error.__cause__ is not None
    raise error.__cause__ from None
  except BaseException as error:
    hosts.same({"error": str(error) or type(error).__name__})
    raise
  hosts.same({})


def _on_all(task: Callable[[], _Made]) -> _Made:
  try:
    return task()
  except BaseException as error:
    if hosts.several():
      raise _OnAll from error
    raise


def search(
  problem: Problem, folder: RunFolder, dataset: Dataset
) -> searching.Searched:
  """`searching.search`, by the leader and all followers."""
  hosts.same({"search": True})
  return _on_all(lambda: searching.search(problem, folder, dataset))


def train(
  problem: Problem,
  folder: RunFolder,
  dataset: Dataset,
  networks: Sequence[Sized],
  by: Helpers,
) -> list[Accuracies]:
  """`training.train_sized`, by the leader and all followers."""
  hosts.same({"train": networks})
  config, net = problem.config, problem.nets.derived
  return _on_all(
    lambda: training.train_sized(config, folder, dataset, net, networks, by)
  )


def follow(
  make_problem: Callable[[], Problem], folder: RunFolder, dataset: Dataset
) -> None:
  """What a follower does until the leader lets it go.

  Args:
    make_problem: reads what the leader wrote before the search.
    folder: the run's, which all processes see.
    dataset: to search and train on.

  Raises:
    ValueError: the leader failed.
  """
  problem = None
  while task := hosts.same(None):
    if "error" in task:
      raise ValueError(f"the first process stopped: {task['error']}")
    problem = problem or make_problem()
    if "search" in task:
      searching.search(problem, folder, dataset)
      continue
    networks = [Sized(tuple(ops), width) for ops, width in task["train"]]
    config, net = problem.config, problem.nets.derived
    training.train_sized(config, folder, dataset, net, networks, ALONE)
