"""Figures of a family: Pareto front, predicted against measured latency.

Every function returns a `matplotlib.figure.Figure`; no global state is used.
"""

from collections.abc import Callable, Mapping, Sequence

import matplotlib
from matplotlib import axes, figure, ticker

from hwnas_jax.report import family, style
from hwnas_jax.report.family import Member

Coordinate = Callable[[Member], float | None]
COSTS: dict[str, Coordinate] = {
  "latency": family.latency_ms,
  "params": family.params,
}


def link(member: Member) -> str:
  """The address of a member in the report's page."""
  return f"#member-{member['id']}"


@matplotlib.rc_context(style.RC)
def pareto_figure(
  members: Sequence[Member],
  cost: str = "latency",
  levels: Mapping[str, float] | None = None,
) -> figure.Figure:
  """Draws test accuracy against a cost.

  Args:
    members: entries of family.json's `members`; those without an accuracy or a
      cost are left out. Bars span the lowest and the highest accuracy where
      several seeds were trained.
    cost: `latency` (measured, ms) or `params`.
    levels: accuracies (0..1) to draw as horizontal lines, by name.

  Returns:
    The figure.

  Raises:
    ValueError: no such cost.
  """
  if cost not in COSTS:
    raise ValueError(f"cost must be one of {', '.join(COSTS)}, not {cost!r}")
  fig, ax = style.new_axes("Test accuracy")
  known = [
    m
    for m in members
    if COSTS[cost](m) is not None and family.accuracy(m) is not None
  ]
  _draw_front(ax, family.split(known)[0], cost)
  _draw_seeds(ax, known, cost)
  _draw_points(ax, known, COSTS[cost], family.accuracy)
  _draw_levels(ax, levels or {})
  if cost == "latency":
    _name_highlights(ax, known)
  _finish_cost_axis(ax, cost, known)
  ax.margins(0.08, 0.12)
  ax.yaxis.set_major_formatter(style.percent)
  ax.yaxis.set_major_locator(ticker.MaxNLocator(6))
  style.add_legend(ax)
  return fig


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
    seeds = family.accuracies(member)
    if len(seeds) > 1:
      colour = style.MUTED if family.is_random(member) else style.ACCENT
      x = COSTS[cost](member) or 0
      ax.plot([x, x], [min(seeds), max(seeds)], color=colour, lw=1.3)


def _draw_points(
  ax: axes.Axes, members: Sequence[Member], x: Coordinate, y: Coordinate
) -> None:
  ours, baselines = family.split(members)
  looks = (
    (ours, "family", "o", 52, style.ACCENT, style.PANEL),
    (baselines, "random", "D", 34, style.PANEL, style.MUTED),
  )
  for group, label, marker, size, face, edge in looks:
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


def _draw_levels(ax: axes.Axes, levels: Mapping[str, float]) -> None:
  for name, level in levels.items():
    ax.axhline(level, color=style.MUTED, lw=1, ls=(0, (4, 3)))
    ax.annotate(
      name,
      (1, level),
      (0, 3),
      xycoords=("axes fraction", "data"),
      textcoords="offset points",
      color=style.MUTED,
      fontsize=9.5,
      ha="right",
    )


def _name_highlights(ax: axes.Axes, members: Sequence[Member]) -> None:
  for role, member in family.highlights(members).items():
    top = max([family.accuracy(member) or 0, *family.accuracies(member)])
    ax.annotate(
      role,
      (family.latency_ms(member) or 0, top),
      (0, 6),
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
  values = [COSTS[cost](m) or 0 for m in members]
  _spread(ax, values)
  ax.xaxis.set_major_formatter(
    ticker.EngFormatter(sep="") if cost == "params" else style.plain
  )


def _spread(ax: axes.Axes, values: Sequence[float]) -> None:
  """A logarithmic axis where values span more than a decade."""
  if values and min(values) > 0 and max(values) > 10 * min(values):
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_minor_locator(ticker.NullLocator())
  else:
    ax.xaxis.set_major_locator(ticker.MaxNLocator(6))


@matplotlib.rc_context(style.RC)
def prediction_figure(members: Sequence[Member]) -> figure.Figure:
  """Draws the table's latency against the measured latency of networks.

  Args:
    members: entries of family.json's `members`; those without both latencies
      are left out.

  Returns:
    The figure, both axes in ms, with the line of equality.
  """
  fig, ax = style.new_axes("Predicted latency, ms")
  known = family.predictions(members)
  _draw_points(ax, known, family.latency_ms, family.predicted_ms)
  ends = (0.0, 1.06 * max(_both(known), default=1.0))
  ax.plot(ends, ends, color=style.MUTED, lw=1, ls=(0, (4, 3)), label="equal")
  ax.set(xlim=ends, ylim=ends)
  ax.set_xlabel("Measured latency, ms", color=style.MUTED)
  ax.grid(axis="x", color=style.GRID, linewidth=0.8)
  style.add_legend(ax)
  return fig


def _both(members: Sequence[Member]) -> list[float]:
  both = family.latency_ms, family.predicted_ms
  return [of(m) or 0.0 for of in both for m in members]
