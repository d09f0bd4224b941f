"""A run, a network and an answer as HTML for a notebook.

Every function returns HTML for a `_repr_html_`: small, without a script or a
link to the web, everything escaped, in the notebook's own colours, whether
they are light or dark.
"""

import zlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hwnas_jax.io.certificates import (
  Certificate,
  Committee,
  Finalist,
  Rival,
  Source,
)
from hwnas_jax.io.records import (
  Family,
  Measurement,
  Member,
)
from hwnas_jax.report import (
  beside,
  family,
  members,
  plots,
  sections,
  style,
  words,
)
from hwnas_jax.report.run import Run, device_name
from hwnas_jax.report.style import Figure
from hwnas_jax.report.summary import summary
from hwnas_jax.report.template import render

_PROPOSED: dict[Source, str] = {
  "controller": "by the controller",
  "capacity": "by size",
  "both": "by both",
}


class Table(NamedTuple):
  """Rows of text, the first column their names. heads: empty for none."""

  rows: Sequence[Sequence[str]]
  heads: Sequence[str] = ()


def _html(
  title: str,
  texts: Sequence[str] = (),
  figures: Sequence[Figure] = (),
  tables: Sequence[Table] = (),
  colours: Mapping[str, str] | None = None,
) -> str:
  page = render(
    "notebook.html.jinja",
    title=title,
    texts=texts,
    figures=figures,
    tables=tables,
    colours=colours or {},
  )
  return str(page)  # no longer `Markup`: a notebook's text as any other


def run_html(run: Run) -> str:
  """A run: its summary, accuracy against latency, networks, baselines."""
  searched = family.searched(run.family.members)
  roles = {m.id: role for role, m in family.highlights(searched).items()}
  figures = []
  if plots.with_both(run.family.members, "latency"):
    fig = plots.pareto_figure(run.family.members)
    # Figures of other runs in the same notebook have other ids.
    name = f"hwnas-{zlib.crc32(repr(run.family).encode()):08x}"
    label = "Accuracy against measured latency"
    svg = style.to_svg(fig, name, label, sections.tips(run))
    figures = [Figure(svg, label)]
  rows = [
    (
      member.id,
      member.name,
      roles.get(member.id, ""),
      _measured(member.latency),
      words.accuracy(family.accuracy(member)),
      words.count(member.params),
    )
    for member in searched
  ]
  made = beside.table(run.family)
  compared = [
    ["; ".join(cell.text for cell in cells) or words.NOTHING for cells in row]
    for row in made.rows
  ]
  heads = ("Id", "Name", "", "Latency", "Test accuracy", "Parameters")
  return _html(
    f"{words.networks(len(searched))} for {run.device_name}",
    summary(run),
    figures,
    [Table(rows, heads), Table(compared, made.heads)],
  )


def network_html(member: Member, networks: Family) -> str:
  """A network: its numbers and its operations.

  Args:
    member: the network.
    networks: the family it is of.
  """
  facts = {
    "Latency": _measured(member.latency),
    "Predicted latency": words.ms(member.predicted_ms),
    "Test accuracy": words.accuracy(family.accuracy(member)),
    "Parameters": words.count(member.params),
    "Multiply-accumulates": words.count(member.macs),
    **members.facts(member, networks),
  }
  colours = style.op_colours(networks.ops)
  used = members.op_counts(member, networks.ops)
  return _html(
    f"{member.name} ({member.id})",
    figures=members.drawings(member, networks),
    tables=[Table([*facts.items()])],
    colours={op: colours[op] for op in used},
  )


def answer_html(certificate: Certificate) -> str:
  """A query's answer: how it was chosen, and how its latency is known."""
  budget, margin = certificate.budget, certificate.margin
  limits = [f"{name} ≤ {limit:g}" for name, limit in budget.limits.items()]
  latency = f"{budget.latency} = {words.ms(budget.latency_ms)}"
  facts = {
    "Budget": ", ".join([latency, *limits]),
    "Measured latency": _measured(certificate.measured),
    "Predicted latency": words.ms(certificate.predicted_ms),
    "Networks measured": f"{len(certificate.tried)}",
    "Candidates": _candidates(certificate),
    "Proposed by": _PROPOSED[certificate.source],
    "Place by the committee": _places(certificate.committee),
    **{
      f"Judge left out: {name}": reason
      for name, reason in certificate.committee.left_out.items()
    },
    **_rivals(certificate),
    "Test accuracy": words.percent(certificate.accuracies.test_accuracy, 2),
    "Weights": certificate.weights or words.NOTHING,
    "Device": device_name(certificate.device),
    "Batch size": f"{certificate.batch_size}",
  }
  if margin:
    facts["Margin"] = (
      f"{margin.ratio:.3f} times the prediction, which"
      f" {words.percent(margin.attained_level, 0)} of networks like the"
      f" {margin.networks} of the calibration keep"
    )
  if certificate.measured:
    latency_ms, how = certificate.measured.median_ms, "measured"
  else:
    latency_ms, how = certificate.predicted_ms, "predicted, not measured"
  texts = []
  if certificate.unconstrained_best_fits:
    texts.append(
      "The budget costs nothing: without it, no network ranks better."
    )
  tables = [Table([*facts.items()])]
  if certificate.finalists:
    tables.append(_finalists(certificate.finalists))
  return _html(
    f"A network of {words.ms(latency_ms)} ({how})", texts, tables=tables
  )


def _candidates(certificate: Certificate) -> str:
  counts = certificate.candidates
  parts = [f"{n} {_PROPOSED[source]}" for source, n in counts.items()]
  return f"{sum(counts.values())} ({', '.join(parts)})"


def _places(committee: Committee) -> str:
  votes = [f"{vote.judge} {vote.place}" for vote in committee.votes]
  return f"{committee.place} of {committee.compared} ({', '.join(votes)})"


def _rivals(certificate: Certificate) -> dict[str, str]:
  """What the answer is compared with, and how much of the budget that takes."""
  rivals = {
    "The largest that fits": certificate.largest,
    **{
      f"Random network {place}": rival
      for place, rival in enumerate(certificate.random, 1)
    },
  }
  if certificate.reference:
    rivals["The reference"] = certificate.reference
  budget_ms = certificate.budget.latency_ms
  return {name: _rival(rival, budget_ms) for name, rival in rivals.items()}


def _rival(rival: Rival, budget_ms: float) -> str:
  parts = [rival.id]
  if rival.width != 1.0:
    parts.append(f"{rival.width:g} times the channels")
  parts.append(f"{words.count(rival.macs)} multiply-accumulates")
  if rival.predicted_ms is not None:
    parts.append(f"{words.ms(rival.predicted_ms)} predicted")
  if rival.measured:
    parts.append(f"{words.ms(rival.measured.median_ms)} measured")
  parts.append(
    f"{words.percent(rival.latency_ms / budget_ms, 0)} of the budget"
  )
  if rival.test_accuracy is not None:
    parts.append(f"test accuracy {words.percent(rival.test_accuracy, 2)}")
  return ", ".join(parts)


def _finalists(finalists: Sequence[Finalist]) -> Table:
  """Those that were trained briefly, a row each."""
  rows = [
    (
      f.id,
      _PROPOSED[f.source],
      words.ms(f.measured.median_ms if f.measured else f.predicted_ms),
      words.percent(f.held_out_accuracy, 2),
      f"{f.steps}",
      "-" if f.seconds is None else f"{f.seconds:.0f} s",
    )
    for f in finalists
  ]
  heads = ("Finalist", "", "Latency", "Held-out accuracy", "Steps", "Time")
  return Table(rows, heads)


def _measured(latency: Measurement | None) -> str:
  if latency is None:
    return "not measured"
  iqr = f"interquartile range {words.number(latency.iqr_ms)} ms"
  return f"{words.ms(latency.median_ms)} ({iqr})"
