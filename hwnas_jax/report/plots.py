"""Figures of a family: Pareto front, predicted against measured latency.

Every function returns a `matplotlib.figure.Figure`; no global state is used.
"""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib import axes, figure, ticker

from hwnas_jax.io.records import Member, MemberKind
from hwnas_jax.report import family, style
from hwnas_jax.report.family import Reading

COSTS: dict[str, Reading] = {
  "latency": family.latency_ms,
  "params": family.params,
}

# label, marker, size, face and edge of a kind.
_LOOKS: dict[MemberKind, tuple[str, str, int, str, str]] = {
  "member": ("family", "o", 52, style.ACCENT, style.PANEL),
  "largest": ("largest", "^", 50, style.PANEL, style.INK),
  "random": ("random", "D", 34, style.PANEL, style.MUTED),
  "reference": ("reference", "s", 38, style.PANEL, style.INK),
}


def link(member: Member) -> str:
  """The address of a network in the report's page."""
  return f"#member-{member.id}"


@matplotlib.rc_context(style.RC)
def pareto_figure(
  members: Sequence[Member], cost: str = "latency"
) -> figure.Figure:
  """Draws test accuracy against a cost.

  Args:
    members: networks; those without an accuracy or a cost are left out. Bars
      span the lowest and the highest accuracy where several seeds were
      trained.
    cost: `latency` (measured, ms) or `params`.

  Raises:
    ValueError: no such cost.
  """
  if cost not in COSTS:
    raise ValueError(f"cost must be one of {', '.join(COSTS)}, not {cost!r}")
  fig, ax = style.new_axes("Test accuracy")
  drawn = with_both(members, cost)
  _draw_front(ax, family.searched(drawn), cost)
  _draw_seeds(ax, drawn, cost)
  _draw_points(ax, drawn, COSTS[cost], family.accuracy)
  if cost == "latency":
    _name_highlights(ax, drawn)
  _finish_cost_axis(ax, cost, drawn)
  ax.margins(0.08, 0.12)
  ax.yaxis.set_major_formatter(style.percent)
  ax.yaxis.set_major_locator(ticker.MaxNLocator(6))
  style.add_legend(ax)
  return fig


def with_both(members: Sequence[Member], cost: str) -> list[Member]:
  """The networks that have both a cost of that name and an accuracy."""
  return [
    m
    for m in members
    if COSTS[cost](m) is not None and family.accuracy(m) is not None
  ]


def _draw_front(ax: axes.Axes, members: Sequence[Member], cost: str) -> None:
  front = family.pareto_front(members, COSTS[cost])
  if len(front) > 1:
    x = [COSTS[cost](m) or 0 for m in front]
    y = [family.accuracy(m) or 0 for m in front]
    ax.plot(
      x, y, drawstyle="steps-post", color=style.ACCENT, lw=1.6, alpha=0.55
    )


def _draw_seeds(ax: axes.Axes, members: Sequence[Member], cost: str) -> None:
  for member in members:
    seeds = member.accuracies.test_accuracies
    if len(seeds) > 1:
      colour = style.ACCENT if member.kind == "member" else style.MUTED
      x = COSTS[cost](member) or 0
      ax.plot([x, x], [min(seeds), max(seeds)], color=colour, lw=1.3)


def _draw_points(
  ax: axes.Axes, members: Sequence[Member], x: Reading, y: Reading
) -> None:
  for kind, group in family.by_kind(members).items():
    label, marker, size, face, edge = _LOOKS[kind]
    if group:
      ax.scatter(
        [x(m) or 0 for m in group],
        [y(m) or 0 for m in group],
        s=size,
        marker=marker,
        facecolor=face,
        edgecolor=edge,
        linewidth=1.3,
        label=label,
        urls=[link(m) for m in group],
        zorder=3,
      )


def _name_highlights(ax: axes.Axes, members: Sequence[Member]) -> None:
  """Names the fastest, the knee and the slowest, above or else below."""
  points = [(m.latency_ms or 0, family.accuracy(m) or 0) for m in members]
  lows, highs = np.min(points, 0), np.max(points, 0)
  for role, member in family.highlights(members).items():
    seeds = member.accuracies.test_accuracies
    x, y = member.latency_ms or 0, family.accuracy(member) or 0
    places = np.subtract(points, (x, y)) / np.maximum(highs - lows, 1e-9)
    near = (np.abs(places[:, 0]) < 0.06) & (places[:, 1] < 0.1)
    covered = bool((near & (places[:, 1] > 0)).any())
    ax.annotate(
      role,
      (x, min([y, *seeds]) if covered else max([y, *seeds])),
      (0, -15) if covered else (0, 6),
      textcoords="offset points",
      ha="center",
      color=style.INK,
      fontsize=9.5,
    )


def _finish_cost_axis(
  ax: axes.Axes, cost: str, members: Sequence[Member]
) -> None:
  if cost == "latency":
    ax.set_xlabel("Measured latency, ms", color=style.MUTED)
  else:
    ax.set_xlabel("Parameters", color=style.MUTED)
  _set_scale(ax, [COSTS[cost](m) or 0 for m in members])
  ax.xaxis.set_major_formatter(
    ticker.EngFormatter(sep="") if cost == "params" else style.plain
  )


def _set_scale(ax: axes.Axes, values: Sequence[float]) -> None:
  """A logarithmic axis where values span more than a decade."""
  if values and min(values) > 0 and max(values) > 10 * min(values):
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_minor_locator(ticker.NullLocator())
  else:
    ax.xaxis.set_major_locator(ticker.MaxNLocator(6))


@matplotlib.rc_context(style.RC)
def prediction_figure(members: Sequence[Member]) -> figure.Figure:
  """Draws the latency that a table predicts against the measured one.

  Args:
    members: networks; those without both latencies are left out.

  Returns:
    The figure, both axes in ms, with the line where both are equal.
  """
  fig, ax = style.new_axes("Predicted latency, ms")
  drawn = family.predicted(members)
  _draw_points(ax, drawn, family.latency_ms, lambda m: m.predicted_ms)
  latencies = [m.latency_ms or 0.0 for m in drawn]
  latencies += [m.predicted_ms or 0.0 for m in drawn]
  ends = (0.0, 1.06 * max(latencies, default=1.0))
  ax.plot(ends, ends, color=style.MUTED, lw=1, ls=(0, (4, 3)), label="equal")
  ax.set(xlim=ends, ylim=ends)
  ax.set_xlabel("Measured latency, ms", color=style.MUTED)
  ax.grid(axis="x", color=style.GRID, linewidth=0.8)
  style.add_legend(ax)
  return fig
