"""`Run`, a run folder as a Python object, and `search` and `load` that give it.

run = hw.load("runs/digits")
answer = run.query("1.5ms")
logits = answer.network(pixels)
"""

import dataclasses
import functools
import html
import pathlib
import time
from collections.abc import Sequence

import msgspec

from hwnas_jax.config import problem as problems
from hwnas_jax.config.fields import Config
from hwnas_jax.config.files import AnyConfig
from hwnas_jax.config.problem import Nets
from hwnas_jax.core import hosts
from hwnas_jax.costs.table import LatencyTable
from hwnas_jax.data.arrays import Dataset
from hwnas_jax.data.user import Data
from hwnas_jax.io import lock
from hwnas_jax.io.records import Network as NetworkRecord
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.report import run as report_run
from hwnas_jax.report import verdict
from hwnas_jax.runs import (
  finished,
  helpers,
  pipeline,
  query,
  stages,
  weights,
)
from hwnas_jax.runs.candidates import Proposals
from hwnas_jax.runs.finalists import Finalists
from hwnas_jax.runs.helpers import Helpers
from hwnas_jax.runs.network import Answer, Network
from hwnas_jax.runs.query import Measure, Question
from hwnas_jax.spaces import architecture


@dataclasses.dataclass(frozen=True)
class Report:
  """The report of a run: an HTML file that a notebook shows inline."""

  path: pathlib.Path

  def _repr_html_(self) -> str:
    page = html.escape(self.path.read_text(encoding="utf-8"))
    style = "width:100%;height:900px;border:0"
    return f'<iframe srcdoc="{page}" style="{style}"></iframe>'


@dataclasses.dataclass(frozen=True)
class Run:
  """A run folder: its networks, its report, and queries.

  >>> run = hw.load("runs/digits")
  >>> len(run.networks) > 1
  True
  >>> run.table.quantity
  'latency'
  """

  folder: RunFolder
  data: Data | None = None

  @functools.cached_property
  def config(self) -> Config:
    """The run's config, typed and frozen."""
    return problems.read_run(self.folder)

  @functools.cached_property
  def table(self) -> LatencyTable:
    """The latency table that the search priced with.

    Raises:
      FileNotFoundError: the run's cost is not latency, so it has no table.
    """
    return LatencyTable.load(self.folder.table)

  @property
  def networks(self) -> tuple[Network, ...]:
    """The family, the trained networks first, then its baselines.

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
      Network(
        self,
        architecture.from_json(space, member.architecture),
        member,
        member.width,
      )
      for member in family.members
    )

  def network(self, name: str) -> Network:
    """The network with this id, of the family or of a query.

    Raises:
      FileNotFoundError: no network has it; the message lists those there are.
    """
    family = self.folder.family()
    members = {m.id: m for m in (family.members if family else ())}
    home = self.folder.network(name)
    if not (home.path / "architecture.json").exists():
      home = self.folder.find(name)
    record = home.read_architecture()
    space = self.nets.derived.space()
    genotype = architecture.from_json(space, record.architecture)
    return Network(self, genotype, members.get(name), record.width)

  def write_report(self) -> Report:
    """Writes report.html again, from the records in the run folder.

    Raises:
      FileNotFoundError: the run is not finished.
    """
    from hwnas_jax.report.html import write_report  # imports matplotlib

    return Report(write_report(self.folder))

  @property
  def report(self) -> Report:
    """report.html, which a notebook shows inline."""
    return Report(self.folder.report)

  @property
  def verdict(self) -> str:
    """What the report says first: whether the search was worth it.

    >>> print(run.verdict)
    At ...measured ...

    Raises:
      FileNotFoundError: the run is not finished.
    """
    return "\n".join(verdict.sentences(report_run.load(self.folder).family))

  def query(
    self,
    latency: str,
    *,
    table: LatencyTable | None = None,
    train: bool = False,
    measure: Measure | None = None,
    judges: Sequence[str] = (),
    finalists: Finalists | None = None,
    **limits: float,
  ) -> Answer:
    """The network for a latency budget, with a certificate.

    Writes queries/<id>/ of the run folder: certificate.json,
    architecture.json and weights.npz. Without `train` the weights are the
    supernet's, unless this network was trained before. See
    docs/concepts.md#query.

    Args:
      latency: `5ms`, or `0.4x`, `60%` of the largest architecture's.
      table: the latency table of the device; None is the run's table.
      train: trains the network by the run's recipe.
      measure: measures a genotype on the device; None measures on this one.
      judges: who ranks the candidates, such as ("synflow", "macs"); () is
        `derive.committee.default`.
      finalists: trains the best candidates briefly and takes the most accurate;
        None takes the best by the judges.
      **limits: further budgets: params, macs, memory_mb (peak, compiled).

    Returns:
      The answer. Its latency is measured if the table is of this device, else
      predicted.

    Raises:
      ValueError: no architecture keeps the budgets, a limit or a judge is
        unknown, the recipe cannot train the finalists or the answer, the table
        is of another device and not calibrated, memory_mb is given and no
        network is compiled here, or the search is not one that a query can ask.
      FileNotFoundError: the recipe has a teacher, and the run is not finished.
      io.loop.Stopped: asked to stop while it trained; the same call resumes.
    """
    question = Question(latency, table, limits, measure, judges, finalists)
    question.require(self.config)
    if train:
      self.require_training()
    with lock.alone(self.folder.path):
      return self._answer(question, train)

  def require_training(self) -> None:
    """Refuses to train where the run's recipe cannot.

    Raises:
      FileNotFoundError, ValueError: see `helpers`; or the recipe has no steps.
    """
    if not self.config.train.num_steps:
      raise ValueError(
        f"{self.folder.path} has train.num_steps=0, so its recipe trains"
        " nothing: search again with more, in another workdir"
      )
    self.helpers  # noqa: B018  (reads them)

  def _answer(self, question: Question, train: bool) -> Answer:
    genotype, certificate = query.ask(self.finished, question)
    network = Network(self, genotype, None)
    if train:
      network.train_alone()
    home = self.folder.answer(network.id)
    home.write_architecture(NetworkRecord(network.architecture))
    kind, accuracies = weights.provide(self.finished, genotype, home)
    certificate = msgspec.structs.replace(
      certificate, weights=kind, accuracies=accuracies
    )
    home.write_certificate(certificate)
    return Answer(network, certificate)

  @functools.cached_property
  def dataset(self) -> Dataset:
    """The data set of the search.

    Raises:
      ValueError: it was given as arrays, which `load` has to be given again; or
        it differs from the data that the run began with.
      FileNotFoundError: it is not on this machine.
    """
    if self.data is not None:
      dataset = self.data.dataset()
    else:
      dataset = pipeline.load_dataset(self.config)
    stages.require_data(self.folder, dataset)
    return dataset

  @functools.cached_property
  def nets(self) -> Nets:
    """The dimensions of the run's supernet and networks.

    Raises:
      ValueError: space.model now makes others than the run began with.
    """
    return stages.read_nets(self.folder, self.config)

  @functools.cached_property
  def finished(self) -> finished.Finished:
    """The search with its weights, which queries read.

    Raises:
      ValueError: it is not finished, or not one that a query can ask.
    """
    return finished.load(self.folder, self.dataset)

  @functools.cached_property
  def helpers(self) -> Helpers:
    """The teacher and the supernet that the run's recipe trains with.

    Raises:
      FileNotFoundError: it has a teacher, and the run is not finished.
      ValueError: it has the supernet, and the search is not finished, or not
        one that a query can ask.
    """
    part = self.config.train
    genotypes = [
      network.genotype
      for network in (self.networks if part.teacher else ())
      if network.member and helpers.may_teach(network.member)
    ]
    supernet = self.finished.searched.state.weights if part.inherit else {}
    return helpers.choose(part, self.nets.derived, genotypes, supernet)

  def _repr_html_(self) -> str:
    from hwnas_jax.report import notebook  # imports matplotlib

    return notebook.run_html(report_run.load(self.folder))


def load(workdir: str | pathlib.Path, data: Data | None = None) -> Run:
  """The run in a folder, finished or not.

  >>> run = hw.load("runs/digits")
  >>> run.networks[0].latency.median_ms > 0
  True

  Args:
    workdir: the run folder.
    data: the arrays of the search, if it was given arrays.

  Raises:
    FileNotFoundError: the folder holds no run.
    ValueError: hwnas_jax 0.1 wrote it, or config.json is damaged.
  """
  run = Run(RunFolder.at(workdir), data)
  if not run.folder.exists():
    raise FileNotFoundError(
      f"{run.folder.path} is no run folder: it has no config.json"
    )
  run.config  # noqa: B018  (reads and checks it)
  return run


def search(
  config: AnyConfig,
  *,
  workdir: str | pathlib.Path,
  table: LatencyTable | None = None,
  data: Data | None = None,
  command: str = "",
) -> Run:
  """Runs a whole search: table, search, networks, training, report.

  A folder with an unfinished run of the same config is resumed.

  >>> run = hw.search(config, table=table, workdir="runs/digits")
  digits: 1437 training images on the device
  reachable: ... ms smallest, ... ms typical, ... ms largest of ...
  >>> run.report.path.name
  'report.html'

  Args:
    config: of `load_config`; its fields may be changed.
    workdir: the run folder.
    table: a latency table of this device, in place of latency.table.
    data: your own arrays, in place of data.name.
    command: the command that resumes the run, for its records and messages.

  Returns:
    The run.

  Raises:
    ValueError: the config, the table or the run folder is wrong.
    FileNotFoundError: the data set is not on this machine.
    io.loop.Stopped: asked to stop; the same call resumes.
  """
  arguments = f"config, workdir={str(workdir)!r}"
  arguments += ", table=table" if table is not None else ""
  arguments += ", data=data" if data is not None else ""
  by = command or f"hwnas_jax.search({arguments})"
  folder = pipeline.run(config, workdir, pipeline.Given(table, data, by))
  run = Run(folder, data)
  _judge_ahead(run)
  return run


def _judge_ahead(run: Run) -> None:
  """Prepares a finished run for its first query, where one can ask it.

  What was judged before is not judged again.
  """
  if finished.refusal(run.config) or hosts.several():
    return
  print("judges: score what every query compares", flush=True)
  start = time.monotonic()
  with lock.alone(run.folder.path):
    proposals = Proposals(run.finished, run.table, {})
    count = proposals.judge_ahead()
  print(f"judges: {count} architectures in {time.monotonic() - start:.0f} s")
