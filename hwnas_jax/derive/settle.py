"""Measures ranked candidates until one keeps the budget and uses most of it.

Predicted latencies are off by a few per cent, and by more for some networks. So
each measurement corrects the predictions of similar networks. After a network
that was too slow a faster one is measured, after one that leaves much of the
budget a slower one.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from hwnas_jax.core.types import Genotype
from hwnas_jax.io.records import Measurement

FILL = 0.9  # of the budget that an answer should use
MAX_MEASURED = 8


class Candidate(NamedTuple):
  """An architecture that may be the answer.

  loss: cross-entropy with the shared weights. predicted_ms: by the table, of
  the operations that reach the output.
  """

  genotype: Genotype
  loss: float
  predicted_ms: float


class MeasuredCandidate(NamedTuple):
  """A candidate and its measured latency."""

  candidate: Candidate
  measured: Measurement


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


def begin(
  ranked: Sequence[Candidate],
  budget_ms: float,
  margin: float,
  before: Sequence[MeasuredCandidate] = (),
) -> Candidate:
  """The best candidate predicted to keep the budget, else the fastest one.

  Args:
    ranked: best first, at least one.
    budget_ms: the limit of `margin` times the prediction.
    margin: of the table's calibration.
    before: networks measured before, which correct predictions of similar ones.
  """
  corrected = [_corrected_ms(c, before) for c in ranked]
  for candidate, ms in zip(ranked, corrected, strict=True):
    if ms * margin <= budget_ms:
      return candidate
  return ranked[int(np.argmin(corrected))]


def settle(
  candidates: CandidatesWithin,
  budget_ms: float,
  measure: Measure,
  first: Candidate,
  ideal_loss: float,
  before: Sequence[MeasuredCandidate] = (),
) -> Settled:
  """Measures until an answer keeps the budget and uses most of it.

  At most MAX_MEASURED networks are measured. If a candidate uses less than FILL
  of the budget, a slower one is tried, unless its loss is `ideal_loss`.

  Args:
    candidates: gives the candidates within a limit; called again with another
      limit where predictions prove too high or too low.
    budget_ms: the limit of the median latency.
    measure: the device.
    first: measured first.
    ideal_loss: the least loss without a budget: a candidate with this loss that
      keeps the budget is the answer, however little of it it uses.
    before: networks measured before.

  Raises:
    ValueError: no measured network keeps the budget.
  """
  tried: dict[Genotype, MeasuredCandidate] = {}
  following: Candidate | None = first
  best_ms = 0.0  # the largest that kept the budget
  limit_ms = budget_ms
  while following is not None and len(tried) < MAX_MEASURED:
    measured = measure(following.genotype)
    tried[following.genotype] = MeasuredCandidate(following, measured)
    fits = measured.median_ms <= budget_ms
    if fits:
      best_ms = max(best_ms, measured.median_ms)
    if fits and following.loss <= ideal_loss:
      return Settled(following, measured, list(tried.values()))
    if best_ms >= FILL * budget_ms:
      break
    if np.isfinite(measured.median_ms):
      # Candidates fill their limit: a slow device asks for faster ones.
      limit_ms = budget_ms * following.predicted_ms / measured.median_ms
    goal = _Goal(budget_ms, best_ms, ideal_loss)
    following = _next(candidates(limit_ms), before, tried, goal)
  fitting = [t for t in tried.values() if t.measured.median_ms <= budget_ms]
  if not fitting:
    raise ValueError(_too_slow(list(tried.values()), budget_ms))
  answer = max(fitting, key=lambda t: t.measured.median_ms)
  return Settled(*answer, list(tried.values()))


def _corrected_ms(
  candidate: Candidate, measured: Sequence[MeasuredCandidate]
) -> float:
  """The prediction, corrected by the most similar measured network."""
  if not measured:
    return candidate.predicted_ms
  chosen = np.asarray(candidate.genotype)
  others = np.asarray([m.candidate.genotype for m in measured])
  # Of equally similar ones, the last.
  nearest = measured[::-1][(others != chosen).sum(1)[::-1].argmin()]
  return (
    candidate.predicted_ms
    * nearest.measured.median_ms
    / nearest.candidate.predicted_ms
  )


def _too_slow(tried: Sequence[MeasuredCandidate], budget_ms: float) -> str:
  rows = ", ".join(
    f"{measured.median_ms:.4g} (predicted {candidate.predicted_ms:.4g})"
    for candidate, measured in tried
  )
  return (
    f"no network that was measured keeps {budget_ms:.4g} ms: {rows}. If all"
    " take much longer than predicted, the device is busy, or has changed since"
    " its table was measured"
  )


class _Goal(NamedTuple):
  """best_ms: the slowest network so far that kept the budget, 0 if none."""

  budget_ms: float
  best_ms: float
  ideal_loss: float


def _next(
  candidates: Sequence[Candidate],
  before: Sequence[MeasuredCandidate],
  tried: Mapping[Genotype, MeasuredCandidate],
  goal: _Goal,
) -> Candidate | None:
  """The next candidate to measure, of those that may keep the budget.

  It is one with the ideal loss; or else the best one that fills the budget; or
  else the slowest, if it is slower than the best answer so far.
  """
  finite = [t for t in tried.values() if np.isfinite(t.measured.median_ms)]
  measured = [*before, *finite]
  corrected = [
    (c, ms)
    for c in candidates
    if c.genotype not in tried
    and (ms := _corrected_ms(c, measured)) <= goal.budget_ms
  ]
  if corrected and corrected[0][0].loss <= goal.ideal_loss:
    return corrected[0][0]
  slower = [(c, ms) for c, ms in corrected if ms > goal.best_ms]
  filling = [c for c, ms in slower if ms >= FILL * goal.budget_ms]
  if filling:
    return filling[0]
  return max(slower, key=lambda row: row[1], default=(None, 0.0))[0]
