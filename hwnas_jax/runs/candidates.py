"""The candidates of a query: who proposes them, and how they are ranked.

They are the controller's likeliest architectures and the largest ones, all of
which are predicted to keep every budget. A committee of judges ranks them,
together with those that only the latency budget excludes.
"""

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hwnas_jax.config import pricing
from hwnas_jax.core.types import Genotype
from hwnas_jax.costs import counts
from hwnas_jax.costs import table as tables
from hwnas_jax.costs.table import LatencyTable
from hwnas_jax.derive import capacity, committee, exact, shortlist, sweep
from hwnas_jax.derive.exact import Constraint, spent
from hwnas_jax.derive.judges import Judged
from hwnas_jax.derive.settle import Candidate
from hwnas_jax.io import records
from hwnas_jax.io.certificates import Source
from hwnas_jax.runs import scores
from hwnas_jax.runs.finished import Finished
from hwnas_jax.spaces.spec import Spec

LIMITS = {"params": counts.params, "macs": counts.macs}


class Ranking(NamedTuple):
  """The candidates of a latency limit.

  candidates: best first, of equal ones that of lower predicted latency; []
    where no architecture keeps the limits.
  judged: what judges say of `compared`, which are the candidates and those that
    only the latency budget excludes.
  weights: of the judges.
  """

  candidates: list[Candidate]
  compared: list[Genotype]
  judged: Judged
  weights: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Proposals:
  """Proposes and ranks architectures for a device.

  finished: the search.
  table: the device's latency table.
  limits: budgets other than latency: params, macs, memory_mb.
  judges: their names; () is `committee.default`.
  """

  finished: Finished
  table: LatencyTable
  limits: Mapping[str, float]
  judges: Sequence[str] = ()

  def within(self, limit_ms: float) -> Ranking:
    """Those predicted to keep a latency and every other limit, ranked.

    Raises:
      ValueError: no judge applies.
    """
    constraints = [self._timed(limit_ms), *self.constraints]
    keep = functools.partial(self._keeps, constraints)
    sources = self._merged(
      filter(keep, self._controller(constraints)),
      filter(keep, self._largest(limit_ms)),
    )
    if not sources:
      return Ranking([], [], Judged({}, {}), {})
    return self._rank(sources)

  def judge_ahead(self) -> int:
    """Judges what is compared at every budget; returns how many those are.

    The scores stay in the run folder, and the judges' programs in JAX's cache.
    """
    self._judged(self._without_budget)
    return len(self._without_budget)

  @functools.cached_property
  def simplex(self) -> tuple[np.ndarray, float]:
    """(the device as a point of the simplex, relative residual of that)."""
    problem, space = self.finished.problem, self._net.space()
    assert problem.table is not None
    prices = space.cost_array(tables.costs(self.table))
    reference = tables.price_array(problem.table, space)
    return shortlist.simplex_of(prices, reference, problem.columns)

  @functools.cached_property
  def constraints(self) -> list[Constraint]:
    """Limits other than latency that are sums: params, macs, max_skips."""
    space = self._net.space()
    cap = pricing.skip_cap(self.finished.problem.config, space)
    constraints = [cap] if cap else []
    for name, limit in self.limits.items():
      if name in LIMITS:
        costs = counts.site_costs(space, LIMITS[name])
        constraints.append(exact.limit(name, space, costs, limit))
    return constraints

  @property
  def _net(self) -> Spec:
    return self.finished.problem.nets.derived

  @property
  def _rule(self) -> str:
    return self.finished.problem.config.derive.rule

  def _keeps(
    self, constraints: Sequence[Constraint], genotype: Genotype
  ) -> bool:
    """Whether an architecture is alive and keeps every budget."""
    fits = all(spent(c, genotype) <= c.budget for c in constraints)
    return fits and self._net.alive(genotype)

  def _predicted_ms(self, genotype: Genotype) -> float:
    return tables.predict_ms(self.table, self._net, genotype)

  def _timed(self, limit_ms: float) -> Constraint:
    costs = tables.costs(self.table)
    return exact.limit("latency", self._net.space(), costs, limit_ms)

  def _controller(self, constraints: Sequence[Constraint]) -> list[Genotype]:
    """The controller's likeliest architectures that keep every budget."""
    space = self._net.space()
    return shortlist.shortlist(space, self._rule, self._logits, constraints)

  def _largest(self, limit_ms: float) -> list[Genotype]:
    """The largest architectures that keep a latency and every other limit."""
    constraints = [self._timed(limit_ms), *self.constraints]
    return capacity.largest(self._net, self._rule, constraints, capacity.COUNT)

  @functools.cached_property
  def _logits(self) -> np.ndarray:
    """[NUM_SCALES + 1, E, O] at the device's point, by rising scale."""
    part = self.finished.problem.config.condition
    scales = np.geomspace(part.low, part.high, shortlist.NUM_SCALES + 1)
    simplex = tuple(self.simplex[0].tolist())
    parts, state = self.finished.searched
    return sweep.logits_of(
      parts.controller,
      parts.conditions,
      state.controller,
      [records.Condition(simplex, float(scale)) for scale in scales],
    )

  @functools.cached_property
  def _without_budget(self) -> list[Genotype]:
    """What would be proposed without the latency budget."""
    proposed = *self._controller(self.constraints), *self._largest(np.inf)
    return [genotype for genotype in proposed if self._net.alive(genotype)]

  def _merged(
    self, controller: Iterable[Genotype], largest: Iterable[Genotype]
  ) -> dict[Genotype, Source]:
    """All candidates with who proposed them; equal functions count once.

    Of equal ones the one of lower predicted latency is kept: a device may run
    operations that do not reach the output.
    """
    sources: dict[Genotype, Source] = {}
    kept: dict[Genotype, Genotype] = {}  # by what reaches the output
    proposed: list[tuple[Genotype, Source]] = [
      *((g, "controller") for g in controller),
      *((g, "capacity") for g in largest),
    ]
    for genotype, source in proposed:
      function = capacity.reaching(self._net, genotype)
      before = kept.setdefault(function, genotype)
      if sources.get(before, source) != source:
        source = "both"
      kept[function] = min(before, genotype, key=self._predicted_ms)
      sources.pop(before, None)
      sources[kept[function]] = source
    return sources

  def _judged(self, genotypes: list[Genotype]) -> Judged:
    """What the judges say; another committee where one of the first's lacks."""
    if self.judges:
      return scores.judge(self.finished, self.judges, genotypes)
    left_out: dict[str, str] = {}
    while True:
      weights = committee.default(left_out)
      judged = scores.judge(self.finished, [*weights], genotypes)
      left_out |= judged.left_out
      if not judged.left_out:
        return judged._replace(left_out=left_out)

  def _rank(self, sources: Mapping[Genotype, Source]) -> Ranking:
    functions = {
      capacity.reaching(self._net, g): g for g in self._without_budget
    }
    functions |= {capacity.reaching(self._net, g): g for g in sources}
    compared = [*functions.values()]
    judged = self._judged(compared)
    if not judged.scores:
      reasons = "; ".join(f"{n}: {why}" for n, why in judged.left_out.items())
      raise ValueError(
        f"no judge applies: {reasons}. Choose others by --judges"
      )
    weights = dict.fromkeys(judged.scores, 1.0)
    if not self.judges:
      weights = committee.default(judged.left_out)
    totals = committee.committee(judged.scores, weights).total
    rows = zip(compared, committee.places(totals), strict=True)
    candidates = [
      Candidate(
        genotype, place, self._predicted_ms(genotype), sources[genotype]
      )
      for genotype, place in rows
      if genotype in sources
    ]
    return Ranking(
      sorted(candidates, key=lambda c: (c.place, c.predicted_ms)),
      compared,
      judged,
      weights,
    )
