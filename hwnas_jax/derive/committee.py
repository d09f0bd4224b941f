"""Many judges' scores as one: weighted sums of ranks.

Ranks are taken within the candidates that are compared. Scores of different
judges have different sizes and tails, and sums of them would be the largest
judge's opinion.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

# By judge, how much its ranks count where nothing else is asked for. Of all
# committees of at most three judges with weights 1 and 2, these two picked best
# on half of NAS-Bench-201's cells (experiments/nasbench201/own_full_size):
# the first of all, the second of pairs without jacov. The supernet's weights
# added nothing to the first. A third judge, synflow, adds 0.005 to 0.009 to the
# second, within the deviation, and a second or two to a query.
COMMITTEES: tuple[dict[str, float], ...] = (
  {"jacov": 2.0, "macs": 1.0},
  {"nwot": 2.0, "shared_loss": 1.0},
)


def default(left_out: Collection[str] = ()) -> dict[str, float]:
  """The judges that are asked where nobody names any, with their weights.

  The first of COMMITTEES whose judges all apply. If none has all of them, the
  judges of the last one that apply.

  Args:
    left_out: judges that do not apply, as far as is known.
  """
  for weights in COMMITTEES:
    if not weights.keys() & set(left_out):
      return weights
  return {n: w for n, w in COMMITTEES[-1].items() if n not in left_out}


class Verdict(NamedTuple):
  """What a committee says of N candidates.

  total: float64[N], the weighted mean of each candidate's ranks; higher is
    better. A rank is from 1, the worst, to N; equal scores have their mean.
  unjudged: by judge, the indices of candidates whose score was not finite.
    They have that judge's lowest rank.
  """

  total: np.ndarray
  unjudged: dict[str, tuple[int, ...]]


def committee(
  scores: Mapping[str, np.ndarray], weights: Mapping[str, float] | None = None
) -> Verdict:
  """Ranks candidates by several judges.

  Args:
    scores: by judge, [N] each; higher is better.
    weights: by judge, how much its ranks count, >= 0; None is 1 for each.

  Raises:
    ValueError: there are no scores, they are of different candidates, or the
      weights are not of these judges or are no weights.
  """
  weights = dict.fromkeys(scores, 1.0) if weights is None else weights
  _check(scores, weights)
  total: np.ndarray = np.zeros(len(next(iter(scores.values()))))
  unjudged: dict[str, tuple[int, ...]] = {}
  for name, values in scores.items():
    values = np.asarray(values, float)
    finite = np.isfinite(values)
    if not finite.all():
      unjudged[name] = tuple(np.flatnonzero(~finite).tolist())
    ranks = _ranks(np.where(finite, values, -np.inf))
    total = total + weights[name] * ranks
  return Verdict(total / sum(weights.values()), unjudged)


def places(scores: np.ndarray) -> list[int]:
  """Places [N] of scores [N]: 1 has the highest, and equal ones the first's.

  What has no finite score is last.
  """
  worth = -np.where(np.isfinite(scores), scores, -np.inf)
  return (1 + np.searchsorted(np.sort(worth), worth)).tolist()


def _ranks(values: np.ndarray) -> np.ndarray:
  """Ranks [N] of values [N]: 1 is the lowest, equal ones have their mean."""
  # As scipy.stats.rankdata, whose import takes a third of a second of a query.
  ordered = np.sort(values)
  first, after = (
    np.searchsorted(ordered, values, side) for side in ("left", "right")
  )
  return (first + 1 + after) / 2


def _check(
  scores: Mapping[str, np.ndarray], weights: Mapping[str, float]
) -> None:
  if not scores:
    raise ValueError("a committee needs one judge at least")
  shapes = {name: np.shape(values) for name, values in scores.items()}
  if len(set(shapes.values())) > 1 or any(len(s) != 1 for s in shapes.values()):
    raise ValueError(f"judges scored different candidates: {shapes}")
  if set(weights) != set(scores):
    raise ValueError(
      f"weights are of {', '.join(sorted(weights))}, scores of"
      f" {', '.join(sorted(scores))}"
    )
  if not (min(weights.values()) >= 0 and sum(weights.values()) > 0):
    raise ValueError(f"weights have to be >= 0 and not all 0, got {weights}")
