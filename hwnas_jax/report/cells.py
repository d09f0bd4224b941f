"""Architectures as SVG, coloured by operation.

A cell is nodes on a line with its kept edges as arcs, a chain is its layers
in rows.
"""

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from hwnas_jax.report import style

SPACING = 70.0  # between nodes, in SVG units
STATE_PX = 80  # the same on the page, where there is room
NODE = (44.0, 26.0)  # width and height of a node
PER_ROW = 8  # layers of a chain
LAYER = (104.0, 46.0)  # width and height of one
GAP = 10.0  # between them
_CHOICE = re.compile(r"(\w+)/(\d+)->(\d+)")
# A second sign beside colour: what computes is solid, what does not is broken.
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
  """What stands on the line: the states of a cell, and its output.

  names: from left to right.
  joined: the output is the concatenation of all nodes, not the last of them.
  """

  names: tuple[str, ...]
  joined: bool


def read_cells(genotype: Mapping[str, str]) -> dict[str, list[Edge]]:
  """Sorts a genotype's kept choices by cell type.

  Args:
    genotype: operation by choice, such as {"normal/0->2": "skip_connect"}.

  Returns:
    [(source state, target state, operation)] by cell type, in the order of
    the genotype; {} if the choices are not the edges of a cell.
  """
  cells: dict[str, list[Edge]] = {}
  for choice, op in genotype.items():
    match = _CHOICE.fullmatch(choice)
    if not match or int(match[2]) >= int(match[3]):
      return {}
    cells.setdefault(match[1], []).append((int(match[2]), int(match[3]), op))
  return cells


def layout(choices: Iterable[str]) -> Layout:
  """The states that the edges of a space's cells join.

  A cell with two inputs, states that no edge enters, is one of DARTS: it
  concatenates its nodes. One with a single input is one of NAS-Bench-201.
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


def cell_svg(
  edges: Sequence[Edge], states: Layout, colours: Mapping[str, str], label: str
) -> str:
  """Draws one cell.

  Args:
    edges: as `read_cells` returns them for one cell type.
    states: as `layout` returns them for the space.
    colours: colour by operation.
    label: what is drawn, for those who cannot see it.

  Returns:
    An `<svg>` element of the page's size for its states. Arcs that leave an
    even state run above the line of nodes, those of an odd state below it.
  """
  top = _rise(_longest(edges, 0)) * 0.75 + 30
  rail = _rise(_longest(edges, 1)) * 0.75 + 36
  left, width = -SPACING / 2, len(states.names) * SPACING
  wide_px = STATE_PX * len(states.names)  # at most: one text size for all
  body = [
    _rail(states, rail),
    *(_edge(edge, edges, states, colours) for edge in edges),
    *(_node(place, name) for place, name in enumerate(states.names)),
  ]
  return (
    f'<svg class="cell" viewBox="{left:g} {-top:g} {width:g}'
    f' {top + rail + 8:g}" style="max-width:{wide_px}px" role="img"'
    f' aria-label="{html.escape(label)}">' + "".join(body) + "</svg>"
  )


def chain_svg(
  layers: Sequence[str], colours: Mapping[str, str], label: str
) -> str:
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
  body = [_layer(place, op, colours) for place, op in enumerate(layers)]
  return (
    f'<svg class="cell" viewBox="0 0 {width:g} {height:g}"'
    f' style="max-width:{width:g}px" role="img"'
    f' aria-label="{html.escape(label)}">' + "".join(body) + "</svg>"
  )


def _layer(place: int, op: str, colours: Mapping[str, str]) -> str:
  width, height = LAYER
  x = GAP + place % PER_ROW * (width + GAP)
  y = GAP + place // PER_ROW * (height + GAP)
  dashes = f' stroke-dasharray="{dash(op)}"' if dash(op) else ""
  words = html.escape(op.removeprefix("mb_").replace("_", " "))
  text = f'<text x="{x + width / 2:g}" text-anchor="middle"'
  return (
    f'<g class="layer"><title>{place + 1}: {html.escape(op)}</title>'
    f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="8"'
    f' fill="var(--panel, #fff)" stroke="{colours[op]}"'
    f' stroke-width="2.6"{dashes}/>'
    f'{text} y="{y + 17:g}" font-size="11" fill="var(--muted,'
    f' {style.MUTED})">{place + 1}</text>'
    f'{text} y="{y + 34:g}" font-size="13" fill="var(--ink,'
    f' {style.INK})">{words}</text></g>'
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
) -> str:
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
  tip_text = f"{states.names[source]} → {states.names[target]}: {op}"
  dashes = f' stroke-dasharray="{dash(op)}"' if dash(op) else ""
  return (
    f'<g class="edge" stroke="{colours[op]}" fill="{colours[op]}">'
    f"<title>{html.escape(tip_text)}</title>"
    f'<path d="{path}" fill="none" stroke-width="2.6"{dashes}/>'
    f'<path d="{arrow}" stroke="none"/></g>'
  )


def _node(place: int, name: str) -> str:
  x, (width, height) = place * SPACING, NODE
  fill = "var(--node, #eceff3)" if name.isdigit() else "var(--panel, #fff)"
  if name.startswith("c_"):
    name = f'c<tspan class="sub" dy="3">k−{2 - place}</tspan>'
  return (
    f'<rect x="{x - width / 2:g}" y="{-height / 2:g}" width="{width:g}"'
    f' height="{height:g}" rx="8" fill="{fill}"'
    f' stroke="var(--muted, {style.MUTED})"/>'
    f'<text x="{x:g}" y="4.5" text-anchor="middle" font-size="13"'
    f' fill="var(--ink, {style.INK})">{name}</text>'
  )


def _rail(states: Layout, depth: float) -> str:
  """The concatenation: a thin line from every node to the output."""
  if not states.joined:
    return ""
  right = (len(states.names) - 1) * SPACING
  stubs = "".join(
    f"M{place * SPACING:g} 0V{depth:g}"
    for place, name in enumerate(states.names)
    if name.isdigit()
  )
  return (
    f'<path d="{stubs}M{2 * SPACING:g} {depth:g}H{right:g}V0" fill="none"'
    f' stroke="var(--faint, #b9c1ca)" stroke-width="1.2"/>'
  )
