"""Latency against work of a network that is scaled up."""

from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib import figure as figures

from hwnas_jax.report import style

# width and side relative to the network's own, macs, latency_ms, spread_ms
Point = Mapping[str, float]


@matplotlib.rc_context(style.RC)
def figure(
  points: Sequence[Point], knee: Point, tolerance: float
) -> figures.Figure:
  """Draws measured latency against multiply-accumulates.

  Args:
    points: the network itself first.
    knee: the point that is marked.
    tolerance: of the first point's latency, shaded above it.
  """
  fig, ax = style.new_axes("Measured latency, ms")
  own = points[0]
  limit_ms = (1 + tolerance) * own["latency_ms"]
  ax.axhspan(0, limit_ms, color=style.ACCENT, alpha=0.08, lw=0)
  for side in sorted({p["side"] for p in points}):
    row = sorted(
      (p for p in points if p["side"] == side), key=lambda p: p["macs"]
    )
    ax.errorbar(
      [p["macs"] / 1e6 for p in row],
      [p["latency_ms"] for p in row],
      yerr=[p["spread_ms"] / 2 for p in row],
      marker="o",
      ms=4,
      lw=1.2,
      label=f"images x {side:g}",
    )
  for point, text in ((own, "as found"), (knee, f"width x {knee['width']:g}")):
    ax.annotate(
      text,
      (point["macs"] / 1e6, point["latency_ms"]),
      textcoords="offset points",
      xytext=(8, -14),
    )
  ax.plot(
    knee["macs"] / 1e6,
    knee["latency_ms"],
    "o",
    ms=12,
    mfc="none",
    color=style.ACCENT,
  )
  ax.set_xlabel("Multiply-accumulates an image, millions")
  ax.set_ylim(bottom=0)
  style.add_legend(ax)
  return fig
