"""Whether a family is more accurate than its baselines, and by how much.

Each trained member is compared with its own baselines, which cost what it
costs. Differences are in shares of one.
"""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hwnas_jax.io.records import BaselineKind, Family, Member
from hwnas_jax.report.family import KINDS, accuracy, searched

BASELINES: tuple[BaselineKind, ...] = tuple(k for k in KINDS if k != "member")


class Beside(NamedTuple):
  """A trained member and its baselines of one kind, which are trained too."""

  member: Member
  baselines: list[Member]

  @property
  def itself(self) -> bool:
    """Whether the member is its own baseline."""
    return self.baselines == [self.member]

  @property
  def difference(self) -> float:
    """The member's accuracy less the mean of its baselines'."""
    others = [accuracy(m) or 0.0 for m in self.baselines]
    return (accuracy(self.member) or 0.0) - statistics.mean(others)


class Comparison(NamedTuple):
  """The members of a family against their baselines of one kind.

  difference: mean over the members; above 0 where they are more accurate.
  error: its standard error; None where nothing says how accuracies vary.
  seeds: whether the error is of the training seeds; if not, of the test split.
  """

  kind: BaselineKind
  rows: list[Beside]
  difference: float
  error: float | None
  seeds: bool

  @property
  def ratios(self) -> list[float]:
    """Measured latency of each baseline over its member's."""
    return [
      m.latency_ms / row.member.latency_ms
      for row in self.rows
      for m in row.baselines
      if m.latency_ms and row.member.latency_ms
    ]


def beside(family: Family, kind: BaselineKind) -> list[Beside]:
  """The members that have baselines of a kind, both trained, by latency."""
  by_id = {member.id: member for member in family.members}
  rows = []
  for member in searched(family.members):
    baselines = [
      by_id[b.network]
      for b in family.baselines
      if (b.kind, b.member) == (kind, member.id)
    ]
    baselines = [m for m in baselines if accuracy(m) is not None]
    if accuracy(member) is not None and baselines:
      rows.append(Beside(member, baselines))
  return rows


def compare(family: Family, kind: BaselineKind) -> Comparison | None:
  """Compares a family with one kind of baseline; None where it has none.

  The error is of the training seeds where all networks have several: they are
  drawn anew for each network, so errors of the members are independent. With
  one seed it is of the test split, sqrt(p (1 - p) / n) for a network. All
  networks share that split, so the mean over the members is taken to have as
  large an error as one of them.
  """
  rows = beside(family, kind)
  if not rows:
    return None
  networks = [m for row in rows for m in (row.member, *row.baselines)]
  seeds = all(len(m.accuracies.test_accuracies) > 1 for m in networks)
  error = None
  if seeds or family.num_test:
    examples = None if seeds else family.num_test
    errors = np.sqrt([_variance(row, examples) for row in rows])
    error = float(errors.mean())
    if seeds:
      error = float(np.sqrt((errors**2).sum()) / len(rows))
  difference = statistics.mean(row.difference for row in rows)
  return Comparison(kind, rows, difference, error, seeds)


def _variance(row: Beside, examples: int | None) -> float:
  """Of a member's difference; examples: None for that of the seeds."""
  if row.itself:
    return 0.0
  own, *others = (
    _variance_of(m, examples) for m in (row.member, *row.baselines)
  )
  return own + sum(others) / len(others) ** 2


def _variance_of(member: Member, examples: int | None) -> float:
  """Of a network's accuracy."""
  if examples is None:
    each: Sequence[float] = member.accuracies.test_accuracies
    return statistics.variance(each) / len(each)
  share = accuracy(member) or 0.0
  return share * (1 - share) / examples


def comparisons(family: Family) -> list[Comparison]:
  """The family against every kind of baseline that it has."""
  found = [compare(family, kind) for kind in BASELINES]
  return [comparison for comparison in found if comparison]
