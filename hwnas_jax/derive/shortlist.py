"""From a family and a budget to one network: shortlist, rank, settle.

1. The device's prices give a point of the simplex (`simplex_of`), the
   controller gives logits at many scales there.
2. At each, the likeliest architectures that keep every budget (`shortlist`).
3. Their union is ranked by the shared weights on a fixed batch (`rank`).
4. The first are built and measured, and the query steps down, or up where
   budget is left (`settle`).
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hwnas_jax.core.types import Array, Genotype, Params
from hwnas_jax.derive.exact import Constraint, best
from hwnas_jax.nets.supernet import Net
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.spec import Space

NUM_SCALES = 32  # and the least
PER_SCALE = 10
CHUNK = 16  # architectures ranked at once
FILL = 0.9  # of the budget that an answer should use
MAX_MEASURED = 8
AIMED = (0.02, 0.05, 1.0)  # below a target, of it


class Candidate(NamedTuple):
  """loss: cross-entropy by shared weights; predicted_ms: live operations."""

  genotype: Genotype
  loss: float
  predicted_ms: float


class Measurement(NamedTuple):
  """median_ms and its spread, the interquartile range of repeated calls."""

  median_ms: float
  spread_ms: float

  @classmethod
  def of(cls, row: Mapping[str, float]) -> "Measurement":
    """From a network's row of `timing.measure_networks`."""
    return cls(row["median_ms"], row["iqr_ms"])


Known = tuple[Candidate, Measurement]


class Settled(NamedTuple):
  """The answer, what it measured, and all that was measured on the way."""

  candidate: Candidate
  measured: Measurement
  tried: list[Known]


def simplex_of(
  prices: np.ndarray, reference: np.ndarray, columns: Sequence[int]
) -> tuple[np.ndarray, float]:
  """A device's table as a point of the simplex, and what that loses.

  Args:
    prices: [E, O] in ms, of the device; negative sums count as 0.
    reference: [E, O] in ms, of the device that the search priced with.
    columns: the priced operations.

  Returns:
    (S[K], residual): S is uniform for the reference device itself. The
    residual is what one factor an operation leaves of the prices, relative
    to their norm.

  Raises:
    ValueError: the device prices no operation above 0.
  """
  columns = list(columns)
  device = np.asarray(prices, float)[:, columns]
  known = np.asarray(reference, float)[:, columns]
  ratios = np.maximum(device.sum(0), 0.0) / known.sum(0)
  if not ratios.sum() > 0:
    raise ValueError("the table prices no operation above 0 ms")
  residual = np.linalg.norm(device - ratios * known) / np.linalg.norm(device)
  return ratios / ratios.sum(), float(residual)


def log_softmax(logits: np.ndarray) -> np.ndarray:
  """Log probabilities over the last axis."""
  shifted = logits - logits.max(-1, keepdims=True)
  return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def shortlist(
  space: Space,
  rule: str,
  logits: np.ndarray,
  constraints: Sequence[Constraint],
  per_scale: int = PER_SCALE,
) -> list[Genotype]:
  """The union over scales of the likeliest that keep every budget.

  Args:
    space: the space.
    rule: of `search.discretise.RULES`.
    logits: [N, E, O], one a scale.
    constraints: budgets over additive costs, dead operations included.
    per_scale: architectures a scale.

  Returns:
    Different genotypes, in order of scale; [] where no architecture fits.
  """
  found: dict[Genotype, None] = {}
  for rows in log_softmax(np.asarray(logits, float)):
    at_scale = best(space, rule, rows, constraints, per_scale)
    if not at_scale:  # nothing fits at any scale then
      return []
    found.update(dict.fromkeys(at_scale))
  return list(found)


def aim(
  space: Space, rows: np.ndarray, *, rule: str, timed: Constraint
) -> Genotype:
  """The likeliest architecture that takes a latency, and not more.

  Within the least of AIMED that any architecture falls into.

  Args:
    space: the space.
    rows: logits [E, O].
    rule: of `search.discretise.RULES`.
    timed: the latency to take is its budget.

  Raises:
    ValueError: every architecture takes more.
  """
  scores = log_softmax(np.asarray(rows, float))
  for share in AIMED:
    least = Constraint(
      "least", -timed.cost, -timed.base, -(1 - share) * timed.budget
    )
    found = best(space, rule, scores, [timed, least])
    if found:
      return found[0]
  raise ValueError(f"no architecture keeps {timed.budget:.4g} ms")


def capped(
  space: Space, rows: np.ndarray, *, rule: str, cap: Constraint
) -> Genotype:
  """The likeliest architecture that keeps a cap on an operation's count.

  Raises:
    ValueError: no architecture has so few.
  """
  scores = log_softmax(np.asarray(rows, float))
  found = best(space, rule, scores, [cap])
  if not found:
    raise ValueError(
      f"every architecture has more than {cap.budget} {cap.name}"
    )
  return found[0]


def rank(
  net: Net,
  num_ops: int,
  weights: Params,
  images: Array,
  labels: Array,
  genotypes: Sequence[Genotype],
) -> np.ndarray:
  """Cross-entropy of architectures with the supernet's weights: [N].

  Args:
    net: the supernet.
    num_ops: columns of a mix.
    weights: the supernet's.
    images: float32[B, H, W, C], the batch that all are compared on.
    labels: int32[B].
    genotypes: what to rank.
  """
  mixes = architecture.one_hot(genotypes, num_ops)
  padding = -len(mixes) % CHUNK
  chunks = np.pad(mixes, ((0, padding), (0, 0), (0, 0))).reshape(
    -1, CHUNK, *mixes.shape[1:]
  )
  found = [
    _losses(net, jnp.asarray(c), weights, images, labels) for c in chunks
  ]
  return np.concatenate([np.asarray(f) for f in found])[: len(mixes)]


@functools.partial(jax.jit, static_argnums=0)
def _losses(
  net: Net, mixes: Array, weights: Params, images: Array, labels: Array
) -> Array:
  """Mixes [N, E, O] -> [N]; one compile for all queries of a run."""

  def one(mix: Array) -> Array:
    outputs = net.apply(weights, mix, images)
    return optax.softmax_cross_entropy_with_integer_labels(
      outputs, labels
    ).mean()

  return jax.lax.map(one, mixes)


def begin(
  ranked: Sequence[Candidate],
  budget_ms: float,
  margin: float,
  known: Sequence[Known] = (),
) -> Candidate:
  """The best whose bound keeps the budget, else the one predicted fastest.

  Args:
    ranked: best first, one at least.
    budget_ms: what `margin` times a prediction has to keep.
    margin: of the table's calibration.
    known: networks measured before, which correct predictions of those alike.
  """
  corrected = [_corrected_ms(c, known) for c in ranked]
  for candidate, ms in zip(ranked, corrected, strict=True):
    if ms * margin <= budget_ms:
      return candidate
  return ranked[int(np.argmin(corrected))]


def settle(
  candidates: Callable[[float], list[Candidate]],
  budget_ms: float,
  measure: Callable[[Genotype], Measurement],
  first: Candidate,
  ideal_loss: float,
  known: Sequence[Known] = (),
) -> Settled:
  """Measures until an answer keeps the budget and uses it.

  What one network measured corrects the predictions of those like it: the next
  one is a step down from one that was too slow, or up from one that leaves
  more than 1 - FILL of the budget.

  Args:
    candidates: those predicted to keep a limit in ms, best first; asked again
      where the predictions prove too high.
    budget_ms: what the median has to keep.
    measure: the device; a benchmark's data can take its place.
    first: what to try first.
    ideal_loss: of what would be chosen without a budget: where as good a
      candidate fits, nothing is stepped up.
    known: networks measured before.

  Raises:
    ValueError: nothing that was measured keeps the budget.
  """
  tried: dict[Genotype, Known] = {}
  following: Candidate | None = first
  best_ms = 0.0  # the largest that kept the budget
  limit_ms = budget_ms
  while following is not None and len(tried) < MAX_MEASURED:
    found = measure(following.genotype)
    tried[following.genotype] = following, found
    fits = found.median_ms <= budget_ms
    if fits:
      best_ms = max(best_ms, found.median_ms)
    if fits and following.loss <= ideal_loss:
      return Settled(following, found, list(tried.values()))
    if best_ms >= FILL * budget_ms:
      break
    if np.isfinite(found.median_ms):  # or it did not fit into memory
      ratio = found.median_ms / following.predicted_ms
      limit_ms = max(limit_ms, budget_ms / ratio)
    following = _next(
      candidates(limit_ms), known, tried, best_ms, budget_ms, ideal_loss
    )
  fitting = [t for t in tried.values() if t[1].median_ms <= budget_ms]
  if not fitting:
    raise ValueError(_too_slow(list(tried.values()), budget_ms))
  answer = max(fitting, key=lambda t: t[1].median_ms)
  return Settled(*answer, list(tried.values()))


def _corrected_ms(candidate: Candidate, measured: Sequence[Known]) -> float:
  """The prediction times what the most similar measured network took of its."""
  if not measured:
    return candidate.predicted_ms
  chosen = np.asarray(candidate.genotype)
  others = np.asarray([c.genotype for c, _ in measured])
  # Of equally similar ones, the last.
  nearest, found = measured[::-1][(others != chosen).sum(1)[::-1].argmin()]
  return candidate.predicted_ms * found.median_ms / nearest.predicted_ms


def _too_slow(tried: Sequence[Known], budget_ms: float) -> str:
  rows = ", ".join(
    f"{m.median_ms:.4g} (predicted {c.predicted_ms:.4g})" for c, m in tried
  )
  return (
    f"no network that was measured keeps {budget_ms:.4g} ms: {rows}. Where all"
    " take much longer than predicted, the device is busy, or is not what it"
    " was when its table was measured"
  )


def _next(
  candidates: Sequence[Candidate],
  known: Sequence[Known],
  tried: Mapping[Genotype, Known],
  best_ms: float,
  budget_ms: float,
  ideal_loss: float,
) -> Candidate | None:
  """What to measure next, of what may keep the budget.

  What no budget would change; or the best that fills the budget; or the
  slowest, if it is slower than what is there.
  """
  finite = [t for t in tried.values() if np.isfinite(t[1].median_ms)]
  measured = [*known, *finite]
  corrected = [
    (c, ms)
    for c in candidates
    if c.genotype not in tried
    and (ms := _corrected_ms(c, measured)) <= budget_ms
  ]
  if corrected and corrected[0][0].loss <= ideal_loss:
    return corrected[0][0]
  slower = [(c, ms) for c, ms in corrected if ms > best_ms]
  filling = [c for c, ms in slower if ms >= FILL * budget_ms]
  if filling:
    return filling[0]
  return max(slower, key=lambda row: row[1], default=(None, 0.0))[0]
