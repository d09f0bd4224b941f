"""What can be read off a family: front, knee, error of the prediction.

A *member* is one entry of family.json's `members`, as a dictionary; one that
has not been measured or trained lacks a latency or an accuracy.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

Member = Mapping[str, Any]


def latency_ms(member: Member) -> float | None:
  """Median measured latency, None where it was not measured."""
  return (member.get("latency") or {}).get("median_ms")


def predicted_ms(member: Member) -> float | None:
  """Latency by the table, None where it was not predicted."""
  return member.get("predicted_ms")


def params(member: Member) -> float | None:
  """Number of parameters."""
  return member.get("params")


def accuracy(member: Member) -> float | None:
  """Test accuracy in 0..1, None where the network was not trained."""
  return member.get("test_accuracy")


def accuracies(member: Member) -> list[float]:
  """Test accuracies, one for each training seed."""
  return member.get("test_accuracies") or []


def is_random(member: Member) -> bool:
  """Whether the member is a random baseline and not of the family."""
  return member.get("kind") == "random"


def split(members: Iterable[Member]) -> tuple[list[Member], list[Member]]:
  """(the family, the random baselines), each by rising latency."""
  ordered = sorted(members, key=lambda m: latency_ms(m) or float("inf"))
  return (
    [m for m in ordered if not is_random(m)],
    [m for m in ordered if is_random(m)],
  )


def pareto_front(
  members: Iterable[Member], cost: Callable[[Member], float | None]
) -> list[Member]:
  """The members that no other beats in both accuracy and cost.

  Args:
    members: those without a cost or an accuracy are ignored.
    cost: what to keep low, such as `latency_ms` or `params`.

  Returns:
    The front by rising cost, hence by rising accuracy.
  """
  points = [(cost(m), accuracy(m), m) for m in members]
  known = [(c, a, m) for c, a, m in points if c is not None and a is not None]
  front: list[Member] = []
  best = -1.0
  for _, height, member in sorted(known, key=lambda p: (p[0], -p[1])):
    if height > best:
      front.append(member)
      best = height
  return front


def highlights(members: Iterable[Member]) -> dict[str, Member]:
  """The members to look at first.

  Args:
    members: family and baselines; the baselines are ignored.

  Returns:
    `cheapest` and `dearest` by measured latency, and `knee`, the point of the
    Pareto front furthest above the straight line between the front's ends.
    Those that do not exist are left out.
  """
  family = [m for m in split(members)[0] if latency_ms(m) is not None]
  found: dict[str, Member] = {}
  if family:
    found["cheapest"] = family[0]
  knee = _knee(pareto_front(family, latency_ms))
  if knee:
    found["knee"] = knee
  if len(family) > 1:
    found["dearest"] = family[-1]
  return found


def _knee(front: Sequence[Member]) -> Member | None:
  if len(front) < 3:
    return None
  points = np.asarray([(latency_ms(m), accuracy(m)) for m in front], float)
  unit = (points - points[0]) / (points[-1] - points[0])
  above = unit[:, 1] - unit[:, 0]
  return front[int(above.argmax())] if above.max() > 0 else None


def matched(
  family: Iterable[Member], baselines: Iterable[Member]
) -> tuple[int, int]:
  """Counts the baselines that the family matches or beats.

  Returns:
    (number of baselines for which a member of the family is no slower and no
    less accurate, number of baselines that were measured and trained).
  """
  ours = [(latency_ms(m), accuracy(m)) for m in family]
  known = [(t, a) for t, a in ours if t is not None and a is not None]
  theirs = [(latency_ms(m), accuracy(m)) for m in baselines]
  rivals = [(t, a) for t, a in theirs if t is not None and a is not None]
  wins = [any(t <= x and a >= y for t, a in known) for x, y in rivals]
  return sum(wins), len(wins)


def predictions(members: Iterable[Member]) -> list[Member]:
  """Members that have both a predicted and a measured latency."""
  return [
    m
    for m in members
    if predicted_ms(m) is not None and latency_ms(m) is not None
  ]


def prediction_error(members: Iterable[Member]) -> tuple[float, float | None]:
  """How well the table's latency agrees with the measured one.

  Args:
    members: as `predictions` returns them, at least one.

  Returns:
    (median of |predicted - measured| / measured, Spearman's rank correlation
    or None where ranks say nothing: fewer than three members, or all equal).
  """
  pairs = [(predicted_ms(m), latency_ms(m)) for m in members]
  predicted, measured = np.asarray(pairs, float).T
  error = float(np.median(np.abs(predicted - measured) / measured))
  if len(pairs) < 3 or np.ptp(predicted) == 0 or np.ptp(measured) == 0:
    return error, None
  ranks = stats.rankdata([predicted, measured], axis=1)
  return error, float(np.corrcoef(ranks)[0, 1])
