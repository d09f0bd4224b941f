"""Latency against work of a network that is scaled up."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib import figure as figures

from hwnas_jax.report import style

# A row of comfort.json's points: channels and image as they are (two numbers
# each), macs, latency_ms, spread_ms.
Point = Mapping[str, Any]


def words(point: Point) -> str:
  """The size of a network."""
  return f"{_channels(point)} channels, {_image(point)}"


def _channels(point: Point) -> str:
  low, high = point["channels"]
  return f"{low}" if low == high else f"{low} to {high}"


def _image(point: Point) -> str:
  return "x".join(map(str, point["image"]))


@matplotlib.rc_context(style.RC)
def figure(
  points: Sequence[Point], knee: Point, tolerance: float
) -> figures.Figure:
  """Draws measured latency against multiply-accumulates, a line an image size.

  Args:
    points: the network itself first.
    knee: the point that is marked.
    tolerance: of the first point's latency, shaded above it.
  """
  fig, ax = style.new_axes("Measured latency, ms")
  own = points[0]
  limit_ms = (1 + tolerance) * own["latency_ms"]
  ax.axhspan(0, limit_ms, color=style.ACCENT, alpha=0.08, lw=0)
  for image in dict.fromkeys(_image(p) for p in points):
    row = sorted(
      (p for p in points if _image(p) == image), key=lambda p: p["macs"]
    )
    ax.errorbar(
      [p["macs"] / 1e6 for p in row],
      [p["latency_ms"] for p in row],
      yerr=[p["spread_ms"] / 2 for p in row],
      marker="o",
      ms=4,
      lw=1.2,
      label=image,
    )
  most = max(p["macs"] for p in points)
  for point, text, lift in _marks(own, knee):
    left = point["macs"] > most / 2  # a text that leaves the axes shrinks them
    ax.annotate(
      text,
      (point["macs"] / 1e6, point["latency_ms"]),
      textcoords="offset points",
      xytext=(-8 if left else 8, lift),
      ha="right" if left else "left",
      color=style.INK,
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


def _marks(own: Point, knee: Point) -> list[tuple[Point, str, int]]:
  """(point, text, how far it stands above), one below, one above the line."""
  if own["macs"] == knee["macs"]:
    return [(own, f"as found, the knee: {words(own)}", -14)]
  return [(own, "as found", -14), (knee, f"knee: {words(knee)}", 10)]
