"""Measures ranked candidates until one keeps the budget and uses most of it.

Predicted latencies are off by a few per cent, and by more for some networks. So
each measurement corrects the predictions of similar networks. After a network
that was too slow a faster one is measured, after one that leaves much of the
budget a slower one.
"""

import functools
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from hwnas_jax.core.types import Genotype
from hwnas_jax.io.certificates import Source
from hwnas_jax.io.records import Measurement

FILL = 0.9  # of the budget that an answer should use
MAX_MEASURED = 8


class Candidate(NamedTuple):
  """An architecture that may be the answer.

  place: 1 is the best of all architectures that were compared. Those that the
    latency budget excludes are compared too, so that none without the budget is
    better than the first. Equal ones have the same place.
  predicted_ms: by the table, of the operations that reach the output.
  source: who proposed it.
  """

  genotype: Genotype
  place: int
  predicted_ms: float
  source: Source


class MeasuredCandidate(NamedTuple):
  """A candidate and its measured latency."""

  candidate: Candidate
  measured: Measurement


class Known(NamedTuple):
  """A network that was measured, by this query or before."""

  genotype: Genotype
  predicted_ms: float
  measured_ms: float


class Settled(NamedTuple):
  """The answer, its measured latency, and all candidates that were measured."""

  candidate: Candidate
  measured: Measurement
  tried: list[MeasuredCandidate]


class CandidatesWithin(Protocol):
  """Candidates by limit."""

  def __call__(self, limit_ms: float, /) -> list[Candidate]:
    """Those predicted to keep a latency in ms, best first."""


class Measure(Protocol):
  """The device, or a benchmark's data in its place."""

  def __call__(self, genotype: Genotype, /) -> Measurement:
    """A network's latency; infinite where it does not fit into memory."""


def correction(known: Sequence[Known]) -> float:
  """The median of measured over predicted latencies; 1 where none is known."""
  ratios = [network.measured_ms / network.predicted_ms for network in known]
  return float(np.median(ratios)) if ratios else 1.0


def begin(
  ranked: Sequence[Candidate],
  budget_ms: float,
  margin: float,
  before: Sequence[Known] = (),
) -> Candidate:
  """The best candidate predicted to fill the budget.

  It uses FILL of it by its prediction, and keeps it by its upper bound. Where
  none does both, the upper bound of the best one uses FILL; where none does,
  the best one that keeps the budget; where none does, the fastest one.

  Args:
    ranked: best first, at least one.
    budget_ms: the limit of `margin` times the prediction.
    margin: of the table's calibration.
    before: networks measured before, which correct predictions of similar ones.
  """
  corrected = [_corrected_ms(c, before) for c in ranked]
  for least_ms in (FILL * budget_ms, FILL * budget_ms / margin, 0.0):
    for candidate, ms in zip(ranked, corrected, strict=True):
      if least_ms <= ms and ms * margin <= budget_ms:
        return candidate
  return ranked[int(np.argmin(corrected))]


def settle(
  ranked: Sequence[Candidate],
  candidates: CandidatesWithin,
  budget_ms: float,
  measure: Measure,
  first: Candidate,
  before: Sequence[Known] = (),
) -> Settled:
  """Measures until an answer keeps the budget and uses most of it.

  At most MAX_MEASURED networks are measured. The answer is the best of those
  that use FILL of the budget, or the best of all where none does. Judges are
  right among networks of similar size; they favour small ones wrongly.

  Args:
    ranked: the candidates to begin with, best first.
    candidates: gives those within another limit, where predictions prove too
      high or too low and none that is left of `ranked` may fill the budget.
    budget_ms: the limit of the median latency.
    measure: the device.
    first: measured first.
    before: networks measured before.

  Raises:
    ValueError: no measured network keeps the budget.
  """
  tried: dict[Genotype, MeasuredCandidate] = {}
  following: Candidate | None = first
  best_place = np.inf  # of those that kept the budget
  while following is not None and len(tried) < MAX_MEASURED:
    measured = measure(following.genotype)
    tried[following.genotype] = MeasuredCandidate(following, measured)
    fits = measured.median_ms <= budget_ms
    if fits and measured.median_ms >= FILL * budget_ms:
      break
    if fits:
      best_place = min(best_place, following.place)
    correct = functools.partial(
      _corrected_ms, before=before, now=_known(tried.values())
    )
    untried = _untried(ranked, tried)
    if np.isfinite(measured.median_ms) and not _filling(
      untried, correct, budget_ms
    ):
      # Candidates fill their limit: a slow device asks for faster ones.
      limit_ms = budget_ms * following.predicted_ms / measured.median_ms
      ranked = candidates(limit_ms)
      untried = _untried(ranked, tried)
    following = _next(untried, correct, budget_ms, best_place)
  fitting = [t for t in tried.values() if t.measured.median_ms <= budget_ms]
  if not fitting:
    raise ValueError(_too_slow(list(tried.values()), budget_ms))
  filling = [t for t in fitting if t.measured.median_ms >= FILL * budget_ms]
  answer = min(filling or fitting, key=lambda t: t.candidate.place)
  return Settled(*answer, list(tried.values()))


class Kept(NamedTuple):
  """Candidates that keep a budget, best first, and all that were measured."""

  candidates: list[Candidate]
  tried: list[MeasuredCandidate]


def keeping(
  others: Sequence[Candidate],
  budget_ms: float,
  measure: Measure,
  count: int,
  settled: Settled,
  before: Sequence[Known] = (),
) -> Kept:
  """The best candidates that keep the budget, by measurement.

  Args:
    others: best first, without the settled answer and what computes the same.
    budget_ms: the limit of the median latency.
    measure: the device; it is asked at most `count` + MAX_MEASURED times.
    count: how many candidates are asked for; fewer may keep the budget.
    settled: its answer is always one of them.
    before: networks measured before.
  """
  tried = {t.candidate.genotype: t for t in settled.tried}
  kept = [settled.candidate]
  most = len(tried) + count + MAX_MEASURED
  for candidate in others:
    if len(kept) == count or len(tried) == most:
      break
    if candidate.genotype not in tried:
      now = _known(tried.values())
      if _corrected_ms(candidate, before, now) > budget_ms:
        continue
      measured = measure(candidate.genotype)
      tried[candidate.genotype] = MeasuredCandidate(candidate, measured)
    if tried[candidate.genotype].measured.median_ms <= budget_ms:
      kept.append(candidate)
  kept.sort(key=lambda candidate: candidate.place)
  return Kept(kept, list(tried.values()))


def _known(measured: Iterable[MeasuredCandidate]) -> list[Known]:
  """Those that ran."""
  return [
    Known(candidate.genotype, candidate.predicted_ms, latency.median_ms)
    for candidate, latency in measured
    if np.isfinite(latency.median_ms)
  ]


def _corrected_ms(
  candidate: Candidate, before: Sequence[Known], now: Sequence[Known] = ()
) -> float:
  """The prediction, corrected by networks measured before, then by those now.

  The device may be faster or slower now than it was, for all networks alike.
  """
  kept = [
    network._replace(
      predicted_ms=network.predicted_ms * _ratio(network.genotype, before)
    )
    for network in now
  ]
  genotype = candidate.genotype
  return (
    candidate.predicted_ms * _ratio(genotype, before) * _ratio(genotype, kept)
  )


def _ratio(
  genotype: Genotype, known: Sequence[Known], power: float = 2.0
) -> float:
  """Measured over predicted latency of known networks, of similar ones most.

  The mean of log(measured / predicted) with weights 1 / (1 + d)^power, where d
  choices differ. The nearest one alone is worse: of many candidates those whose
  nearest one was measured too slow would be taken for those that fill a budget.
  """
  if not known:
    return 1.0
  others = np.asarray([network.genotype for network in known])
  weights = (1.0 + (others != np.asarray(genotype)).sum(1)) ** -power
  ratios = [network.measured_ms / network.predicted_ms for network in known]
  return float(np.exp(np.average(np.log(ratios), weights=weights)))


def _too_slow(tried: Sequence[MeasuredCandidate], budget_ms: float) -> str:
  timed = [t for t in tried if np.isfinite(t.measured.median_ms)]
  count = len(tried) - len(timed)
  large = (
    f"{count} of {len(tried)} networks that were compiled need more memory"
  )
  if not timed:
    return f"{large} than the limit: allow more memory_mb"
  rows = ", ".join(
    f"{measured.median_ms:.4g} (predicted {candidate.predicted_ms:.4g})"
    for candidate, measured in timed
  )
  return (
    (f"{large} than the limit, and " if count else "")
    + f"no network that was measured keeps {budget_ms:.4g} ms: {rows}. If all"
    " take much longer than predicted, the device is busy, or has changed since"
    " its table was measured"
  )


def _next(
  untried: Sequence[Candidate],
  correct: Callable[[Candidate], float],
  budget_ms: float,
  best_place: float,
) -> Candidate | None:
  """The next candidate to measure, of those that may keep the budget.

  It is the best one that fills the budget; or else the best, if it is better
  than those that kept the budget so far.

  Args:
    untried: best first.
    correct: gives a candidate's corrected prediction in ms.
    budget_ms: the limit.
    best_place: of those that kept the budget.
  """
  filling = _filling(untried, correct, budget_ms)
  if filling:
    return filling[0]
  fitting = (c for c in untried if correct(c) <= budget_ms)
  best = next(fitting, None)
  return best if best and best.place < best_place else None


def _untried(
  ranked: Sequence[Candidate], tried: Collection[Genotype]
) -> list[Candidate]:
  return [c for c in ranked if c.genotype not in tried]


def _filling(
  untried: Sequence[Candidate],
  correct: Callable[[Candidate], float],
  budget_ms: float,
) -> list[Candidate]:
  """Those predicted to keep the budget and to use FILL of it, best first."""
  return [c for c in untried if FILL * budget_ms <= correct(c) <= budget_ms]
