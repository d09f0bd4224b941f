"""Architectures as SVG, coloured by operation.

A cell is drawn as nodes on a line with its kept edges as arcs, a chain as its
layers in rows. Every text is escaped: `Markup.format` does so.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup

from hwnas_jax.report import style

SPACING = 70.0  # between nodes, in SVG units
STATE_PX = 80  # the same on the page, where there is room
NODE = (44.0, 26.0)  # width and height of a node
PER_ROW = 8  # layers of a chain
LAYER = (104.0, 46.0)  # width and height of one
GAP = 10.0  # between them
_CHOICE = re.compile(r"(\w+)/(\d+)->(\d+)")
# Beside colour, lines differ: operations with weights have solid ones.
_DASHES = {
  "skip_connect": "7 4",
  "skip": "7 4",
  "skip_relu6": "7 4",
  "identity": "7 4",
  "none": "1 5",
}
_POOL_DASH = "11 3 2 3"

Edge = tuple[int, int, str]


class Layout(NamedTuple):
  """The nodes on the line: the states of a cell, and its output.

  names: from left to right.
  joined: the output is the concatenation of all nodes, not the last of them.
  """

  names: tuple[str, ...]
  joined: bool


def read_cells(architecture: Mapping[str, str]) -> dict[str, list[Edge]]:
  """Sorts an architecture's kept choices by cell type.

  Args:
    architecture: operation by choice, as {"normal/0->2": "skip_connect"}.

  Returns:
    [(source state, target state, operation)] by cell type, in the order of
    the architecture; {} if the choices are not the edges of a cell.
  """
  cells: dict[str, list[Edge]] = {}
  for choice, op in architecture.items():
    match = _CHOICE.fullmatch(choice)
    if not match or int(match[2]) >= int(match[3]):
      return {}
    cells.setdefault(match[1], []).append((int(match[2]), int(match[3]), op))
  return cells


def layout(choices: Iterable[str]) -> Layout:
  """The nodes of a space's cells, read off its choices.

  A cell with two inputs (states that no edge enters) is one of DARTS, whose
  output concatenates the nodes. A cell with a single input is one of
  NAS-Bench-201.
  """
  kinds = read_cells(dict.fromkeys(choices, "")).values()
  targets = sorted({target for edges in kinds for _, target, _ in edges})
  if targets[0] == 1:
    inner = tuple(str(state) for state in targets[:-1])
    return Layout(("in", *inner, "out"), joined=False)
  inner = tuple(str(state - 2) for state in targets)
  return Layout(("c_{k-2}", "c_{k-1}", *inner, "out"), joined=True)


def dash(op: str) -> str:
  """The `stroke-dasharray` of an operation's edges; "" for a solid line."""
  return _DASHES.get(op, _POOL_DASH if "pool" in op else "")


def _dashes(op: str) -> Markup:
  attribute = Markup(' stroke-dasharray="{}"')
  return attribute.format(dash(op)) if dash(op) else Markup()


def _svg(
  view_box: tuple[float, float, float, float],
  max_width_px: float,
  label: str,
  parts: Iterable[Markup],
) -> Markup:
  head = Markup(
    '<svg class="cell" viewBox="{:g} {:g} {:g} {:g}"'
    ' style="max-width:{:g}px" role="img" aria-label="{}">'
  )
  body = Markup().join(parts)
  return head.format(*view_box, max_width_px, label) + body + Markup("</svg>")


def cell_svg(
  edges: Sequence[Edge], states: Layout, colours: Mapping[str, str], label: str
) -> Markup:
  """Draws one cell.

  Args:
    edges: as `read_cells` returns them for one cell type.
    states: as `layout` returns them for the space.
    colours: colour by operation.
    label: what is drawn, for those who cannot see it.

  Returns:
    An `<svg>` element, as wide as its number of nodes asks for. Arcs that
    leave an even state run above the line of nodes, the others below it.
  """
  top = _rise(_longest(edges, 0)) * 0.75 + 30
  rail = _rise(_longest(edges, 1)) * 0.75 + 36
  left, width = -SPACING / 2, len(states.names) * SPACING
  wide_px = STATE_PX * len(states.names)  # at most: one text size for all
  parts = [
    _rail(states, rail),
    *(_edge(edge, edges, states, colours) for edge in edges),
    *(_node(place, name) for place, name in enumerate(states.names)),
  ]
  return _svg((left, -top, width, top + rail + 8), wide_px, label, parts)


def chain_svg(
  layers: Sequence[str], colours: Mapping[str, str], label: str
) -> Markup:
  """Draws a chain, row by row, the first layer at the top left.

  Args:
    layers: the operation of each.
    colours: colour by operation.
    label: what is drawn, for those who cannot see it.

  Returns:
    An `<svg>` element, at most as wide as its rows.
  """
  width = (LAYER[0] + GAP) * min(len(layers), PER_ROW) + GAP
  height = (LAYER[1] + GAP) * -(-len(layers) // PER_ROW) + GAP
  parts = [_layer(place, op, colours[op]) for place, op in enumerate(layers)]
  return _svg((0, 0, width, height), width, label, parts)


_LAYER = Markup(
  '<g class="layer"><title>{number}: {op}</title>'
  '<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="8"'
  ' fill="var(--panel, #fff)" stroke="{colour}" stroke-width="2.6"{dashes}/>'
  '<text x="{middle:g}" text-anchor="middle" y="{upper:g}" font-size="11"'
  ' fill="var(--muted, {muted})">{number}</text>'
  '<text x="{middle:g}" text-anchor="middle" y="{lower:g}" font-size="13"'
  ' fill="var(--ink, {ink})">{words}</text></g>'
)


def _layer(place: int, op: str, colour: str) -> Markup:
  width, height = LAYER
  x = GAP + place % PER_ROW * (width + GAP)
  y = GAP + place // PER_ROW * (height + GAP)
  return _LAYER.format(
    number=place + 1,
    op=op,
    words=op.removeprefix("mb_").replace("_", " "),
    colour=colour,
    dashes=_dashes(op),
    x=x,
    y=y,
    width=width,
    height=height,
    middle=x + width / 2,
    upper=y + 17,
    lower=y + 34,
    muted=style.MUTED,
    ink=style.INK,
  )


def _longest(edges: Sequence[Edge], parity: int) -> int:
  spans = [t - s for s, t, _ in edges if s % 2 == parity]
  return max((span for span in spans if span > 1), default=0)


def _rise(span: int) -> float:
  """Height of the control points of an arc; the arc reaches 3/4 of it."""
  return 30 + 24 * span if span > 1 else 0


def _port(edge: Edge, edges: Sequence[Edge], at_source: bool) -> float:
  """Where an arc meets its node, from the node's middle.

  Arcs leave from the right half, the shortest rightmost, and arrive at the
  left half, the shortest leftmost: nested arcs then do not cross.
  """
  end = 0 if at_source else 1
  side = [
    e
    for e in edges
    if e[end] == edge[end] and e[0] % 2 == edge[0] % 2 and e[1] - e[0] > 1
  ]
  side.sort(key=lambda e: e[1] - e[0])
  step = (NODE[0] / 2 - 6) / max(len(side), 1)
  offset = NODE[0] / 2 - 7 - step * side.index(edge)
  return offset if at_source else -offset


def _edge(
  edge: Edge,
  edges: Sequence[Edge],
  states: Layout,
  colours: Mapping[str, str],
) -> Markup:
  source, target, op = edge
  x0, x1 = source * SPACING, target * SPACING
  if target - source == 1:
    tip = x1 - NODE[0] / 2
    path = f"M{x0 + NODE[0] / 2:g} 0H{tip - 5:g}"
    arrow = f"M{tip:g} 0l-8 -4.5v9z"
  else:
    up = -1 if source % 2 == 0 else 1
    x0 += _port(edge, edges, at_source=True)
    x1 += _port(edge, edges, at_source=False)
    base = up * NODE[1] / 2
    high = base + up * _rise(target - source)
    bend = 0.08 * (x1 - x0)
    path = (
      f"M{x0:g} {base:g}C{x0 + bend:g} {high:g} {x1 - bend:g} {high:g}"
      f" {x1:g} {base + 5 * up:g}"
    )
    arrow = f"M{x1:g} {base:g}l-4.5 {8 * up:g}h9z"
  return Markup(
    '<g class="edge" stroke="{colour}" fill="{colour}"><title>{text}</title>'
    '<path d="{path}" fill="none" stroke-width="2.6"{dashes}/>'
    '<path d="{arrow}" stroke="none"/></g>'
  ).format(
    colour=colours[op],
    text=f"{states.names[source]} → {states.names[target]}: {op}",
    path=path,
    dashes=_dashes(op),
    arrow=arrow,
  )


def _node(place: int, name: str) -> Markup:
  x, (width, height) = place * SPACING, NODE
  fill = "var(--node, #eceff3)" if name.isdigit() else "var(--panel, #fff)"
  text: str | Markup = name
  if name.startswith("c_"):
    text = Markup('c<tspan class="sub" dy="3">k−{}</tspan>').format(2 - place)
  return Markup(
    '<rect x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}"'
    ' rx="8" fill="{fill}" stroke="var(--muted, {muted})"/>'
    '<text x="{x:g}" y="4.5" text-anchor="middle" font-size="13"'
    ' fill="var(--ink, {ink})">{text}</text>'
  ).format(
    left=x - width / 2,
    top=-height / 2,
    width=width,
    height=height,
    fill=fill,
    muted=style.MUTED,
    x=x,
    ink=style.INK,
    text=text,
  )


def _rail(states: Layout, depth: float) -> Markup:
  """The concatenation: a thin line from every node to the output."""
  if not states.joined:
    return Markup()
  right = (len(states.names) - 1) * SPACING
  stubs = "".join(
    f"M{place * SPACING:g} 0V{depth:g}"
    for place, name in enumerate(states.names)
    if name.isdigit()
  )
  return Markup(
    '<path d="{}M{:g} {:g}H{:g}V0" fill="none"'
    ' stroke="var(--faint, #b9c1ca)" stroke-width="1.2"/>'
  ).format(stubs, 2 * SPACING, depth, right)
