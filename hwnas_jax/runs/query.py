"""Answers a budget: a network of a finished search, with a certificate.

The budget is for the device of a latency table: the run's table, or any other.
If that device is this one, the answer is compiled and measured. Otherwise its
latency is predicted, with the margin of the table's calibration.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np
from absl import logging

from hwnas_jax.config import data_checks
from hwnas_jax.config.fields import Config
from hwnas_jax.core import budget as budgets
from hwnas_jax.core.types import Genotype
from hwnas_jax.costs import table as tables
from hwnas_jax.costs.measure import timing
from hwnas_jax.costs.table import LatencyTable
from hwnas_jax.derive import capacity, judges, reach, settle
from hwnas_jax.derive.settle import Candidate, Known, Measure
from hwnas_jax.io import certificates, versions
from hwnas_jax.io.certificates import Certificate
from hwnas_jax.io.records import Measurement
from hwnas_jax.runs import certificate, finalists
from hwnas_jax.runs.candidates import LIMITS, Proposals, Ranking
from hwnas_jax.runs.certificate import Found
from hwnas_jax.runs.finalists import Finalists, Trained
from hwnas_jax.runs.finished import Finished
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.spec import Spec

REPEATS = 30  # samples of a candidate's latency
STEADY = 0.1  # interquartile range over median, of a machine that is not busy
TRIES = 3  # to find it steady


@dataclasses.dataclass(frozen=True)
class Question:
  """The budgets of a query, and how its answer is chosen.

  latency: `5ms`, or `0.4x`, `60%` of the largest architecture's: its predicted
    latency, corrected by the run's measured networks where the device is here.
  table: the latency table of the device; None is the run's table.
  limits: further budgets: params, macs, memory_mb (peak, compiled).
  measure: measures a genotype on the device; None measures on this one.
  judges: who ranks the candidates; () is `derive.committee.default`.
  finalists: how many are trained briefly; None trains none.

  Raises:
    ValueError: the latency is none, a limit or a judge is unknown.
  """

  latency: str
  table: LatencyTable | None = None
  limits: Mapping[str, float] = dataclasses.field(default_factory=dict)
  measure: Measure | None = None
  judges: Sequence[str] = ()
  finalists: Finalists | None = None

  def __post_init__(self) -> None:
    budgets.parse(self.latency, "latency")
    judges.require(self.judges)
    unknown = set(self.limits) - {*LIMITS, "memory_mb"}
    if unknown:
      raise ValueError(
        f"unknown limit {', '.join(sorted(unknown))}: a limit is params, macs"
        " or memory_mb"
      )
    for name, value in self.limits.items():
      if not 0 < value < np.inf:
        raise ValueError(f"{name} must be > 0 and finite, got {value}")

  def require(self, config: Config) -> None:
    """Raises ValueError if a run's recipe cannot train the finalists."""
    if self.finalists:
      self.finalists.require(config)


def ask(finished: Finished, question: Question) -> tuple[Genotype, Certificate]:
  """The architecture for a latency budget, and its certificate.

  Raises:
    ValueError: no architecture keeps the budgets, no judge applies, the table
      is of another device and not calibrated, or memory_mb is given and no
      network is compiled here.
    io.loop.Stopped: asked to stop while finalists were trained.
  """
  config = finished.problem.config
  question.require(config)
  if question.finalists:
    for fault in data_checks.training_faults(config, finished.dataset, True):
      raise ValueError(fault)
  table = question.table or finished.problem.table
  assert table is not None
  return _Query(finished, question, table).answer()


@dataclasses.dataclass(frozen=True)
class _Query:
  """One question to one search; `answer` runs it."""

  finished: Finished
  question: Question
  table: LatencyTable

  @property
  def _net(self) -> Spec:
    return self.finished.problem.nets.derived

  def answer(self) -> tuple[Genotype, Certificate]:
    tables.require(
      self.table,
      self._net.space(),
      self.table.batch_size,
      dtype=self.finished.problem.config.precision,
    )
    self._require_memory()
    known, margin = self._known(), self._margin()
    factor = settle.correction(known)
    budget_ms = self._budget_ms(factor)
    # A network that is measured needs no margin on its prediction.
    limit_ms = budget_ms / (factor if self._measures() else margin)
    proposals = Proposals(
      self.finished, self.table, self.question.limits, self.question.judges
    )
    rankings: dict[float, Ranking] = {}

    def within(limit_ms: float) -> list[Candidate]:
      if limit_ms not in rankings:
        rankings[limit_ms] = proposals.within(limit_ms)
      return rankings[limit_ms].candidates

    ranked = within(limit_ms)
    if not ranked:
      raise ValueError(self._impossible(budget_ms, limit_ms))
    answer, count = settle.begin(ranked, budget_ms, margin, known), self._count
    kept = settle.Kept(ranked[:count], [])
    if self._measures():
      device = self._device()
      settled = settle.settle(ranked, within, budget_ms, device, answer, known)
      answer = settled.candidate
      others = self._others(within([*rankings][-1]), answer)
      kept = settle.keeping(others, budget_ms, device, count, settled, known)
    trained = self._train(kept.candidates)
    found = Found(
      certificates.Budget(
        self.question.latency, budget_ms, dict(self.question.limits)
      ),
      proposals.simplex,
      list(rankings.values()),
      trained[0][0] if trained else answer,
      kept.tried,
      trained,
    )
    return found.answer.genotype, certificate.make(
      self.finished, self.table, found
    )

  def _others(
    self, ranked: Sequence[Candidate], answer: Candidate
  ) -> list[Candidate]:
    """Those that compute another function than the answer.

    A ranking has one genotype of each function. But the answer may be of an
    earlier one, which had another.
    """
    function = capacity.reaching(self._net, answer.genotype)
    return [
      candidate
      for candidate in ranked
      if capacity.reaching(self._net, candidate.genotype) != function
    ]

  @property
  def _count(self) -> int:
    """Of finalists; 1, the answer alone, where none are trained."""
    return self.question.finalists.count if self.question.finalists else 1

  def _train(
    self, kept: Sequence[Candidate]
  ) -> list[tuple[Candidate, Trained]]:
    """The finalists, most accurate first; [] if none are asked for."""
    if not self.question.finalists:
      return []
    by_genotype = {candidate.genotype: candidate for candidate in kept}
    rows = finalists.train(
      self.finished, self.question.finalists, list(by_genotype)
    )
    return [(by_genotype[row.genotype], row) for row in rows]

  def _measures(self) -> bool:
    """Whether the table's device is here to measure on."""
    if self.question.measure is not None:
      return True
    here = versions.fingerprint_id(versions.device_fingerprint())
    return here == self.table.fingerprint

  def _require_memory(self) -> None:
    """Refuses a limit of memory where no network is compiled for the device."""
    if "memory_mb" not in self.question.limits:
      return
    if self.question.measure is not None:
      raise ValueError(
        "memory_mb is the peak of a network compiled here, and `measure`"
        " measures elsewhere: let it return infinity where one needs too much"
      )
    if not self._measures():
      raise ValueError(
        "memory_mb is the peak of a network compiled on the device, and the"
        f" table is of {self.table.fingerprint}: ask there, or limit params and"
        " macs"
      )

  def _known(self) -> list[Known]:
    """The run's measurements, if this table is of the same device."""
    run_table = self.finished.problem.table
    assert run_table is not None
    same = tables.same_device(self.table, run_table)
    if self.question.measure is not None or not same or not self._measures():
      return []
    return [
      Known(g, tables.predict_ms(self.table, self._net, g), measured.median_ms)
      for g, measured in self.finished.measured.items()
    ]

  def _margin(self) -> float:
    """The factor from a prediction to its upper bound."""
    if self.table.calibration:
      return self.table.calibration.margin
    if self._measures():
      return 1.0
    raise ValueError(
      f"the latency table of {self.table.fingerprint} is not calibrated, so its"
      " error is unknown, and this is another device, so nothing can be"
      f" measured: calibrate the table there with `{tables.COMMAND}`"
    )

  def _budget_ms(self, factor: float) -> float:
    """The budget; a fraction is of the largest's, as measured here."""
    wanted = budgets.parse(self.question.latency, "latency")
    return budgets.to_ms(wanted, factor * self._reach_ms()[1])

  def _reach_ms(self) -> tuple[float, float]:
    """(smallest, largest) predicted latency of the space on the device."""
    return reach_ms(
      self._net, self.table, self.finished.problem.config.derive.rule
    )

  def _impossible(self, budget_ms: float, limit_ms: float) -> str:
    """The message of a budget that no architecture keeps."""
    low, high = self._reach_ms()
    limits, factor = dict(self.question.limits), budget_ms / limit_ms
    return (
      f"no architecture keeps {budget_ms:.4g} ms"
      + (f" and {limits}" if limits else "")
      + f" on {self.table.fingerprint}: the space's architectures take"
      f" {low:.4g} to {high:.4g} ms by the table"
      + (
        f", times {factor:.3g}, as measured networks take"
        if factor != 1 and self._measures()
        else f", times the margin {factor:.3g}"
        if factor != 1
        else ""
      )
    )

  def _device(self) -> Measure:
    """What measures a candidate; too much memory counts as too slow."""
    if self.question.measure is not None:
      return functools.partial(_measured_by, self.question.measure)
    return functools.partial(
      measure_here,
      self._net,
      self.table.batch_size,
      dtype=self.table.dtype,
      memory_mb=self.question.limits.get("memory_mb", np.inf),
    )


def _measured_by(measure: Measure, genotype: Genotype) -> Measurement:
  """What a user's function measures, checked."""
  measured = measure(genotype)
  if not measured.median_ms > 0:  # NaN is not
    raise ValueError(
      f"measure gave {measured.median_ms} ms for {genotype}: a latency is above"
      " 0, and infinity for a network that cannot run"
    )
  return measured


def reach_ms(net: Spec, table: LatencyTable, rule: str) -> tuple[float, float]:
  """(smallest, largest) predicted latency of the space on a device."""
  space, costs = net.space(), tables.costs(table)
  return reach.bounds_ms(
    space, space.cost_array(costs), space.base_cost(costs), rule
  )


def measure_here(
  net: Spec,
  batch_size: int,
  genotype: Genotype,
  *,
  dtype: str = "float32",
  memory_mb: float = np.inf,
) -> Measurement:
  """Compiles and times a network on this device.

  Samples that another process spread are taken again: a third of a second, and
  several for another network. Of TRIES the steadiest counts, not the fastest.
  A network whose peak memory exceeds `memory_mb` gets an infinite latency.
  """
  compiled = timing.compile_network(net, genotype, batch_size, dtype)
  name = architecture.identity(net.space(), genotype)
  if compiled.peak_memory_mb > memory_mb:
    logging.warning(
      "network %s needs %.4g MB, more than memory_mb=%.4g",
      *(name, compiled.peak_memory_mb, memory_mb),
    )
    return Measurement(np.inf, 0.0)
  measured: list[Measurement] = []
  while len(measured) < TRIES:
    measured.append(timing.measure_networks({name: compiled}, REPEATS)[name])
    if _spread(measured[-1]) <= STEADY:
      break
  return min(measured, key=_spread)


def _spread(measured: Measurement) -> float:
  """The interquartile range, relative to the median."""
  return measured.iqr_ms / measured.median_ms
