"""A run and its networks, as Python code uses them.

    run = hw.load("runs/digits")
    answer = run.query("1.5ms")
    logits = answer.network(pixels)
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence

import numpy as np

from hwnas_jax.config import problem as problems
from hwnas_jax.config.fields import Config
from hwnas_jax.config.problem import Nets
from hwnas_jax.core.compile import jit
from hwnas_jax.core.types import Array, Genotype
from hwnas_jax.costs import table as tables
from hwnas_jax.costs.table import LatencyTable
from hwnas_jax.data.arrays import Dataset
from hwnas_jax.data.user import Data
from hwnas_jax.io.records import (
  Accuracies,
  Certificate,
  ComfortZone,
  Export,
  Margin,
  Measurement,
  Member,
)
from hwnas_jax.io.records import Network as NetworkRecord
from hwnas_jax.io.run_folder import NetworkFolder, RunFolder
from hwnas_jax.report import notebook
from hwnas_jax.runs import (
  comfort_zone,
  deploy,
  finished,
  pipeline,
  query,
  training,
  weights,
)
from hwnas_jax.runs.query import Measure, Question
from hwnas_jax.spaces import architecture


@dataclasses.dataclass(frozen=True)
class Report:
  """The page of a run; a notebook shows it inline."""

  path: pathlib.Path

  def _repr_html_(self) -> str:
    return notebook.page_html(self.path)


@dataclasses.dataclass(frozen=True)
class Run:
  """A run folder: its networks, its report, and queries.

  >>> run = load("runs/digits")  # doctest: +SKIP
  >>> [network.latency.median_ms for network in run.networks]  # doctest: +SKIP
  """

  folder: RunFolder
  data: Data | None = None

  @functools.cached_property
  def config(self) -> Config:
    """The config that ran, typed."""
    return problems.read_run(self.folder)

  @functools.cached_property
  def table(self) -> LatencyTable:
    """The latency table that the search priced with.

    Raises:
      FileNotFoundError: the run priced something else.
    """
    return tables.load(self.folder.table)

  @property
  def networks(self) -> tuple["Network", ...]:
    """Every network of the family, then the random ones beside it.

    Raises:
      FileNotFoundError: the run is not finished.
    """
    family = self.folder.family()
    if family is None:
      raise FileNotFoundError(
        f"{self.folder.path} has no networks yet: finish it with"
        f" `{self.folder.settings().command}`"
      )
    space = self.nets.derived.space()
    return tuple(
      Network(self, architecture.from_json(space, member.architecture), member)
      for member in family.members
    )

  def network(self, name: str) -> "Network":
    """A network by its id: of the family, or a query's answer.

    Raises:
      FileNotFoundError: there is none; the message lists those there are.
    """
    family = self.folder.family()
    members = {m.id: m for m in (family.members if family else ())}
    home = self.folder.network(name)
    if not (home.path / "architecture.json").exists():
      home = self.folder.find(name)
    genotype = architecture.from_json(
      self.nets.derived.space(), home.read_architecture().architecture
    )
    return Network(self, genotype, members.get(name))

  @property
  def report(self) -> Report:
    """report.html, which a notebook shows inline."""
    return Report(self.folder.report)

  def query(
    self,
    latency: str,
    *,
    table: LatencyTable | None = None,
    train: bool = False,
    measure: Measure | None = None,
    **limits: float,
  ) -> "Answer":
    """The network for a latency budget, with a certificate.

    Writes queries/<id>/ of the run folder: certificate.json,
    architecture.json and weights.npz.

    Args:
      latency: `5ms`, or `0.4x`, `60%` of the largest architecture's.
      table: of the device; the run's own by default.
      train: trains the network by the run's recipe.
      measure: the device, where it is not the one this runs on.
      **limits: more budgets: params, macs, memory_mb (compiled).

    Returns:
      The answer: measured on the table's own device, else predicted.

    Raises:
      ValueError: a budget that no architecture keeps, an unknown limit, or a
        prediction by a table without calibration.
    """
    question = Question(latency, table, limits, measure)
    genotype, certificate = query.ask(self.finished, question)
    network = Network(self, genotype, None)
    if train:
      network.train()
    home = self.folder.answer(network.id)
    home.write_architecture(NetworkRecord(network.architecture))
    kind, accuracies = weights.provide(self.finished, genotype, home)
    certificate = dataclasses_replace(certificate, kind, accuracies)
    home.write_certificate(certificate)
    return Answer(network, certificate)

  @functools.cached_property
  def dataset(self) -> Dataset:
    """The data set that the run searched on."""
    if self.data is not None:
      return self.data.dataset()
    return pipeline.load_dataset(self.config)

  @functools.cached_property
  def nets(self) -> Nets:
    """The dimensions of the run's supernet and networks."""
    return problems.make_nets(self.config, self.dataset)

  @functools.cached_property
  def finished(self) -> finished.Finished:
    """The search that queries ask.

    Raises:
      ValueError: it is not finished, or has no family over scales.
    """
    return finished.load(self.folder, self.dataset)

  def _repr_html_(self) -> str:
    return notebook.run_html(self.folder)
