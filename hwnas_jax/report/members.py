"""The list of networks: one row each, which opens to show its operations."""

import collections
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from hwnas_jax.io.records import Family, Member, MemberKind
from hwnas_jax.report import beside, cells, family, scaling, style, words
from hwnas_jax.report.run import Run
from hwnas_jax.report.style import Figure
from hwnas_jax.report.template import render

_CELL_NAMES = {
  "normal": "Normal cell",
  "reduce": "Reduction cell",
  "cell": "Cell",
}


_HEADINGS: dict[MemberKind, str] = {
  "member": "",
  "largest": "Largest networks that fit",
  "random": "Random architectures",
  "reference": "References, scaled in width",
}


class Row(NamedTuple):
  """What the list shows of one network.

  anchor: the id of its element in the page.
  role: `fastest`, `knee`, `slowest`, or empty.
  beside: names of the members that it is a baseline of.
  scaled_up: its latency when scaled up, where that was measured.
  """

  member: Member
  anchor: str
  role: str
  beside: Sequence[str]
  alarms: Sequence[str]
  op_counts: dict[str, int]
  drawings: Sequence[Figure]
  scaled_up: Figure | None
  facts: dict[str, str]

  @property
  def open(self) -> bool:
    """Whether the row shows its operations from the start."""
    return bool(self.role or self.scaled_up)

  @property
  def op_text(self) -> str:
    """The counts of operations for those who cannot see the bar."""
    return ", ".join(f"{n} {op}" for op, n in self.op_counts.items())

  @property
  def seeds(self) -> str:
    """Lowest and highest accuracy in percent, where seeds differ."""
    scores = self.member.accuracies.test_accuracies
    if len(scores) < 2:
      return ""
    return f"{100 * min(scores):.2f}–{100 * max(scores):.2f}"

  @property
  def lists_choices(self) -> bool:
    """Whether the choices are listed: they are not the edges of a cell."""
    return not cells.read_cells(self.member.architecture)


def members_html(run: Run) -> Markup:
  """Lists the networks of the search, then its baselines.

  Returns:
    HTML: a legend of operations and a list for each kind. The fastest network,
    the knee and the slowest are open, and those that were scaled up.
  """
  by_kind = family.by_kind(run.family.members)
  marked = family.highlights(by_kind["member"])
  roles = {m.id: role for role, m in marked.items()}
  groups = {
    _HEADINGS[kind]: [_row(run, m, roles.get(m.id, "")) for m in group]
    for kind, group in by_kind.items()
  }
  return render(
    "networks.html.jinja",
    colours=style.op_colours(run.family.ops),
    groups={heading: rows for heading, rows in groups.items() if rows},
  )


def _row(run: Run, member: Member, role: str) -> Row:
  anchor = f"member-{member.id}"
  return Row(
    member=member,
    anchor=anchor,
    role=role,
    beside=beside.names(run.family).get(member.id, ()),
    alarms=_alarms(run, member),
    op_counts=op_counts(member, run.family.ops),
    drawings=drawings(member, run.family),
    scaled_up=_scaled_up(run, member, anchor),
    facts=facts(member, run.family),
  )


def op_counts(member: Member, ops: Sequence[str]) -> dict[str, int]:
  """How often a network has each operation, without those it lacks."""
  counts = collections.Counter(member.architecture.values())
  return {op: counts[op] for op in ops if counts[op]}


def _alarms(run: Run, member: Member) -> list[str]:
  """Signs that the network's search has collapsed, a line each.

  Several conditions may have led to the network: those of the one with most
  alarms.
  """
  alarms = [
    point.collapse.alarms
    for point in run.family.sweep
    if point.id == member.id and point.collapse and point.collapse.alarms
  ]
  lines = [f"Alarm: {line}" for line in max(alarms, key=len, default=())]
  if len(alarms) > 1:
    lines.append(f"Alarms at {len(alarms)} conditions that led to it")
  return lines


def _scaled_up(run: Run, member: Member, anchor: str) -> Figure | None:
  zone = run.comfort_zones.get(member.id)
  if not zone:
    return None
  svg = style.to_svg(
    scaling.figure(zone), f"{anchor}-comfort", f"{member.name}, scaled up"
  )
  caption = f"Scaled up: the knee has {scaling.words(zone.knee)}"
  return Figure(svg, caption, " ".join(zone.knee.overrides))


def drawings(member: Member, networks: Family) -> list[Figure]:
  """A network's cells, or its layers where it is no network of cells."""
  colours = style.op_colours(networks.ops)
  edges_by_cell = cells.read_cells(member.architecture)
  if not edges_by_cell:
    chosen = member.architecture
    layers = [chosen[c] for c in networks.choices if c in chosen]
    svg = cells.chain_svg(layers, colours, f"Layers of {member.name}")
    return [Figure(svg, "Layers")]
  figures = []
  states = cells.layout(networks.choices)
  for kind, edges in edges_by_cell.items():
    name = _CELL_NAMES.get(kind, kind)
    svg = cells.cell_svg(edges, states, colours, f"{name} of {member.name}")
    figures.append(Figure(svg, name))
  return figures


def facts(member: Member, networks: Family) -> dict[str, str]:
  """What a row shows below its operations, by name."""
  latency, condition = member.latency, member.condition
  repeats = latency.repeats if latency else None
  named = {
    "Fastest repeat": words.ms(latency.min_ms if latency else None),
    "Repeats": str(repeats or words.NOTHING),
    "Training seeds": str(
      len(member.accuracies.test_accuracies) or words.NOTHING
    ),
    "Parameters in operations": words.count(member.op_params),
    "Choices kept": f"{len(member.architecture)} of {len(networks.choices)}",
  }
  if member.width != 1.0:
    named["Channels"] = f"{member.width:g} times the run's"
  if condition:
    named["Scale"] = words.number(condition.scale)
    named["Prices S"] = " · ".join(
      f"{op} {price:.2f}"
      for op, price in zip(networks.priced, condition.simplex, strict=True)
    )
  return named
