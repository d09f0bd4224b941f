"""A finished search, read from its run folder to answer queries."""

import dataclasses
import functools

from hwnas_jax.config import problem as problems
from hwnas_jax.config.fields import Config
from hwnas_jax.config.problem import Problem
from hwnas_jax.core import hosts
from hwnas_jax.core.types import Genotype
from hwnas_jax.costs.table import LatencyTable
from hwnas_jax.data.arrays import Dataset
from hwnas_jax.derive.judges import Evidence
from hwnas_jax.io import checkpoint
from hwnas_jax.io.records import Measurement
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.runs import judging, searching, stages
from hwnas_jax.runs.searching import Searched
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.spec import Spec

HELD_OUT = 256  # examples that the shared weights are compared on


@dataclasses.dataclass(frozen=True)
class Finished:
  """A finished search with its trained supernet and controller.

  problem: its table is the one that the search priced with.
  searched: the method's parts and their final state.
  measured: latencies of the run's networks on the table's device.
  """

  folder: RunFolder
  problem: Problem
  dataset: Dataset
  searched: Searched
  measured: dict[Genotype, Measurement]

  @functools.cached_property
  def evidence(self) -> Evidence:
    """What judges read, made once: they are compiled for its supernet.

    The shared weights are compared on HELD_OUT examples.
    """
    shared = searching.shared_weights(self.problem, self.dataset, self.searched)
    if shared is not None:
      shared = shared._replace(
        images=shared.images[:HELD_OUT], labels=shared.labels[:HELD_OUT]
      )
    return judging.evidence(self.problem, self.dataset, shared)


def refusal(config: Config) -> str | None:
  """Why no query can ask a search of this config; None if one can."""
  if (config.condition.name, config.cost.name) != ("cone", "latency"):
    return (
      f"condition.name={config.condition.name} and"
      f" cost.name={config.cost.name}: a query needs a family over prices and"
      " scales, that is condition.name=cone and cost.name=latency"
    )
  if config.controller.classifier:
    return (
      "controller.classifier=True, one classifier for each condition: a query"
      " can only rank networks that share one classifier"
    )
  return None


def load(folder: RunFolder, dataset: Dataset) -> Finished:
  """Reads a finished search.

  Args:
    folder: the run's folder.
    dataset: the data set of the search.

  Raises:
    FileNotFoundError: the folder holds no run.
    ValueError: the search is not finished, or its family is not one that a
      query can ask (the message says why).
  """
  if hosts.several():
    raise ValueError(
      "a run is asked by one process, and this is one of several: use a process"
      " that has not called jax.distributed.initialize"
    )
  config = problems.read_run(folder)
  if why := refusal(config):
    raise ValueError(f"{folder.path} has {why}")
  steps = checkpoint.steps(folder.search / "checkpoints")
  if max(steps, default=0) < config.search.num_steps:
    raise ValueError(
      f"the search in {folder.path} is at step {max(steps, default=0)} of"
      f" {config.search.num_steps}: finish it with its own command,"
      f" `{folder.settings().command}`"
    )
  stages.require_data(folder, dataset)
  nets = stages.read_nets(folder, config)
  problem = problems.make(config, nets, LatencyTable.load(folder.table))
  searched = searching.search(problem, folder, dataset)
  measured = _measured(folder, nets.derived, problem.table)
  return Finished(folder, problem, dataset, searched, measured)


def _measured(
  folder: RunFolder, net: Spec, table: LatencyTable | None
) -> dict[Genotype, Measurement]:
  """The latencies in family.json of networks that are not scaled.

  {} where it is not written yet, or was measured on another device than the
  one that the table is of.
  """
  family, made_with = folder.family(), folder.made_with()
  measured_on = made_with.fingerprint if made_with else None
  if table is None or table.fingerprint != measured_on:
    return {}
  return {
    architecture.from_json(net.space(), member.architecture): member.latency
    for member in (family.members if family else ())
    if member.latency and member.width == 1.0
  }
