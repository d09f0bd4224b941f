"""Networks that all processes of a run train together (`core.hosts`).

The leader says which; the followers train them with it. What a training needs
besides is in the run's folder, or each process has it from the search.
"""

from collections.abc import Sequence

from hwnas_jax.config.problem import Problem
from hwnas_jax.core import hosts
from hwnas_jax.data.arrays import Dataset
from hwnas_jax.io.records import Accuracies
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.runs import searching, training
from hwnas_jax.runs.helpers import Helpers
from hwnas_jax.runs.training import Sized


def train(
  problem: Problem,
  folder: RunFolder,
  dataset: Dataset,
  networks: Sequence[Sized],
  by: Helpers,
) -> list[Accuracies]:
  """`training.train_sized`, by the leader and all followers."""
  hosts.tell({"networks": networks, "teacher": by.teacher})
  return training.train_sized(
    problem.config, folder, dataset, problem.nets.derived, networks, by
  )


def search(
  problem: Problem, folder: RunFolder, dataset: Dataset
) -> searching.Searched:
  """`searching.search`, by the leader and all followers."""
  hosts.tell("search")
  return searching.search(problem, folder, dataset)


def end() -> None:
  """Lets the followers go."""
  hosts.tell(None)


def follow(problem: Problem, folder: RunFolder, dataset: Dataset) -> None:
  """What a follower does from the search to the end."""
  config, net = problem.config, problem.nets.derived
  searched = searching.search(problem, folder, dataset)
  supernet = searched.state.weights if config.train.inherit else None
  while (task := hosts.hear()) is not None:
    networks = [Sized(tuple(g), width) for g, width in task["networks"]]
    teacher = task["teacher"] and tuple(task["teacher"])
    by = Helpers(teacher, supernet)
    training.train_sized(config, folder, dataset, net, networks, by)
