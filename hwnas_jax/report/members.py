"""The list of networks: one row each, which opens to show its operations."""

import html
from collections.abc import Mapping, Sequence

from hwnas_jax.report import cells, family, scaling, style, words
from hwnas_jax.report.family import Member
from hwnas_jax.report.run import Run

_HEADS = (
  "Network",
  "Measured",
  "Predicted",
  "Accuracy",
  "Parameters",
  "MACs",
  "Operations",
)
_CELL_NAMES = {
  "normal": "Normal cell",
  "reduce": "Reduction cell",
  "cell": "Cell",
}


def members_html(run: Run) -> str:
  """Lists the family, then the random baselines.

  Args:
    run: the run.

  Returns:
    HTML: a legend of operations and two lists; the cheapest, the knee and the
    dearest are open.
  """
  ours, baselines = family.split(run.members)
  roles = {m["id"]: role for role, m in family.highlights(ours).items()}
  parts = [legend_html(run.family["ops"]), _list(run, ours, roles)]
  if baselines:
    parts += ["<h3>Random architectures</h3>", _list(run, baselines, {})]
  return "".join(parts)


def legend_html(ops: Sequence[str]) -> str:
  """The operations with their colours and kinds of line."""
  items = []
  for op, colour in style.op_colours(ops).items():
    dash = cells.dash(op)
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    items.append(
      '<li><svg viewBox="0 0 34 10" aria-hidden="true"><path d="M1 5H33"'
      f' stroke="{colour}" stroke-width="4"{dashes}/></svg>'
      f"{html.escape(op)}</li>"
    )
  return f'<ul class="legend">{"".join(items)}</ul>'


def _list(run: Run, members: Sequence[Member], roles: Mapping[str, str]) -> str:
  heads = "".join(f"<span>{head}</span>" for head in _HEADS)
  rows = "".join(_member(run, m, roles.get(m["id"], "")) for m in members)
  return f'<div class="heads" aria-hidden="true">{heads}</div>{rows}'


def _member(run: Run, member: Member, role: str) -> str:
  anchor = html.escape(f"member-{member['id']}")
  badge = f'<b class="badge">{role}</b>' if role else ""
  name = (
    f'<span class="name">{html.escape(str(member["name"]))}{badge}'
    f"<code>{html.escape(str(member['id']))}</code>{_alarms(run, member)}"
    "</span>"
  )
  iqr = (member.get("latency") or {}).get("iqr_ms")
  spread = "" if iqr is None else f"<small>IQR {iqr:.2g}</small>"
  values = (
    words.ms(family.latency_ms(member)) + spread,
    words.ms(family.predicted_ms(member)),
    words.percent(family.accuracy(member), 2) + _seeds(member),
    words.count(member["params"]),
    words.count(member.get("macs")),
    _bar(member["op_counts"], run.family["ops"]),
  )
  fields = "".join(
    f'<span data-head="{head}">{value}</span>'
    for head, value in zip(_HEADS[1:], values, strict=True)
  )
  zone = _comfort(run, member, anchor)
  return (
    f'<details class="member" id="{anchor}"{" open" if role or zone else ""}>'
    f"<summary>{name}{fields}</summary>"
    f'<div class="cells">{_cells(run, member)}{zone}</div>'
    f"{_facts(run, member)}</details>"
  )


def _alarms(run: Run, member: Member) -> str:
  """What tells that its search has collapsed, a line a sign.

  Several conditions may have given it: those of the one with most alarms.
  """
  points = [
    point
    for point in run.family.get("sweep") or ()
    if point["id"] == member["id"]
    and (point.get("collapse") or {}).get("alarms")
  ]
  if not points:
    return ""
  worst = max(points, key=lambda p: len(p["collapse"]["alarms"]))
  lines = [f"Alarm: {line}" for line in worst["collapse"]["alarms"]]
  if len(points) > 1:
    lines.append(f"Alarms at {len(points)} conditions that gave it")
  return "".join(f"<small>{html.escape(line)}</small>" for line in lines)


def _comfort(run: Run, member: Member, anchor: str) -> str:
  """Its latency when scaled up, where `hwnas_jax.scale` has measured that."""
  found = run.comfort.get(member["id"])
  if not found:
    return ""
  knee = found["knee"]
  fig = scaling.figure(found["points"], knee, found["tolerance"])
  caption = f"Scaled up: the knee has {scaling.words(knee)}"
  flags = " ".join(knee["overrides"])
  svg = style.to_svg(fig, f"{anchor}-comfort", f"{member['name']}, scaled up")
  return (
    f"<figure><figcaption>{html.escape(caption)}"
    f"<small>{html.escape(flags)}</small></figcaption>{svg}</figure>"
  )


def _seeds(member: Member) -> str:
  seeds = family.accuracies(member)
  if len(seeds) < 2:
    return ""
  low, high = f"{100 * min(seeds):.2f}", f"{100 * max(seeds):.2f}"
  return f"<small>{low}–{high}</small>"


def _bar(counts: Mapping[str, int], ops: Sequence[str]) -> str:
  colours = style.op_colours(ops)
  used = [(op, counts[op]) for op in ops if counts.get(op)]
  label = html.escape(", ".join(f"{n} {op}" for op, n in used))
  parts = "".join(
    f'<i style="flex:{n} 0 0;background:{colours[op]}">{n}</i>'
    for op, n in used
  )
  return (
    f'<span class="bar" role="img" aria-label="{label}" title="{label}">'
    f"{parts}</span>"
  )


def _cells(run: Run, member: Member) -> str:
  colours = style.op_colours(run.family["ops"])
  figures = []
  found = member["genotype"]
  if not cells.read_cells(found):
    layers = [found[c] for c in run.family["choices"] if c in found]
    svg = cells.chain_svg(layers, colours, f"Layers of {member['name']}")
    figure = f"<figure><figcaption>Layers</figcaption>{svg}</figure>"
    return figure + _choices(member)
  for kind, edges in cells.read_cells(member["genotype"]).items():
    name = _CELL_NAMES.get(kind, kind)
    svg = cells.cell_svg(
      edges,
      cells.layout(run.family["choices"]),
      colours,
      f"{name} of {member['name']}",
    )
    figures.append(
      f"<figure><figcaption>{html.escape(name)}</figcaption>{svg}</figure>"
    )
  return "".join(figures)


def _choices(member: Member) -> str:
  """What was chosen, line by line, where choices are not edges of a cell."""
  rows = "".join(
    f"<tr><th>{html.escape(choice)}</th><td>{html.escape(op)}</td></tr>"
    for choice, op in member["genotype"].items()
  )
  return f"<table>{rows}</table>"


def _facts(run: Run, member: Member) -> str:
  latency = member.get("latency") or {}
  condition = member.get("condition") or {}
  kept, choices = len(member["genotype"]), len(run.family["choices"])
  facts = {
    "Fastest repeat": words.ms(latency.get("min_ms")),
    "Repeats": str(latency.get("repeats", "–")),
    "Training seeds": str(len(family.accuracies(member)) or "–"),
    "Parameters in operations": words.count(member.get("op_params")),
    "Choices kept": f"{kept} of {choices}",
  }
  if condition.get("scale") is not None:
    facts["Scale"] = words.number(condition["scale"])
  if condition.get("simplex"):
    facts["Prices S"] = " · ".join(
      f"{op} {price:.2f}"
      for op, price in zip(
        run.family.get("priced") or (), condition["simplex"], strict=False
      )
    )
  items = "".join(
    f"<div><dt>{key}</dt><dd>{html.escape(value)}</dd></div>"
    for key, value in facts.items()
  )
  return f'<dl class="facts">{items}</dl>'
