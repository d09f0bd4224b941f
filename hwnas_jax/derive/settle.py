"""From ranked candidates to one network that keeps its budget, by measuring.

Predictions of latency are off by a few per cent, and more of some networks.
What one network measures corrects the predictions of those like it: the next
one is a step down from one that was too slow, or up from one that leaves much
of the budget.
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
  """A candidate, and what it measured on the device."""

  candidate: Candidate
  measured: Measurement


class Settled(NamedTuple):
  """The answer, what it measured, and all that was measured on the way."""

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
  """The best candidate that should keep the budget, else the fastest one.

  Args:
    ranked: best first, one at least.
    budget_ms: what `margin` times a prediction has to keep.
    margin: of the table's calibration.
    before: networks measured before, which correct predictions of those alike.
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

  At most MAX_MEASURED networks are measured. An answer that uses less than
  FILL of the budget is left for a slower one, unless it is as good as any.

  Args:
    candidates: asked again where predictions prove too high.
    budget_ms: what the median has to keep.
    measure: the device.
    first: measured first.
    ideal_loss: of what would be chosen without a budget: a candidate as good
      that fits is the answer, however little of the budget it uses.
    before: networks measured before.

  Raises:
    ValueError: nothing that was measured keeps the budget.
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
      ratio = measured.median_ms / following.predicted_ms
      limit_ms = max(limit_ms, budget_ms / ratio)
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
  """The prediction, times measured over predicted of the most similar one."""
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
    f"no network that was measured keeps {budget_ms:.4g} ms: {rows}. Where all"
    " take much longer than predicted, the device is busy, or is not what it"
    " was when its table was measured"
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
  """What to measure next, of those that may keep the budget.

  One that no budget would change; or the best that fills the budget; or the
  slowest, if it is slower than what there is.
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
