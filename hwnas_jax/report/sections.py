"""The report's sections of figures; each is empty where a run lacks its data.

Every function returns a section's HTML without its heading.
"""

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from hwnas_jax.io import records
from hwnas_jax.io.records import DataSet, Shares
from hwnas_jax.report import curves, family, plots, shares, style, words
from hwnas_jax.report.run import Run
from hwnas_jax.report.style import Figure
from hwnas_jax.report.template import render

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


class Block(NamedTuple):
  """A note and the figures it is about.

  heading: above the note; empty for none.
  beside: the only figure stands beside the note, not below it.
  small: the figures are small, three in a row where there is room.
  """

  note: str
  figures: Sequence[Figure]
  heading: str = ""
  beside: bool = False
  small: bool = False


def _html(blocks: Iterable[Block]) -> Markup:
  return render("figures.html.jinja", blocks=blocks)


def tips(run: Run) -> dict[str, str]:
  """{link of a network's point: the text under the mouse}."""
  return {
    plots.link(m): f"{m.name}: {words.ms(m.latency_ms)}, "
    f"{words.accuracy(family.accuracy(m))}, {words.count(m.params)} "
    "parameters"
    for m in run.family.members
  }


def pareto_html(run: Run) -> Markup:
  """Accuracy against latency and against parameters."""
  captions = {
    "latency": "Accuracy against measured latency",
    "params": "Accuracy against parameters",
  }
  figures = []
  for cost, caption in captions.items():
    drawn = plots.with_both(run.family.members, cost)
    if drawn:
      fig = plots.pareto_figure(drawn, cost)
      svg = style.to_svg(fig, f"pareto-{cost}", caption, tips(run))
      figures.append(Figure(svg, caption))
  note = (
    "Up and to the left is better. The stepped line is the Pareto front, which"
    " no other network of the family beats in both. A click on a point shows"
    " its network below."
  )
  return _html([Block(note, figures)]) if figures else Markup()


def shares_html(run: Run) -> Markup:
  """Operation shares against scale and against prices."""
  points = run.family.shares
  note = (
    "The share of an operation is its softmax probability, averaged over the"
    " choices. The prices S divide the cost between kinds of operations; the"
    " scale is how much the whole cost counts beside accuracy."
  )
  sweep, grid = shares.scale_sweep(points), shares.simplex_grid(points)
  if not sweep and not grid:
    return Markup()
  blocks = [
    _against_scale(run, sweep, note) if sweep else Block(note, []),
    *([_against_prices(run, grid)] if grid else []),
  ]
  return _html(blocks)


def _against_scale(run: Run, sweep: Sequence[Shares], note: str) -> Block:
  caption = "Shares against scale"
  fig = shares.scale_figure(sweep, run.family.ops)
  svg = style.to_svg(fig, "scale", caption)
  detail = "at the same prices S throughout"
  return Block(note, [Figure(svg, caption, detail)], beside=True)


def _against_prices(run: Run, grid: Sequence[Shares]) -> Block:
  ops, priced = run.family.ops, run.family.priced
  if len(priced) == 3 and _is_area(grid):
    return _ternary(run, grid)
  caption = "Shares against price"
  svg = style.to_svg(shares.price_figure(grid, priced, ops), "price", caption)
  note = (
    "A dot is a condition with its own prices S; a line is the mean over dots"
    " with nearly the same price."
  )
  figure = Figure(svg, caption, "each operation's own price")
  return Block(note, [figure], beside=True)


def _is_area(grid: Sequence[Shares]) -> bool:
  prices = shares.prices(grid)
  return bool(np.linalg.matrix_rank(prices - prices[0]) == 2)


def _ternary(run: Run, grid: Sequence[Shares]) -> Block:
  ops, priced = run.family.ops, run.family.priced
  figures = []
  for index, op in enumerate(ops):
    fig = shares.ternary_figure(grid, priced, ops, op)
    svg = style.to_svg(fig, f"ternary-{index}", f"Share of {op} against S")
    extent = words.extent(shares.share(grid, op).tolist(), words.percent)
    figures.append(Figure(svg, op, f"share {extent}"))
  scale = words.number(grid[0].condition.scale)
  return Block(
    "In a corner, only the operation named there has a price. The scale is"
    f" {scale}.",
    figures,
    heading="Shares over the triangle of prices",
    small=True,
  )


def prediction_html(run: Run) -> Markup:
  """The latency that the table predicts against the measured one."""
  drawn = family.predicted(run.family.members)
  if not drawn:
    return Markup()
  error = family.prediction_error(drawn)
  sentences = [
    "The prediction adds up the latencies of single operations; the"
    " measurement runs the whole network.",
    f"The median error over {words.networks(len(drawn))} is"
    f" {words.percent(error.median)}.",
  ]
  if error.spearman is not None:
    sentences.append(f"Spearman's rank correlation is {error.spearman:.2f}.")
  base_ms = run.family.base_latency_ms
  if base_ms is not None:
    sentences.append(
      f"Of each prediction, {words.ms(base_ms)} are the base, which every"
      " network pays."
    )
  caption = "The table's latency against the measured latency"
  fig = plots.prediction_figure(drawn)
  svg = style.to_svg(fig, "prediction", caption, tips(run))
  figures = [Figure(svg, caption)]
  return _html([Block(" ".join(sentences), figures, beside=True)])


def training_html(run: Run) -> Markup:
  """Curves of the training of every network."""
  figures = []
  for key, title in _TRAINING.items():
    if any(len(curves.series(r, key)[0]) for r in run.training.values()):
      members = run.family.members
      fig = curves.training_figure(members, run.training, key, title)
      figures.append(Figure(style.to_svg(fig, f"training-{key}", title)))
  note = (
    "A line is a network, coloured by measured latency; baselines are dashed."
  )
  return _html([Block(note, figures)]) if figures else Markup()


def search_html(run: Run) -> Markup:
  """Curves of the search."""
  figures = []
  for key, title in _SEARCH.items():
    if len(curves.series(run.search, key)[0]) > 1:
      fig = curves.search_figure(run.search, key, title)
      figures.append(Figure(style.to_svg(fig, f"search-{key}", title)))
  note = (
    "A line is the mean over groups of neighbouring steps; its band goes from"
    " the lowest to the highest value of each group."
  )
  return _html([Block(note, figures, small=True)]) if figures else Markup()


def _data_rows(data: DataSet) -> dict[str, object]:
  """What a reader wants to know of a data set, by its name on the page."""
  classes = data.class_names or range(data.num_classes)
  return {
    "name": data.name,
    "images": " x ".join(map(str, data.image)),
    "training examples": data.num_train,
    "test examples": data.num_test,
    "classes": ", ".join(map(str, classes)),
    "SHA-256": data.digest,
  }


def origin_html(run: Run) -> Markup:
  """The command, versions, device, data and settings of the run."""
  if not run.settings and not run.made_with:
    return Markup()
  tables: dict[str, dict[str, object]] = {}
  if run.made_with:
    device = records.to_json(run.made_with.device)
    tables = {
      "Versions": {**run.made_with.versions},
      "Device": {"fingerprint": run.made_with.fingerprint, **device},
    }
  if run.settings:
    tables["Data"] = _data_rows(run.settings.origin.data)
  config = run.settings.config if run.settings else {}
  return render(
    "origin.html.jinja",
    command=run.settings.command if run.settings else "",
    tables=tables,
    settings=json.dumps(config, indent=2, sort_keys=True) if config else "",
  )
