"""Figures of operation shares: against scale and against the prices S.

The *share* of an operation is its softmax probability, averaged over choices.
A point has the shares of all operations at one condition.
"""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib import axes, colors, figure, ticker

from hwnas_jax.io.records import Shares
from hwnas_jax.report import style

NUM_BINS = 8
_HEIGHT = np.sqrt(3) / 2  # of the unit triangle


def scale_sweep(points: Sequence[Shares]) -> list[Shares]:
  """The most points that differ in scale alone, by rising scale.

  Returns:
    At least two points with the same prices S, or nothing.
  """
  groups: dict[tuple[float, ...], dict[float, Shares]] = {}
  for point in points:
    groups.setdefault(_simplex(point), {})[point.condition.scale] = point
  longest = max(groups.values(), key=len, default={})
  if len(longest) < 2:
    return []
  return [longest[scale] for scale in sorted(longest)]


def simplex_grid(points: Sequence[Shares]) -> list[Shares]:
  """The most points that differ in prices S alone.

  Returns:
    At least three points with the same scale, or nothing.
  """
  groups: dict[float, dict[tuple[float, ...], Shares]] = {}
  for point in points:
    groups.setdefault(point.condition.scale, {})[_simplex(point)] = point
  largest = max(groups.values(), key=len, default={})
  return list(largest.values()) if len(largest) > 2 else []


def _simplex(point: Shares) -> tuple[float, ...]:
  return tuple(round(s, 6) for s in point.condition.simplex)


def prices(points: Sequence[Shares]) -> np.ndarray:
  """The prices S: float64[N, K], N points by K priced operations."""
  return np.asarray([p.condition.simplex for p in points])


def share(points: Sequence[Shares], op: str) -> np.ndarray:
  """The share of one operation at N points: float64[N], 0 to 1."""
  return np.asarray([p.shares.get(op, 0.0) for p in points])


@matplotlib.rc_context(style.RC)
def scale_figure(sweep: Sequence[Shares], ops: Sequence[str]) -> figure.Figure:
  """Draws the shares, one on top of the other, against the scale.

  Args:
    sweep: as `scale_sweep` returns it.
    ops: all operations of the space.
  """
  fig, ax = style.new_axes("Share of each operation", height_in=4.2)
  scales = [p.condition.scale for p in sweep]
  colours = style.op_colours(ops)
  ax.stackplot(
    scales,
    [share(sweep, op) for op in ops],
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
  ax.set_xlabel("Scale: how much cost counts", color=style.MUTED)
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
  grid: Sequence[Shares], priced: Sequence[str], ops: Sequence[str]
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
    price = prices(grid)[:, index]
    values = share(grid, op)
    ax.scatter(price, values, s=14, color=colours[op], alpha=0.45, linewidth=0)
    order = np.argsort(price, kind="stable")
    parts = np.array_split(order, min(NUM_BINS, len(order)))
    ax.plot(
      [price[part].mean() for part in parts],
      [values[part].mean() for part in parts],
      color=colours[op],
      lw=2,
      label=op,
    )
  ax.set_xlabel(
    "Price of the operation, its coordinate of S", color=style.MUTED
  )
  ax.set_ylim(bottom=0)
  ax.yaxis.set_major_formatter(style.percent)
  _op_legend(fig, ax)
  return fig


@matplotlib.rc_context(style.RC)
def ternary_figure(
  grid: Sequence[Shares], priced: Sequence[str], ops: Sequence[str], op: str
) -> figure.Figure:
  """Draws the share of one operation over the triangle of prices.

  Args:
    grid: as `simplex_grid` returns it; its points are not all on a line.
    priced: the three operations of S, in its order.
    ops: all operations of the space.
    op: the operation whose share is drawn.

  Returns:
    The figure. In a corner, only the operation named there has a price.

  Raises:
    ValueError: there are not three priced operations.
  """
  if len(priced) != 3:
    raise ValueError(f"a ternary map needs 3 priced operations, not {priced}")
  fig = figure.Figure((4.2, 4.0), layout="constrained", facecolor=style.PANEL)
  ax = fig.add_subplot(facecolor="none")
  corners = np.asarray([(0.0, 0.0), (1.0, 0.0), (0.5, _HEIGHT)])
  x, y = (prices(grid) @ corners).T
  colour = style.op_colours(ops)[op]
  cmap = colors.LinearSegmentedColormap.from_list("", ["#f3f5f7", colour])
  filled = ax.tricontourf(
    x, y, share(grid, op).clip(0, 1), levels=np.linspace(0, 1, 21), cmap=cmap
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
