"""The sections of the report; each is empty where a run lacks its data."""

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from hwnas_jax.report import curves, family, plots, shares, style, words
from hwnas_jax.report.run import Run

_SEARCH = {
  "cross_entropy": "Cross-entropy, nats",
  "accuracy": "Accuracy of the mixture",
  "expected_latency_ms": "Expected latency of the mixture, ms",
  "derived_latency_ms": "Latency of the derived network by the table, ms",
  "multiplier": "Multiplier of the latency",
  "penalty": "Penalty",
  "loss": "Loss",
  "temperature": "Temperature",
}
_TRAINING = {"train_accuracy": "Training accuracy", "loss": "Training loss"}


def _figure(svg: str, caption: str, detail: str = "") -> str:
  small = f"<small>{html.escape(detail)}</small>" if detail else ""
  return (
    '<figure class="panel">'
    f"<figcaption>{html.escape(caption)}{small}</figcaption>{svg}</figure>"
  )


def _titled(svg: str) -> str:
  """A panel for a figure whose own title says enough."""
  return f'<figure class="panel">{svg}</figure>'


def _grid(figures: Iterable[str], kind: str = "") -> str:
  return f'<div class="figures {kind}">{"".join(figures)}</div>'


def _split(note: str, figure: str) -> str:
  return f'<div class="split">{note}{figure}</div>'


def _note(text: str) -> str:
  return f'<p class="note">{html.escape(text)}</p>'


def _tips(run: Run) -> dict[str, str]:
  return {
    plots.link(m): f"{m['name']}: {words.ms(family.latency_ms(m))}, "
    f"{words.percent(family.accuracy(m), 2)}, {words.count(m['params'])} "
    "parameters"
    for m in run.members
  }


def pareto_html(run: Run) -> str:
  """Accuracy against latency and against parameters."""
  captions = {
    "latency": "Accuracy against measured latency",
    "params": "Accuracy against parameters",
  }
  figures = []
  for cost, caption in captions.items():
    known = [
      m
      for m in run.members
      if plots.COSTS[cost](m) is not None and family.accuracy(m) is not None
    ]
    if known:
      levels = _near_levels(run, [family.accuracy(m) or 0 for m in known])
      fig = plots.pareto_figure(known, cost, levels)
      svg = style.to_svg(fig, f"pareto-{cost}", caption, _tips(run))
      figures.append(_figure(svg, caption))
  note = _note(
    "Up and to the left is better. The step line is the Pareto front: no"
    " network of the family is both cheaper and more accurate. A point leads"
    " to its network below."
  )
  return note + _grid(figures) if figures else ""


def _near_levels(run: Run, scores: list[float]) -> dict[str, float]:
  """Baselines close enough to the networks not to squash the plot."""
  low, high = min(scores), max(scores)
  reach = max(high - low, 0.01)
  return {
    name: level
    for name, level in words.baseline_levels(run).items()
    if low - reach <= level <= high + reach
  }


def shares_html(run: Run) -> str:
  """Operation shares against scale and against prices."""
  points = run.family.get("shares") or []
  note = _note(
    "The share of an operation is its softmax probability, averaged over the"
    " choices. S says how the price is divided between kinds of operations,"
    " the scale how much the whole of it counts."
  )
  sweep, grid = shares.scale_sweep(points), shares.simplex_grid(points)
  parts = [
    _against_scale(run, sweep, note) if sweep else note,
    _against_prices(run, grid) if grid else "",
  ]
  return "".join(parts) if sweep or grid else ""


def _against_scale(run: Run, sweep: Sequence[shares.Point], note: str) -> str:
  caption = "Shares against scale"
  fig = shares.scale_figure(sweep, run.family["ops"])
  svg = style.to_svg(fig, "scale", caption)
  detail = "at the same prices S throughout"
  return _split(note, _figure(svg, caption, detail))


def _against_prices(run: Run, grid: Sequence[shares.Point]) -> str:
  ops, priced = run.family["ops"], run.family["priced"]
  if len(priced) == 3 and _is_area(grid):
    return _ternary(run, grid)
  caption = "Shares against price"
  svg = style.to_svg(shares.price_figure(grid, priced, ops), "price", caption)
  note = _note(
    "Dots are prices S that were asked for; a line is the mean over dots"
    " with nearly the same price."
  )
  return _split(note, _figure(svg, caption, "each operation's own price"))


def _is_area(grid: Sequence[shares.Point]) -> bool:
  prices = np.asarray([p["condition"]["simplex"] for p in grid])
  return bool(np.linalg.matrix_rank(prices - prices[0]) == 2)


def _ternary(run: Run, grid: Sequence[shares.Point]) -> str:
  ops, priced = run.family["ops"], run.family["priced"]
  figures = []
  for index, op in enumerate(ops):
    values = [p["shares"].get(op, 0.0) for p in grid]
    fig = shares.ternary_figure(grid, priced, ops, op)
    svg = style.to_svg(fig, f"ternary-{index}", f"Share of {op} against S")
    extent = words.span(words.percent(min(values)), words.percent(max(values)))
    figures.append(_figure(svg, op, f"share {extent}"))
  scale = grid[0]["condition"].get("scale")
  at = "" if scale is None else f", at scale {words.number(scale)}"
  return (
    "<h3>Shares over the triangle of prices</h3>"
    + _note(f"At a corner the whole price is on that operation{at}.")
    + _grid(figures, "small")
  )


def prediction_html(run: Run) -> str:
  """The table's latency against the measured one."""
  known = family.predictions(run.members)
  if not known:
    return ""
  error, rank = family.prediction_error(known)
  caption = "The table's latency against the measured latency"
  fig = plots.prediction_figure(known)
  svg = style.to_svg(fig, "prediction", caption, _tips(run))
  correlation = (
    "" if rank is None else f" Spearman's rank correlation is {rank:.2f}."
  )
  base = run.family.get("base_latency_ms")
  fixed = (
    ""
    if base is None
    else f" What every network runs is {words.ms(base)} of each."
  )
  note = (
    "The prediction adds up the latencies of single operations; the"
    " measurement runs the whole network. The median error over"
    f" {words.networks(len(known))} is {words.percent(error)}.{correlation}"
    f"{fixed}"
  )
  return _split(_note(note), _figure(svg, caption))


def training_html(run: Run) -> str:
  """Curves of the training of every network."""
  figures = []
  for key, title in _TRAINING.items():
    if any(len(curves.series(r, key)[0]) for r in run.training.values()):
      fig = curves.training_figure(run.members, run.training, key, title)
      svg = style.to_svg(fig, f"training-{key}", title)
      figures.append(_titled(svg))
  note = _note(
    "A line is a network, coloured by measured latency; random architectures"
    " are dashed."
  )
  return note + _grid(figures) if figures else ""


def search_html(run: Run) -> str:
  """Curves of the search."""
  figures = []
  for key, title in _SEARCH.items():
    if len(curves.series(run.search, key)[0]) > 1:
      fig = curves.search_figure(run.search, key, title)
      svg = style.to_svg(fig, f"search-{key}", title)
      figures.append(_titled(svg))
  note = _note(
    "Lines are means over stretches of steps; bands go from the lowest to the"
    " highest value."
  )
  return note + _grid(figures, "small") if figures else ""


def origin_html(run: Run) -> str:
  """The command, versions, device and settings of the run."""
  parts = []
  if run.command:
    command = html.escape(run.command)
    parts.append(f'<pre class="wrap"><code>{command}</code></pre>')
  tables = [
    _table("Versions", run.versions),
    _table("Device", {"fingerprint": run.fingerprint, **run.device}),
  ]
  if any(tables):
    parts.append(f'<div class="tables">{"".join(tables)}</div>')
  if run.config:
    text = html.escape(json.dumps(run.config, indent=2, sort_keys=True))
    parts.append(
      '<details class="settings"><summary>All settings</summary>'
      f"<pre><code>{text}</code></pre></details>"
    )
  return "".join(parts)


def _table(title: str, values: Mapping[str, Any]) -> str:
  rows = "".join(
    f"<tr><th>{html.escape(str(key))}</th>"
    f"<td>{html.escape(str(value))}</td></tr>"
    for key, value in values.items()
    if value not in (None, "")
  )
  if not rows:
    return ""
  return f'<div class="panel"><h3>{title}</h3><table>{rows}</table></div>'
