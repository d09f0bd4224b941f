"""Figures of operation shares: against scale and against the prices S.

A *share* is the mean over choices of an operation's softmax probability. The
points are the entries of family.json's `shares`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib import axes, colors, figure, ticker

from hwnas_jax.report import style

Point = Mapping[str, Any]
NUM_BINS = 8
_HEIGHT = np.sqrt(3) / 2  # of the unit triangle


def scale_sweep(points: Sequence[Point]) -> list[Point]:
  """The longest run of points that differ in scale alone, by rising scale.

  Args:
    points: entries of `shares`.

  Returns:
    At least two points with the same prices S, or nothing.
  """
  groups: dict[tuple[float, ...], dict[float, Point]] = {}
  for point in points:
    scale = _condition(point).get("scale")
    if scale is not None:
      groups.setdefault(_simplex(point), {})[scale] = point
  longest = max(groups.values(), key=len, default={})
  if len(longest) < 2:
    return []
  return [longest[scale] for scale in sorted(longest)]


def simplex_grid(points: Sequence[Point]) -> list[Point]:
  """The largest set of points that differ in prices S alone.

  Args:
    points: entries of `shares`.

  Returns:
    At least three points with the same scale, or nothing.
  """
  groups: dict[Any, dict[tuple[float, ...], Point]] = {}
  for point in points:
    scale = _condition(point).get("scale")
    groups.setdefault(scale, {})[_simplex(point)] = point
  largest = max(groups.values(), key=len, default={})
  return list(largest.values()) if len(largest) > 2 else []


def _condition(point: Point) -> Mapping[str, Any]:
  return point.get("condition") or {}


def _simplex(point: Point) -> tuple[float, ...]:
  return tuple(round(s, 6) for s in _condition(point).get("simplex") or ())


def _share(points: Sequence[Point], op: str) -> np.ndarray:
  return np.asarray([p["shares"].get(op, 0.0) for p in points])


@matplotlib.rc_context(style.RC)
def scale_figure(sweep: Sequence[Point], ops: Sequence[str]) -> figure.Figure:
  """Draws the shares, one on top of the other, against the scale.

  Args:
    sweep: as `scale_sweep` returns it.
    ops: all operations of the space.

  Returns:
    The figure.
  """
  fig, ax = style.new_axes("Share of each operation", height_in=4.2)
  scales = [p["condition"]["scale"] for p in sweep]
  colours = style.op_colours(ops)
  ax.stackplot(
    scales,
    [_share(sweep, op) for op in ops],
    colors=[colours[op] for op in ops],
    labels=ops,
    edgecolor=style.PANEL,
    linewidth=0.8,
  )
  if min(scales) > 0 and max(scales) > 10 * min(scales):
    ax.set_xscale("log")
    ax.xaxis.set_minor_locator(ticker.NullLocator())
  ax.xaxis.set_major_formatter(style.plain)
  ax.set(xlim=(min(scales), max(scales)), ylim=(0, 1))
  ax.set_xlabel("Scale: how dear time is", color=style.MUTED)
  ax.yaxis.set_major_formatter(style.percent)
  _op_legend(fig, ax)
  return fig


def _op_legend(fig: figure.Figure, ax: axes.Axes) -> None:
  """A legend below the axes, in as many rows as it takes."""
  handles, labels = ax.get_legend_handles_labels()
  fig.legend(
    handles,
    labels,
    loc="outside lower center",
    ncols=min(3, len(labels)),
    frameon=False,
    labelcolor=style.INK,
    fontsize=10,
    handlelength=1.2,
  )


@matplotlib.rc_context(style.RC)
def price_figure(
  grid: Sequence[Point], priced: Sequence[str], ops: Sequence[str]
) -> figure.Figure:
  """Draws the share of each operation against its own price.

  Args:
    grid: as `simplex_grid` returns it.
    priced: operations in the order of S.
    ops: all operations of the space.

  Returns:
    The figure: a dot for each point, and a line of means over points with
    nearly the same price.
  """
  fig, ax = style.new_axes("Share of each operation", height_in=4.2)
  colours = style.op_colours(ops)
  for index, op in enumerate(priced):
    price = np.asarray([p["condition"]["simplex"][index] for p in grid])
    share = _share(grid, op)
    ax.scatter(price, share, s=14, color=colours[op], alpha=0.45, linewidth=0)
    order = np.argsort(price, kind="stable")
    parts = np.array_split(order, min(NUM_BINS, len(order)))
    ax.plot(
      [price[part].mean() for part in parts],
      [share[part].mean() for part in parts],
      color=colours[op],
      lw=2,
      label=op,
    )
  ax.set_xlabel("Its own coordinate of S", color=style.MUTED)
  ax.set_ylim(bottom=0)
  ax.yaxis.set_major_formatter(style.percent)
  _op_legend(fig, ax)
  return fig


@matplotlib.rc_context(style.RC)
def ternary_figure(
  grid: Sequence[Point], priced: Sequence[str], ops: Sequence[str], op: str
) -> figure.Figure:
  """Draws the share of one operation over the triangle of prices.

  Args:
    grid: as `simplex_grid` returns it; its points are not all on a line.
    priced: the three operations of S, in its order.
    ops: all operations of the space.
    op: the operation whose share is drawn.

  Returns:
    The figure. A corner is where the price is all on that operation.

  Raises:
    ValueError: there are not three priced operations.
  """
  if len(priced) != 3:
    raise ValueError(f"a ternary map needs 3 priced operations, not {priced}")
  fig = figure.Figure((4.2, 4.0), layout="constrained", facecolor=style.PANEL)
  ax = fig.add_subplot(facecolor="none")
  prices = np.asarray([p["condition"]["simplex"] for p in grid])
  corners = np.asarray([(0.0, 0.0), (1.0, 0.0), (0.5, _HEIGHT)])
  x, y = (prices @ corners).T
  colour = style.op_colours(ops)[op]
  cmap = colors.LinearSegmentedColormap.from_list("", ["#f3f5f7", colour])
  filled = ax.tricontourf(
    x, y, _share(grid, op).clip(0, 1), levels=np.linspace(0, 1, 21), cmap=cmap
  )
  filled.set_edgecolor("face")  # else the page shows between the levels
  outline = corners[[0, 1, 2, 0]]
  ax.plot(*outline.T, color=style.MUTED, lw=1)
  _name_corners(ax, corners, priced)
  ax.set_aspect("equal")
  ax.set_axis_off()
  bar = fig.colorbar(filled, orientation="horizontal", shrink=0.7, aspect=28)
  bar.set_ticks([0, 0.5, 1], labels=["0 %", "50 %", "100 %"])
  bar.ax.tick_params(colors=style.MUTED, length=0)
  bar.outline.set_visible(False)  # type: ignore[operator]
  return fig


def _name_corners(
  ax: axes.Axes, corners: np.ndarray, priced: Sequence[str]
) -> None:
  places = (("left", "top", -6), ("right", "top", -6), ("center", "bottom", 6))
  for corner, name, (side, below, shift) in zip(
    corners, priced, places, strict=True
  ):
    ax.annotate(
      name,
      corner,
      (0, shift),
      textcoords="offset points",
      ha=side,
      va=below,
      color=style.INK,
    )
