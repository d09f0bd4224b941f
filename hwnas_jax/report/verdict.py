"""Who wins, in sentences that hold for any outcome; plain text."""

from collections.abc import Sequence

from hwnas_jax.io.records import BaselineKind, Family
from hwnas_jax.report import comparison, family, words
from hwnas_jax.report.comparison import Comparison

# Standard errors within which a difference is said to be noise.
ERRORS = 2
# Baselines whose latency is within this share of their member's are at equal
# latency.
EQUAL = 0.1
NAMES: dict[BaselineKind, str] = {
  "largest": "the largest networks that fit",
  "random": "random ones",
  "reference": "the references scaled in width",
}
_COSTS = {
  "params": "parameters",
  "macs": "multiply-accumulates",
  "paper": "cost by the search's prices",
}


def sentences(networks: Family) -> list[str]:
  """Who wins, first; then how that is known."""
  found = comparison.comparisons(networks)
  if not found:
    return [_unknown(networks)]
  members = max(len(c.rows) for c in found)
  which = f"the family's {members} {_trained(networks)}networks are"
  if members == 1:
    which = f"the family's {_trained(networks)}network is"
  clauses = _joined([_clause(c, members) for c in found])
  lines = [f"{_at(networks, found)}, {which} {clauses}."]
  return [*lines, _noise(networks, found)]


def _trained(networks: Family) -> str:
  """`trained ` where some members are not."""
  untrained = [
    m for m in networks.members if m.kind == "member" and not _has(m)
  ]
  return "trained " if untrained else ""


def _has(member: family.Member) -> bool:
  return family.accuracy(member) is not None


def _unknown(networks: Family) -> str:
  if not any(map(_has, networks.members)):
    return (
      "No network was trained, so whether the search gains accuracy is not"
      " known."
    )
  return (
    "No baseline was trained beside the family, so whether the search gains"
    " accuracy is not known."
  )


def _at(networks: Family, found: Sequence[Comparison]) -> str:
  """At which cost the networks are compared, and how equal it is."""
  ratios = [r for c in found for r in c.ratios]
  times = ""
  if ratios:
    extent = words.extent(ratios, lambda r: words.percent(r, 0))
    times = f" (baselines take {extent} of their member's)"
  if networks.cost != "latency":
    name = _COSTS.get(networks.cost, networks.cost)
    return f"At equal {name}, not equal latency{times}"
  if not ratios:
    return "At equal predicted latency"
  if max(abs(r - 1) for r in ratios) > EQUAL:
    return f"At measured latencies that differ{times}"
  return f"At equal measured latency{times}"


def _clause(found: Comparison, members: int) -> str:
  """How one kind of baseline compares."""
  name, points = NAMES[found.kind], 100 * found.difference
  own, rows = sum(row.itself for row in found.rows), len(found.rows)
  note = f" (beside {rows} of them)" if rows < members else ""
  if own == rows:
    one = "itself the largest network that fits"
    return (one if own == 1 else "themselves " + name) + note
  if own:
    itself = "is itself" if own == 1 else "are themselves"
    note += f" ({own} of them {itself} the largest)"
  more = "more" if points > 0 else "less"
  if found.error is None:
    return f"{abs(points):.1f} points {more} accurate than {name}{note}"
  margin = 100 * ERRORS * found.error
  if abs(points) <= margin:
    return (
      f"as accurate as {name}{note} within the noise ({points:+.1f} ±"
      f" {margin:.1f} points)"
    )
  return (
    f"{abs(points):.1f} ± {margin:.1f} points {more} accurate than {name}{note}"
  )


def _joined(clauses: Sequence[str]) -> str:
  if len(clauses) < 2:
    return "".join(clauses)
  return f"{', '.join(clauses[:-1])} and {clauses[-1]}"


def _noise(networks: Family, found: Sequence[Comparison]) -> str:
  """How differences were taken, and how noise is judged."""
  start = (
    "Each member is compared with its own baselines, and differences are means"
    " over the members"
  )
  errors = [c for c in found if c.error is not None]
  if not errors:
    return f"{start}; how much accuracies vary was not recorded."
  if all(c.seeds for c in errors):
    return f"{start}; ± is two standard errors over the training seeds."
  return (
    f"{start}; ± is two standard errors of a test split of {networks.num_test}"
    " examples, with one training seed."
  )
