"""Pareto front, knee and prediction error of a family."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import scipy

from hwnas_jax.io.records import Member, MemberKind

# In the order in which a report names them.
KINDS: tuple[MemberKind, ...] = ("member", "largest", "random", "reference")


class Reading(Protocol):
  """A number of a network, such as its latency in ms."""

  def __call__(self, member: Member, /) -> float | None:
    """The number; None where it was not measured."""


class PredictionError(NamedTuple):
  """How well predicted latencies agree with measured ones.

  median: of |predicted - measured| / measured.
  bias: median of predicted / measured, less one; above 0 where predictions
    are too high.
  spearman: rank correlation; None where ranks say nothing, which is with
    fewer than three networks or where all are equal.
  """

  median: float
  bias: float
  spearman: float | None


def latency_ms(member: Member) -> float | None:
  """Median measured latency."""
  return member.latency_ms


def params(member: Member) -> float | None:
  """Number of parameters."""
  return member.params


def accuracy(member: Member) -> float | None:
  """Test accuracy, 0 to 1: the mean over training seeds."""
  return member.accuracies.test_accuracy


def by_kind(members: Iterable[Member]) -> dict[MemberKind, list[Member]]:
  """Networks by kind, each by rising latency; every kind is a key."""
  ordered = sorted(members, key=lambda m: m.latency_ms or float("inf"))
  return {kind: [m for m in ordered if m.kind == kind] for kind in KINDS}


def searched(members: Iterable[Member]) -> list[Member]:
  """The networks of the search, by rising latency."""
  return by_kind(members)["member"]


def pareto_front(members: Iterable[Member], cost: Reading) -> list[Member]:
  """The networks that no other beats in both accuracy and cost.

  Args:
    members: those without a cost or an accuracy are ignored.
    cost: what to keep low, such as `latency_ms` or `params`.

  Returns:
    The front by rising cost, hence by rising accuracy.
  """
  points = [
    (x, y, m)
    for m in members
    if (x := cost(m)) is not None and (y := accuracy(m)) is not None
  ]
  front: list[Member] = []
  best = -1.0
  for _, height, member in sorted(points, key=lambda p: (p[0], -p[1])):
    if height > best:
      front.append(member)
      best = height
  return front


def highlights(members: Iterable[Member]) -> dict[str, Member]:
  """The networks to look at first.

  Args:
    members: baselines among them are ignored.

  Returns:
    `fastest` and `slowest` by measured latency, and `knee`, the point of the
    Pareto front furthest above the straight line between the front's ends.
    Those that do not exist are left out.
  """
  measured = [m for m in searched(members) if m.latency_ms is not None]
  by_role: dict[str, Member] = {}
  if measured:
    by_role["fastest"] = measured[0]
  knee = _knee(pareto_front(measured, latency_ms))
  if knee:
    by_role["knee"] = knee
  if len(measured) > 1:
    by_role["slowest"] = measured[-1]
  return by_role


def _knee(front: Sequence[Member]) -> Member | None:
  if len(front) < 3:
    return None
  points = np.asarray([(m.latency_ms, accuracy(m)) for m in front], float)
  unit = (points - points[0]) / (points[-1] - points[0])
  above = unit[:, 1] - unit[:, 0]
  return front[int(above.argmax())] if above.max() > 0 else None


def predicted(members: Iterable[Member]) -> list[Member]:
  """The networks that have both a predicted and a measured latency."""
  return [
    m
    for m in members
    if m.predicted_ms is not None and m.latency_ms is not None
  ]


def prediction_error(members: Iterable[Member]) -> PredictionError:
  """How well the table's latency agrees with the measured one.

  Args:
    members: as `predicted` returns them, at least one.
  """
  pairs = [(m.predicted_ms, m.latency_ms) for m in members]
  forecast, measured = np.asarray(pairs, float).T
  median = float(np.median(np.abs(forecast - measured) / measured))
  bias = float(np.median(forecast / measured)) - 1
  if len(pairs) < 3 or np.ptp(forecast) == 0 or np.ptp(measured) == 0:
    return PredictionError(median, bias, None)
  ranks = scipy.stats.rankdata([forecast, measured], axis=1)
  return PredictionError(median, bias, float(np.corrcoef(ranks)[0, 1]))
