"""Latency against work of a network that is scaled up."""

import matplotlib
from matplotlib import figure as figures

from hwnas_jax.io.records import ComfortZone, ScaledNetwork
from hwnas_jax.report import style


def words(network: ScaledNetwork) -> str:
  """The size of a network: `16 to 32 channels, 8x8`."""
  low, high = network.channels
  channels = f"{low}" if low == high else f"{low} to {high}"
  return f"{channels} channels, {_image(network)}"


def _image(network: ScaledNetwork) -> str:
  return "x".join(map(str, network.image))


@matplotlib.rc_context(style.RC)
def figure(zone: ComfortZone) -> figures.Figure:
  """Draws measured latency against multiply-accumulates, a line an image size.

  Args:
    zone: the knee is circled; latencies up to the tolerance above the unscaled
      network's are shaded. Bars are half an interquartile range each way.
  """
  fig, ax = style.new_axes("Measured latency, ms")
  unscaled, knee = zone.points[0], zone.knee
  limit_ms = (1 + zone.tolerance) * unscaled.latency.median_ms
  ax.axhspan(0, limit_ms, color=style.ACCENT, alpha=0.08, lw=0)
  for image in dict.fromkeys(map(_image, zone.points)):
    row = sorted(
      (p for p in zone.points if _image(p) == image), key=lambda p: p.macs
    )
    ax.errorbar(
      [p.macs / 1e6 for p in row],
      [p.latency.median_ms for p in row],
      yerr=[p.latency.iqr_ms / 2 for p in row],
      marker="o",
      ms=4,
      lw=1.2,
      label=image,
    )
  most = max(p.macs for p in zone.points)
  for point, text, lift in _marks(unscaled, knee):
    left = point.macs > most / 2  # a text that leaves the axes shrinks them
    ax.annotate(
      text,
      (point.macs / 1e6, point.latency.median_ms),
      textcoords="offset points",
      xytext=(-8 if left else 8, lift),
      ha="right" if left else "left",
      color=style.INK,
    )
  ax.plot(
    knee.macs / 1e6,
    knee.latency.median_ms,
    "o",
    ms=12,
    mfc="none",
    color=style.ACCENT,
  )
  ax.set_xlabel("Multiply-accumulates an image, millions")
  ax.set_ylim(bottom=0)
  style.add_legend(ax)
  return fig


def _marks(
  unscaled: ScaledNetwork, knee: ScaledNetwork
) -> list[tuple[ScaledNetwork, str, int]]:
  """(network, its text, points that the text stands above or below it)."""
  if unscaled.macs == knee.macs:
    return [(unscaled, f"unscaled, the knee: {words(unscaled)}", -14)]
  return [(unscaled, "unscaled", -14), (knee, f"knee: {words(knee)}", 10)]
