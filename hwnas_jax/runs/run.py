"""A run and its networks, as Python code uses them.

run = hw.load("runs/digits")
answer = run.query("1.5ms")
logits = answer.network(pixels)
"""

import dataclasses
import functools
import html
import pathlib
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import msgspec
import numpy as np

from hwnas_jax.config import problem as problems
from hwnas_jax.config.fields import Config
from hwnas_jax.config.files import AnyConfig
from hwnas_jax.config.problem import Nets
from hwnas_jax.core.compile import jit
from hwnas_jax.core.types import Array, Genotype
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
from hwnas_jax.report import run as report_run
from hwnas_jax.report.html import write_report
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
    page = html.escape(self.path.read_text(encoding="utf-8"))
    style = "width:100%;height:900px;border:0"
    return f'<iframe srcdoc="{page}" style="{style}"></iframe>'


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
    return LatencyTable.load(self.folder.table)

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

  def write_report(self) -> Report:
    """Writes report.html again, of what lies in the run folder.

    Raises:
      FileNotFoundError: the run is not finished.
    """
    return Report(write_report(self.folder))

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
    certificate = msgspec.structs.replace(
      certificate, weights=kind, accuracies=accuracies
    )
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
    return notebook.run_html(report_run.load(self.folder))


@dataclasses.dataclass(frozen=True)
class Network:
  """A derived network of a run: a description, and a function of pixels.

  member: its record in the family; None of an answer that is not of it.

  >>> network.id, network.latency.median_ms  # doctest: +SKIP
  >>> logits = network(pixels)  # doctest: +SKIP
  """

  run: Run
  genotype: Genotype
  member: Member | None

  @property
  def id(self) -> str:
    """Eight hexadecimal digits that name its architecture."""
    return architecture.identity(self.run.nets.derived.space(), self.genotype)

  @property
  def name(self) -> str:
    """What it is in its family, such as `scale 0.1`; its id outside."""
    return self.member.name if self.member else self.id

  @property
  def architecture(self) -> dict[str, str]:
    """{choice: operation}, kept choices only."""
    return architecture.to_json(self.run.nets.derived.space(), self.genotype)

  @property
  def latency(self) -> Measurement | None:
    """Measured, of a batch of latency.batch_size; None where it was not."""
    return self.member.latency if self.member else None

  @property
  def predicted_ms(self) -> float | None:
    """By the run's latency table; None where it has none."""
    return self.member.predicted_ms if self.member else None

  @property
  def accuracies(self) -> Accuracies:
    """Of its training; empty where it was not trained."""
    trained = self.run.folder.network(self.id).accuracies()
    return trained or Accuracies()

  @property
  def test_accuracy(self) -> float | None:
    """Mean over the training seeds; None where it was not trained."""
    return self.accuracies.test_accuracy

  @property
  def home(self) -> NetworkFolder:
    """The folder with its weights, trained before inherited.

    Raises:
      FileNotFoundError: it has none; the message lists those that have.
    """
    return self.run.folder.find(self.id)

  @functools.cached_property
  def infer(self) -> Callable[[Array], Array]:
    """float32[B, H, W, C] pixels in [0, 255] -> logits; traceable by JAX.

    Raises:
      FileNotFoundError: it has no weights.
    """
    return weights.infer_with(
      self.run.nets.derived,
      self.genotype,
      self.home.weights,
      self.run.dataset,
    )

  @functools.cached_property
  def _compiled(self) -> Callable[[Array], Array]:
    return jit(lambda pixels: self.infer(pixels))

  def __call__(self, pixels: Array | np.ndarray) -> Array:
    """Class logits [B, num_classes] of pixels [B, H, W, C] in [0, 255].

    Compiled as it was measured: on CPU the optimisation barriers stay.
    """
    return self._compiled(jnp.asarray(pixels, jnp.float32))

  def train(self) -> "Network":
    """Trains it by the run's recipe, or reads what was trained before."""
    run = self.run
    training.train(
      run.config, run.folder, run.dataset, run.nets.derived, [self.genotype]
    )
    return Network(run, self.genotype, self.member)

  def export(
    self, out: str | pathlib.Path, batch_size: int | None = None
  ) -> Export:
    """Writes it as ONNX and StableHLO, with its weights and normalisation.

    Args:
      out: the folder to write to.
      batch_size: images a call; None is that of the run's latencies.

    Raises:
      FileNotFoundError: it has no weights.
      ValueError: a written program differs from JAX.
      ModuleNotFoundError: the extra [onnx] is not installed.
    """
    net = self.run.nets.derived
    count = batch_size or self.run.config.latency.batch_size
    images = np.asarray(self.run.dataset.test.images)
    deployable = deploy.Deployable(
      self.id,
      self.architecture,
      net.num_classes,
      self.infer,
      np.resize(images, (count, *net.image)),
    )
    return deploy.write(deployable, out)

  def scale(
    self,
    widths: Sequence[float] = comfort_zone.WIDTHS,
    sides: Sequence[float] = comfort_zone.SIDES,
    tolerance: float = comfort_zone.TOLERANCE,
  ) -> ComfortZone:
    """Finds the largest scaled network that takes no longer on this device.

    Args:
      widths: factors of its channels, beside 1.
      sides: factors of its image's sides, beside 1.
      tolerance: of its latency, that a larger one may take more.

    Raises:
      ValueError: a user's own model, whose shapes are its own.
    """
    part = self.run.config.latency
    return comfort_zone.run(
      self.run.folder,
      self.run.nets.derived,
      self.genotype,
      comfort_zone.Grid(tuple(widths), tuple(sides), tolerance),
      comfort_zone.measure_here(self.genotype, part.batch_size, part.repeats),
    )

  def _repr_html_(self) -> str:
    family = self.run.folder.family()
    if self.member is None or family is None:
      return html.escape(f"network {self.id}: {self.architecture}")
    return notebook.network_html(self.member, family)


@dataclasses.dataclass(frozen=True)
class Answer:
  """The network for a budget, and how its latency is known."""

  network: Network
  certificate: Certificate

  @property
  def folder(self) -> NetworkFolder:
    """queries/<id>/ of the run folder."""
    return self.network.run.folder.answer(self.network.id)

  @property
  def measured(self) -> Measurement | None:
    """Its latency on the table's device; None where it is predicted."""
    return self.certificate.measured

  @property
  def predicted_ms(self) -> float:
    """Its latency by the table."""
    return self.certificate.predicted_ms

  @property
  def margin(self) -> Margin | None:
    """How far the table's predictions are off; None if not calibrated."""
    return self.certificate.margin

  def _repr_html_(self) -> str:
    return notebook.answer_html(self.certificate)


def load(workdir: str | pathlib.Path, data: Data | None = None) -> Run:
  """A run by its folder, finished or not.

  Args:
    workdir: the run folder.
    data: the arrays that it was searched on, where they were given in Python.

  Raises:
    FileNotFoundError: there is no run.
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
  """Searches, derives, trains, measures and reports; resumes what was begun.

  Args:
    config: of `load_config`; its fields may be changed.
    workdir: the run folder.
    table: of the device, in place of latency.table.
    data: your own arrays, in place of data.name.
    command: how the run was started, for its records.

  Returns:
    The run.

  Raises:
    ValueError: the config, the table or the run folder is wrong.
    FileNotFoundError: the data set is absent.
    io.loop.Stopped: asked to stop; the same call resumes.
  """
  by = command or f"hwnas_jax.search(config, workdir={str(workdir)!r})"
  folder = pipeline.run(config, workdir, pipeline.Given(table, data, by))
  return Run(folder, data)
