"""Figures of what happened during the search and the training."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib import cm, colors, figure, ticker

from hwnas_jax.io.records import Member
from hwnas_jax.report import style
from hwnas_jax.report.run import Row

NUM_BINS = 80
# Middle lightness throughout, so that both ends show on light and on dark.
_FAST_TO_SLOW = colors.LinearSegmentedColormap.from_list(
  "", ["#1f9ad6", "#8a6fd1", "#d9488b"]
)


def series(rows: Sequence[Row], key: str) -> tuple[np.ndarray, np.ndarray]:
  """One column of a metrics file.

  Args:
    rows: as `io.readers.read_jsonl` returns them.
    key: name of the column.

  Returns:
    (steps, values): float64[N] each, of the N rows that have a value.
  """
  pairs = [(r["step"], r[key]) for r in rows if r.get(key) is not None]
  steps, values = np.asarray(pairs, float).reshape(-1, 2).T
  return steps, values


def _bins(
  steps: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
  parts = min(NUM_BINS, len(steps))
  middles = [part.mean() for part in np.array_split(steps, parts)]
  return np.asarray(middles), np.array_split(values, parts)


@matplotlib.rc_context(style.RC)
def search_figure(rows: Sequence[Row], key: str, title: str) -> figure.Figure:
  """Draws one metric of the search.

  Args:
    rows: the search's metrics; at least two have a value of `key`.
    key: the metric.
    title: its name and unit.

  Returns:
    The figure: the mean over groups of neighbouring steps, and a band from the
    lowest to the highest value of each group.
  """
  fig, ax = style.new_axes(title, 4.0, 2.8)
  steps, values = _bins(*series(rows, key))
  low = [part.min() for part in values]
  high = [part.max() for part in values]
  ax.fill_between(steps, low, high, color=style.ACCENT, alpha=0.16, linewidth=0)
  ax.plot(steps, [part.mean() for part in values], color=style.ACCENT, lw=1.8)
  ax.set_xlabel("Search step", color=style.MUTED)
  ax.margins(x=0.01)
  ax.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))
  ax.yaxis.set_major_locator(ticker.MaxNLocator(5))
  if key.endswith("accuracy"):
    ax.yaxis.set_major_formatter(style.percent)
  return fig


@matplotlib.rc_context(style.RC)
def training_figure(
  members: Sequence[Member],
  training: Mapping[str, Sequence[Row]],
  key: str,
  title: str,
) -> figure.Figure:
  """Draws one metric of the training of every network.

  Args:
    members: the networks.
    training: rows of metrics by network id; at least one has a value of `key`.
    key: the metric.
    title: its name and unit.

  Returns:
    The figure: a line for each network, coloured by measured latency; those of
    baselines are grey and dashed.
  """
  fig, ax = style.new_axes(title, 5.2, 3.4)
  times = [t for m in members if (t := m.latency_ms) is not None]
  norm = colors.Normalize(min(times, default=0), max(times, default=1))
  for member in members:
    steps, values = series(training.get(member.id, ()), key)
    if len(steps) == 0:
      continue
    steps, parts = _bins(steps, values)
    searched, latency_ms = member.kind == "member", member.latency_ms
    ax.plot(
      steps,
      [part.mean() for part in parts],
      color=_FAST_TO_SLOW(norm(latency_ms))
      if searched and latency_ms is not None
      else style.MUTED,
      ls="-" if searched else (0, (3, 2)),
      lw=1.6 if searched else 1.0,
    )
  ax.set_xlabel("Training step", color=style.MUTED)
  ax.margins(x=0.01)
  ax.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))
  if key.endswith("accuracy"):
    ax.yaxis.set_major_formatter(style.percent)
  if len(set(times)) > 1:
    _latency_bar(fig, norm)
  return fig


def _latency_bar(fig: figure.Figure, norm: colors.Normalize) -> None:
  bar = fig.colorbar(
    cm.ScalarMappable(norm, _FAST_TO_SLOW), ax=fig.axes[0], aspect=28
  )
  bar.ax.set_title("ms", fontsize=10, color=style.MUTED, pad=8)
  bar.ax.tick_params(colors=style.MUTED, length=0)
  bar.locator = ticker.MaxNLocator(4)
  bar.outline.set_visible(False)  # type: ignore[operator]
