import html.parser
import re

from msgspec.structs import replace

from hwnas_jax.io.certificates import (
  Budget,
  Certificate,
  Committee,
  Finalist,
  Margin,
  Rival,
  TableIdentity,
  Tried,
  Vote,
)
from hwnas_jax.io.records import (
  Accuracies,
  Device,
  Measurement,
)
from hwnas_jax.report import notebook
from hwnas_jax.report.run import Run

EVIL = "<script>alert('1')</script> {{ 7 }}"
DEVICE = Device(platform="cpu", device_kind="cpu", cpu_model="Chip")
CERTIFICATE = Certificate(
  kind="measured",
  budget=Budget("60%", 1.5, {"params": 2e4}),
  predicted_ms=1.25,
  measured=Measurement(1.4, 0.02),
  tried=(Tried(1.25, Measurement(1.4, 0.02), "both"),),
  margin=Margin(
    ratio=1.1,
    nominal_level=0.95,
    attained_level=0.95,
    guaranteed_level=0.9,
    networks=20,
  ),
  source="both",
  candidates={"controller": 30, "both": 3},
  unconstrained_best_fits=False,
  simplex=(0.5, 0.5),
  simplex_residual=0.1,
  largest=Rival(
    id="0a", architecture={"a": "conv"}, macs=2000, predicted_ms=1.3
  ),
  committee=Committee(
    compared=50,
    place=2,
    votes=(Vote(judge="nwot", weight=1.0, score=None, place=4),),
    left_out={"jacov": "no gradients"},
  ),
  batch_size=64,
  table=TableIdentity("chip", "0"),
  device=DEVICE,
  versions={},
  weights="trained",
  accuracies=Accuracies(0.97),
)


class Cell(html.parser.HTMLParser):
  """Tags must nest; collects tags, ids and text."""

  def __init__(self, text):
    super().__init__()
    self.open, self.tags, self.ids, self.text = [], [], [], ""
    self.feed(text)
    self.close()
    assert self.open == []

  def handle_starttag(self, tag, attrs):
    self.open.append(tag)
    self.tags.append(tag)
    self.ids += [value for name, value in attrs if name == "id"]

  def handle_startendtag(self, tag, attrs):
    self.handle_starttag(tag, attrs)
    self.handle_endtag(tag)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.text += data.replace("\u202f", " ")


def cell_of(text):
  assert isinstance(text, str) and len(text) < 100_000
  assert not re.search(r"https?://|@import|url\((?!#)", text)
  cell = Cell(text)
  assert not {"script", "link", "iframe", "img"} & set(cell.tags)
  assert len(cell.ids) == len(set(cell.ids))
  # Notebooks share one page: rules are of this element's inside alone.
  for rule in re.search(r"<style>(.*?)</style>", text, re.S)[1].split("}")[:-1]:
    selectors = rule.split("{")[0].split(",")
    assert all(s.strip().startswith(".hwnas-jax") for s in selectors)
  return cell


def test_a_run_shows_its_findings_and_networks(family_of):
  family = family_of()
  first, *others = family.members
  family = replace(family, members=(replace(first, name=EVIL), *others))
  text = notebook.run_html(Run("digits", family))
  cell = cell_of(text)
  assert "The search found 8 networks" in cell.text
  for member in family.members:
    assert (member.id in cell.text) == (member.kind == "member")
  assert EVIL in cell.text and cell.tags.count("svg") == 1
  # Another run in the same notebook has other ids.
  other = cell_of(notebook.run_html(Run("b", replace(family, members=others))))
  assert not set(cell.ids) & set(other.ids)


def test_a_run_that_was_not_measured_has_no_figure(family_of):
  family = family_of()
  members = [replace(m, latency=None) for m in family.members]
  run = Run("digits", replace(family, members=tuple(members)))
  cell = cell_of(notebook.run_html(run))
  assert "svg" not in cell.tags and "not measured" in cell.text


def test_a_network_shows_its_cells(family_of):
  family = family_of()
  member = replace(family.members[0], name=EVIL)
  cell = cell_of(notebook.network_html(member, family))
  assert "Normal cell" in cell.text and "Reduction cell" in cell.text
  lines = len(set(member.architecture.values()))  # in the legend
  assert EVIL in cell.text and cell.tags.count("svg") == 2 + lines
  assert "0.622 ms (interquartile range 0.018 ms)" in cell.text


def test_a_measured_answer(family_of):
  text = cell_of(notebook.answer_html(CERTIFICATE)).text
  assert "A network of 1.40 ms (measured)" in text
  assert "60% = 1.50 ms, params ≤ 20000" in text
  assert "1.100 times the prediction" in text and "the 20 of" in text
  assert "97.00 %" in text and "trained" in text
  assert "ranks better" not in text
  assert "33 (30 by the controller, 3 by both)" in text
  assert "2 of 50 (nwot 4)" in text
  assert "Judge left out: jacov" in text and "no gradients" in text
  assert "0a, 2 k multiply-accumulates, 1.30 ms predicted, 87 % of" in text
  assert "Random network" not in text and "The reference" not in text
  assert "Held-out accuracy" not in text


def test_an_answer_shows_its_finalists():
  finalist = Finalist(
    id="0b",
    source="capacity",
    predicted_ms=1.35,
    measured=None,
    steps=200,
    seconds=12.2,
    held_out_accuracy=0.925,
  )
  largest = replace(
    CERTIFICATE.largest, measured=Measurement(1.45, 0.1), test_accuracy=0.91
  )
  random = replace(largest, id="0b", test_accuracy=0.88)
  reference = replace(
    largest, id="0c", predicted_ms=None, test_accuracy=0.79, width=1.5
  )
  answer = replace(
    CERTIFICATE,
    finalists=(finalist,),
    largest=largest,
    random=(random,),
    reference=reference,
  )
  text = cell_of(notebook.answer_html(answer)).text
  assert "Held-out accuracy" in text and "92.50 %" in text
  assert "by size" in text and "1.35 ms" in text and "12 s" in text
  # The budget is 1.5 ms.
  assert "1.45 ms measured, 97 % of the budget, test accuracy 91.00 %" in text
  assert "Random network 1" in text and "test accuracy 88.00 %" in text
  facts = "0c, 1.5 times the channels, 2 k multiply-accumulates, 1.45 ms meas"
  assert "The reference" in text and facts in text and "79.00 %" in text


def test_a_predicted_answer_says_so():
  certificate = replace(
    CERTIFICATE,
    kind="predicted",
    measured=None,
    margin=None,
    unconstrained_best_fits=True,
    weights=EVIL,
  )
  text = cell_of(notebook.answer_html(certificate)).text
  assert "A network of 1.25 ms (predicted, not measured)" in text
  assert "not measured" in text and "times the prediction" not in text
  assert "without it, no network ranks better" in text
  assert EVIL in text
