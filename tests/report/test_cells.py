import re
import xml.etree.ElementTree as ET

import pytest

from hwnas_jax.report import cells

COLOURS = {"sep": "#0077bb", "skip_connect": "#33bbee"}
ALL = [(s, n + 2, "sep") for n in range(4) for s in range(n + 2)]
DARTS = cells.layout([f"normal/{s}->{t}" for s, t, _ in ALL])
NB201 = cells.layout(["cell/0->1", "cell/0->2", "cell/1->2"])


def draw(edges, states=DARTS):
  return ET.fromstring(cells.cell_svg(edges, states, COLOURS, "a cell"))


def test_the_layout_follows_from_the_choices():
  inner = "0", "1", "2", "3"
  assert DARTS == (("c_{k-2}", "c_{k-1}", *inner, "out"), True)
  assert NB201 == (("in", "1", "out"), False)


def test_a_cell_of_nasbench201_ends_in_its_last_node():
  svg = draw([(0, 1, "sep"), (0, 2, "skip_connect")], NB201)
  assert [text.text for text in svg.findall("text")] == ["in", "1", "out"]
  tips = {g.findtext("title") for g in svg.findall("g")}
  assert tips == {"in → 1: sep", "in → out: skip_connect"}
  # DARTS's has the line of the concatenation beside its edges.
  assert not svg.findall("path") and len(draw(ALL).findall("path")) == 1


def test_read_cells_sorts_choices_by_cell_type():
  chosen = {"normal/0->2": "sep", "normal/2->3": "skip_connect"}
  read = cells.read_cells(chosen | {"reduce/1->5": "sep"})
  assert read == {
    "normal": [(0, 2, "sep"), (2, 3, "skip_connect")],
    "reduce": [(1, 5, "sep")],
  }


@pytest.mark.parametrize("choice", ["layer_1", "cell/1->1", "normal/3->2"])
def test_read_cells_of_another_space_is_empty(choice):
  assert cells.read_cells({"normal/0->2": "sep", choice: "sep"}) == {}


@pytest.mark.parametrize("edges", [ALL, ALL[:1], ALL[3:9], []])
def test_every_edge_is_drawn_once_in_its_colour(edges):
  groups = draw(edges).findall("g[@class='edge']")
  assert {g.get("stroke") for g in groups} <= {"#0077bb"}
  names = ["c_{k-2}", "c_{k-1}", "0", "1", "2", "3"]
  expected = {f"{names[s]} → {names[t]}: sep" for s, t, _ in edges}
  assert {g.findtext("title") for g in groups} == expected
  assert len(groups) == len(edges)


def test_edges_meet_a_node_at_different_places():
  starts = []
  for path in draw(ALL).findall("g/path[@fill='none']"):
    starts.append(re.match(r"M(\S+) (\S+?)[HC]", path.get("d")).groups())
  assert len(set(starts)) == len(ALL)


def test_everything_lies_inside_the_picture():
  svg = draw(ALL)
  left, top, width, height = map(float, svg.get("viewBox").split())
  for path in svg.findall("g/path[@fill='none']"):
    numbers = list(map(float, re.findall(r"-?[\d.]+", path.get("d"))))
    if len(numbers) == 8:  # a cubic reaches three quarters of its control
      middle = (numbers[1] + numbers[7] + 3 * (numbers[3] + numbers[5])) / 8
      assert top < middle < top + height
  assert left < -cells.NODE[0] / 2
  assert left + width > 6 * cells.SPACING + cells.NODE[0] / 2


def test_operations_without_weights_are_broken_lines():
  assert cells.dash("sep_conv_3x3") == ""
  broken = [cells.dash(op) for op in ("skip_connect", "avg_pool_3x3", "none")]
  assert len(set(broken)) == 3 and "" not in broken


def test_label_is_escaped():
  svg = cells.cell_svg([], DARTS, COLOURS, '"><script>')
  assert ET.fromstring(svg).get("aria-label") == '"><script>'


def test_a_chain_is_drawn_layer_by_layer():
  ops = ["mb_k3_e6", "skip", "mb_k5_e1_g2"] * 4
  colours = dict(zip(dict.fromkeys(ops), ("#1", "#2", "#3"), strict=True))
  svg = ET.fromstring(cells.chain_svg(ops, colours, "a <chain>"))
  assert svg.get("aria-label") == "a <chain>"
  groups = svg.findall("g[@class='layer']")
  tips = [g.findtext("title") for g in groups]
  assert tips == [f"{i}: {op}" for i, op in enumerate(ops, 1)]
  boxes = [g.find("rect") for g in groups]
  assert [box.get("stroke") for box in boxes] == [colours[op] for op in ops]
  assert [bool(box.get("stroke-dasharray")) for box in boxes] == [
    op == "skip" for op in ops
  ]
  places = [(float(b.get("x")), float(b.get("y"))) for b in boxes]
  assert len(set(places)) == 12 and len({y for _, y in places}) == 2
  *_, width, height = map(float, svg.get("viewBox").split())
  right, bottom = max(x for x, _ in places), max(y for _, y in places)
  assert right + cells.LAYER[0] < width and bottom + cells.LAYER[1] < height
