"""Answers a budget: a network of a finished search, with a certificate.

The budget is for the device of a latency table: the run's table, or any other.
If that device is this one, the answer is compiled and measured. Otherwise its
latency is predicted, with the margin of the table's calibration.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np

from hwnas_jax.config import method, pricing
from hwnas_jax.core import budget as budgets
from hwnas_jax.core.types import Genotype
from hwnas_jax.costs import counts
from hwnas_jax.costs import table as tables
from hwnas_jax.costs.measure import timing
from hwnas_jax.costs.table import LatencyTable
from hwnas_jax.derive import rank, reach, settle, shortlist, sweep
from hwnas_jax.derive.exact import Constraint, spent
from hwnas_jax.derive.settle import (
  Candidate,
  Measure,
  MeasuredCandidate,
  Settled,
)
from hwnas_jax.io import records, versions
from hwnas_jax.io.records import Certificate, Measurement
from hwnas_jax.runs import judging, searching
from hwnas_jax.runs.finished import Finished
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.rules import RULES
from hwnas_jax.spaces.spec import Spec

REPEATS = 30  # samples of a candidate's latency
LIMITS = {"params": counts.params, "macs": counts.macs}


@dataclasses.dataclass(frozen=True)
class Question:
  """The budgets of a query.

  latency: `5ms`, or `0.4x`, `60%` of the largest architecture's.
  table: the latency table of the device; None is the run's table.
  limits: further budgets: params, macs, memory_mb (peak, compiled).
  measure: measures a genotype on the device; None measures on this one.
  """

  latency: str
  table: LatencyTable | None = None
  limits: Mapping[str, float] = dataclasses.field(default_factory=dict)
  measure: Measure | None = None


def ask(finished: Finished, question: Question) -> tuple[Genotype, Certificate]:
  """The architecture for a latency budget, and its certificate.

  Raises:
    ValueError: no architecture keeps the budgets, a limit is unknown, or the
      table is of another device and not calibrated.
  """
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

  @property
  def _rule(self) -> str:
    return self.finished.problem.config.derive.rule

  def answer(self) -> tuple[Genotype, Certificate]:
    space = self._net.space()
    tables.require(self.table, space, self.table.batch_size)
    budget_ms, margin = self._budget_ms(), self._margin()
    # A network that is measured needs no margin on its prediction.
    factor = 1.0 if self._measures() else margin
    candidates = functools.cache(self._candidates)
    ranked = candidates(budget_ms / factor)
    if not ranked:
      raise ValueError(self._impossible(budget_ms, factor))
    ideal_loss, known = self._ideal_loss(), self._known()
    first = settle.begin(ranked, budget_ms, margin, known)
    settled = None
    if self._measures():
      settled = settle.settle(
        candidates,
        budget_ms,
        self._device(),
        first,
        ideal_loss,
        known,
      )
      first = settled.candidate
    certificate = self._certificate(
      first,
      settled,
      budget_ms=budget_ms,
      num_candidates=len(ranked),
      unconstrained_best_fits=bool(first.loss <= ideal_loss),
    )
    return first.genotype, certificate

  @functools.cached_property
  def _simplex(self) -> tuple[np.ndarray, float]:
    """(the device as a point of the simplex, relative residual of that)."""
    problem, space = self.finished.problem, self._net.space()
    assert problem.table is not None
    prices = space.cost_array(tables.costs(self.table))
    reference = tables.price_array(problem.table, space)
    return shortlist.simplex_of(prices, reference, problem.columns)

  @functools.cached_property
  def _unbounded(self) -> list[Genotype]:
    """The architectures that the rule derives at each scale, no budget."""
    rule, space = RULES[self._rule], self._net.space()
    return [*{rule(space, rows): None for rows in self._logits}]

  def _ideal_loss(self) -> float:
    """The least shared-weights loss without the latency budget."""
    genotypes = shortlist.shortlist(
      self._net.space(),
      self._rule,
      self._logits,
      self._constraints(),
      per_scale=3,
    )
    return self._rank(genotypes)[0].loss

  def _candidates(self, limit_ms: float) -> list[Candidate]:
    """Architectures predicted to keep every budget, by rising loss."""
    space, costs = self._net.space(), tables.costs(self.table)
    timed = Constraint(
      "latency", space.cost_array(costs), space.base_cost(costs), limit_ms
    )
    constraints = [timed, *self._constraints()]
    genotypes = shortlist.shortlist(
      space, self._rule, self._logits, constraints
    )
    ranked = self._rank([*dict.fromkeys([*genotypes, *self._unbounded])])
    return [
      candidate
      for candidate in ranked
      if all(spent(c, candidate.genotype) <= c.budget for c in constraints)
    ]

  def _measures(self) -> bool:
    """Whether the table's device is here to measure on."""
    if self.question.measure is not None:
      return True
    here = versions.fingerprint_id(versions.device_fingerprint())
    return here == self.table.fingerprint

  def _known(self) -> list[MeasuredCandidate]:
    """The run's measurements, if this table is of the same device."""
    run_table = self.finished.problem.table
    assert run_table is not None
    same = (self.table.fingerprint, self.table.batch_size) == (
      run_table.fingerprint,
      run_table.batch_size,
    )
    if self.question.measure is not None or not same or not self._measures():
      return []
    return [
      MeasuredCandidate(
        Candidate(g, 0.0, tables.predict_ms(self.table, self._net, g)),
        measured,
      )
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

  def _budget_ms(self) -> float:
    wanted = budgets.parse(self.question.latency, "latency")
    return budgets.to_ms(wanted, self._reach_ms()[1])

  def _reach_ms(self) -> tuple[float, float]:
    """(smallest, largest) predicted latency of the space on the device."""
    return reach_ms(self._net, self.table, self._rule)

  def _impossible(self, budget_ms: float, factor: float) -> str:
    """The message of a budget that no architecture keeps."""
    low, high = self._reach_ms()
    limits = dict(self.question.limits)
    return (
      f"no architecture keeps {budget_ms:.4g} ms"
      + (f" and {limits}" if limits else "")
      + f" on {self.table.fingerprint}: the space's architectures take"
      f" {low:.4g} to {high:.4g} ms by the table"
      + (f", times the margin {factor:.3g}" if factor != 1 else "")
    )

  def _constraints(self) -> list[Constraint]:
    """Limits other than latency that are sums: params, macs, max_skips."""
    space, limits = self._net.space(), self.question.limits
    unknown = set(limits) - {*LIMITS, "memory_mb"}
    if unknown:
      raise ValueError(
        f"unknown limit {', '.join(sorted(unknown))}: a limit is params, macs"
        " or memory_mb"
      )
    cap = pricing.skip_cap(self.finished.problem.config, space)
    constraints = [cap] if cap else []
    for name, limit in limits.items():
      if name in LIMITS:
        costs = counts.site_costs(space, LIMITS[name])
        constraints.append(
          Constraint(
            name, space.cost_array(costs), space.base_cost(costs), limit
          )
        )
    return constraints

  @functools.cached_property
  def _logits(self) -> np.ndarray:
    """[33, E, O] at the device's point of the simplex, by rising scale."""
    part = self.finished.problem.config.condition
    scales = np.geomspace(part.low, part.high, shortlist.NUM_SCALES + 1)
    simplex = tuple(self._simplex[0].tolist())
    parts, state = self.finished.searched
    return sweep.logits_of(
      parts.controller,
      parts.conditions,
      state.controller,
      [records.Condition(simplex, float(scale)) for scale in scales],
    )

  def _rank(self, genotypes: Sequence[Genotype]) -> list[Candidate]:
    """Candidates by rising shared-weights loss on held-out examples.

    Where the search trained no supernet, by falling quality by its surrogate.
    """
    finished = self.finished
    new = [g for g in genotypes if g not in finished.losses]
    if new:
      shared = searching.shared_weights(
        finished.problem, finished.dataset, finished.searched
      )
      if shared is None:
        losses = -judging.qualities(finished.problem, finished.folder, new)
      else:
        losses = rank.rank(shared, len(self._net.ops), new)
      finished.losses.update(zip(new, map(float, losses), strict=True))
    ranked = [
      Candidate(
        g, finished.losses[g], tables.predict_ms(self.table, self._net, g)
      )
      for g in genotypes
    ]
    return sorted(ranked, key=lambda candidate: candidate.loss)

  def _device(self) -> Measure:
    """What measures a candidate; too much memory counts as too slow."""
    if self.question.measure is not None:
      return self.question.measure
    return functools.partial(
      measure_here,
      self._net,
      self.table.batch_size,
      memory_mb=self.question.limits.get("memory_mb", np.inf),
    )

  def _certificate(
    self,
    answer: Candidate,
    settled: Settled | None,
    *,
    budget_ms: float,
    num_candidates: int,
    unconstrained_best_fits: bool,
  ) -> Certificate:
    calibration = self.table.calibration
    has_shared = method.trains_weights(self.finished.problem.config)
    simplex, residual = self._simplex
    return Certificate(
      kind="measured" if settled else "predicted",
      budget=records.Budget(
        self.question.latency, budget_ms, dict(self.question.limits)
      ),
      predicted_ms=answer.predicted_ms,
      measured=settled.measured if settled else None,
      tried=tuple(
        records.Tried(
          candidate.predicted_ms,
          measured if np.isfinite(measured.median_ms) else None,
        )
        for candidate, measured in (settled.tried if settled else ())
      ),
      margin=records.Margin(
        ratio=calibration.margin,
        nominal_level=calibration.level,
        attained_level=calibration.attained_level,
        guaranteed_level=calibration.guaranteed_level,
        networks=len(calibration.networks),
      )
      if calibration
      else None,
      candidates=num_candidates,
      unconstrained_best_fits=unconstrained_best_fits,
      simplex=tuple(float(s) for s in simplex),
      simplex_residual=residual,
      shared_weights_loss=answer.loss if has_shared else None,
      batch_size=self.table.batch_size,
      table=records.TableIdentity(self.table.fingerprint, self.table.digest()),
      device=versions.device_fingerprint(),
      versions=versions.versions(),
    )


def reach_ms(net: Spec, table: LatencyTable, rule: str) -> tuple[float, float]:
  """(smallest, largest) predicted latency of the space on a device."""
  space, costs = net.space(), tables.costs(table)
  return reach.bounds_ms(
    space, space.cost_array(costs), space.base_cost(costs), rule
  )


def measure_here(
  net: Spec, batch_size: int, genotype: Genotype, *, memory_mb: float = np.inf
) -> Measurement:
  """Compiles and times a network on this device.

  A network whose peak memory exceeds `memory_mb` gets an infinite latency.
  """
  compiled = timing.compile_network(net, genotype, batch_size)
  if compiled.peak_memory_mb > memory_mb:
    return Measurement(np.inf, 0.0)
  name = architecture.identity(net.space(), genotype)
  return timing.measure_networks({name: compiled}, REPEATS)[name]
