"""The members and their baselines side by side, as rows of text."""

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from hwnas_jax.io.records import BaselineKind, Family, Member
from hwnas_jax.report import comparison, family, plots, words
from hwnas_jax.report.template import render

HEADS: dict[BaselineKind, str] = {
  "largest": "Largest that fits",
  "random": "Random",
  "reference": "Reference, scaled",
}


class Cell(NamedTuple):
  """What a table says of one network; link leads to it in the page."""

  text: str
  link: str = ""


class Table(NamedTuple):
  """A row for each member that has baselines, by rising latency."""

  heads: list[str]
  rows: list[list[list[Cell]]]


def table(networks: Family) -> Table:
  """The members that have baselines, and these by kind; rows may be empty."""
  by_id = {member.id: member for member in networks.members}
  kinds = [
    kind
    for kind in comparison.BASELINES
    if any(b.kind == kind for b in networks.baselines)
  ]
  rows = []
  for member in family.searched(networks.members):
    own = [b for b in networks.baselines if b.member == member.id]
    if own:
      cells = [
        [_cell(by_id[b.network], member) for b in own if b.kind == kind]
        for kind in kinds
      ]
      rows.append([[Cell(member.name)], [_cell(member)], *cells])
  return Table(["Member", "Its own", *(HEADS[kind] for kind in kinds)], rows)


def _cell(network: Member, member: Member | None = None) -> Cell:
  numbers = f"{words.accuracy(family.accuracy(network))} at"
  numbers += f" {words.ms(network.latency_ms)}"
  if member == network:
    return Cell("the member itself")
  return Cell(numbers, plots.link(network))


def beside_html(networks: Family) -> Markup:
  """The table as a section of the page; empty where there is no baseline."""
  made = table(networks)
  return render("beside.html.jinja", table=made) if made.rows else Markup()


def names(networks: Family) -> dict[str, Sequence[str]]:
  """{id of a baseline: the names of the members that it stands beside}."""
  by_id = {member.id: member for member in networks.members}
  found: dict[str, list[str]] = {}
  for baseline in networks.baselines:
    if baseline.network != baseline.member:
      name = by_id[baseline.member].name
      found.setdefault(baseline.network, []).append(name)
  return {network: [*dict.fromkeys(each)] for network, each in found.items()}
