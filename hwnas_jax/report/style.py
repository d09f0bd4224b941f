"""Looks that every figure shares, and figures as theme-aware inline SVG."""

import html
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
from markupsafe import Markup
from matplotlib import axes, figure

# In a page these become CSS variables, so that a figure follows the page's
# theme. PANEL is not quite white, so that a white part keeps its own colour.
INK = "#1f2429"
MUTED = "#68727d"
GRID = "#dfe4ea"
PANEL = "#fefefe"
ACCENT = "#0b62c4"
_VARIABLES = {
  INK: "var(--ink)",
  MUTED: "var(--muted)",
  GRID: "var(--grid)",
  PANEL: "var(--panel)",
  ACCENT: "var(--accent)",
}
# Paul Tol's "vibrant" scheme and others of his: people with the common
# colour-vision deficiencies can distinguish them, on light and on dark.
PALETTE = (
  "#0077bb",
  "#ee3377",
  "#ee7733",
  "#cc3311",
  "#009988",
  "#ddaa33",
  "#33bbee",
  "#9aa1a9",
  "#aa77cc",
  "#77aa33",
  "#b07a50",
  "#5566cc",
)
_DARTS_OPS = (
  "sep_conv_3x3",
  "sep_conv_5x5",
  "dil_conv_3x3",
  "dil_conv_5x5",
  "avg_pool_3x3",
  "max_pool_3x3",
  "skip_connect",
  "none",
)
RC: Any = {
  "font.family": "DejaVu Sans",  # the one that comes with matplotlib
  "font.size": 11,
  "svg.fonttype": "none",
  "svg.hashsalt": "hwnas_jax",
  # Names come from files; one with a dollar sign is no formula.
  "text.parse_math": False,
}


class Figure(NamedTuple):
  """A figure of the page. detail: a smaller line below its caption."""

  svg: Markup
  caption: str = ""
  detail: str = ""


def op_colours(ops: Sequence[str]) -> dict[str, str]:
  """The colour of each operation, the same in every figure.

  Args:
    ops: all operation names of a space. Those of DARTS have a colour of their
      own in every space; beyond twelve, colours repeat.

  Returns:
    Hexadecimal colour by name.
  """
  colours = dict(zip(_DARTS_OPS, PALETTE, strict=False))
  left = [c for op, c in colours.items() if op not in ops]
  spare = (*PALETTE[len(_DARTS_OPS) :], *left)
  others = [op for op in ops if op not in colours]
  colours |= {op: spare[i % len(spare)] for i, op in enumerate(others)}
  return {op: colours[op] for op in ops}


def new_axes(
  title: str, width_in: float = 5.2, height_in: float = 3.6
) -> tuple[figure.Figure, axes.Axes]:
  """A figure with empty axes, in the looks of every figure.

  Args:
    title: name and unit of the vertical axis, written above it.
    width_in: width of the figure in inches.
    height_in: height of the figure in inches.

  Returns:
    (figure, axes).
  """
  fig = figure.Figure(
    figsize=(width_in, height_in), layout="constrained", facecolor=PANEL
  )
  ax = fig.add_subplot(facecolor="none")
  ax.set_title(title, loc="left", fontsize=11, color=MUTED, pad=10)
  ax.spines[["top", "right", "left"]].set_visible(False)
  ax.spines["bottom"].set_color(MUTED)
  ax.tick_params(colors=MUTED, length=3, labelsize=10.5)
  ax.tick_params(axis="y", length=0)
  ax.grid(axis="y", color=GRID, linewidth=0.8)
  ax.set_axisbelow(True)
  return fig, ax


def add_legend(ax: axes.Axes) -> None:
  """Adds a legend above the right end of the axes, where nothing is drawn.

  One of more than three entries needs the whole width: the title moves up.
  """
  count = len(ax.get_legend_handles_labels()[1])
  if count > 3:
    title = ax.get_title(loc="left")
    ax.set_title(title, loc="left", fontsize=11, color=MUTED, pad=30)
  ax.legend(
    loc="lower right",
    bbox_to_anchor=(1.02, 1.0),
    ncols=max(count, 3),
    frameon=False,
    labelcolor=INK,
    fontsize=10,
    handletextpad=0.2,
    columnspacing=1.2,
  )


def plain(value: float, _: float = 0.0) -> str:
  """A tick label without an exponent."""
  return f"{value:g}"


def percent(value: float, _: float = 0.0) -> str:
  """A tick label for a share of one."""
  return f"{100 * value:.6g} %"


@matplotlib.rc_context(RC)
def to_svg(
  fig: figure.Figure,
  name: str,
  label: str,
  tips: Mapping[str, str] | None = None,
) -> Markup:
  """Draws a figure as SVG to put into an HTML page.

  Args:
    fig: the figure.
    name: prefix of every id in the SVG; another one for each figure of a page.
    label: what the figure shows, for those who cannot see it.
    tips: text to show when the mouse is over a link, by the link's address.

  Returns:
    An `<svg>` element: no size (it fills its parent), no name spaces, the
    same text for the same figure.
  """
  buffer = io.StringIO()
  fig.savefig(buffer, format="svg", metadata={"Date": None})
  svg = buffer.getvalue()
  svg = svg[svg.index("<svg") :]
  # A style element inside an inline SVG would apply to the whole page.
  svg = re.sub(r"<(metadata|style)\b.*?</\1>", "", svg, flags=re.DOTALL)
  for colour, variable in _VARIABLES.items():
    svg = svg.replace(colour, variable)
  svg = _prefix_ids(svg, html.escape(name))
  svg = _add_tips(svg, tips or {})
  view_box = re.search(r'viewBox="[^"]*"', svg)
  assert view_box
  return Markup(
    f'<svg class="plot" {view_box[0]} role="img"'
    f' aria-label="{html.escape(label)}">' + svg[svg.index(">") + 1 :]
  )


def _prefix_ids(svg: str, name: str) -> str:
  ids = set(re.findall(r'\bid="([^"]+)"', svg))

  def prefixed(match: re.Match[str]) -> str:
    prefix = f"{name}-" if match[2] in ids else ""
    return match[1] + prefix + match[2]

  return re.sub(r'(\bid="|href="#|url\(#)([^")]+)', prefixed, svg)


def _add_tips(svg: str, tips: Mapping[str, str]) -> str:
  def with_tip(match: re.Match[str]) -> str:
    tip = tips.get(html.unescape(match[1]), "")
    return match[0] + (f"<title>{html.escape(tip)}</title>" if tip else "")

  return re.sub(r'<a xlink:href="([^"]*)"[^>]*>', with_tip, svg)
