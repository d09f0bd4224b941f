import html.parser
import json
import re

import pytest
from msgspec.structs import replace
from toy_origin import ORIGIN

from hwnas_jax.io import readers, records, writers
from hwnas_jax.io.records import (
  Accuracies,
  Collapse,
  Device,
  MadeWith,
  Settings,
  SweepPoint,
)
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.report import html as report
from hwnas_jax.report import members
from hwnas_jax.report.run import load

VOID = {"meta", "br", "link", "img", "hr", "input"}


class Page(html.parser.HTMLParser):
  """Tags must nest; collects ids, links, headings and text."""

  def __init__(self, text):
    super().__init__()
    self.open, self.ids, self.links, self.tags = [], [], [], []
    self.text = ""
    self.feed(text)
    self.close()
    assert self.open == []

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    if tag not in VOID:
      self.open.append(tag)
    for name, value in attrs:
      if name == "id":
        self.ids.append(value)
      if name in ("src", "href", "xlink:href", "srcset", "data", "action"):
        self.links.append(value)

  def handle_startendtag(self, tag, attrs):
    self.handle_starttag(tag, attrs)
    self.handle_endtag(tag)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.text += data


def page_of(folder):
  return Page(report.write_report(folder).read_text(encoding="utf-8"))


def edit(folder, **changes):
  """Writes the family with some of its fields changed."""
  folder.write_family(replace(folder.family(), **changes))


def rows_of(text):
  return re.findall(r"<summary>.*?</summary>", text, re.S)


@pytest.fixture(scope="module", params=["three", "eight"])
def made(request, tmp_path_factory, run_of):
  """(file of a whole run's report, its text, its family)."""
  folder = RunFolder(tmp_path_factory.mktemp(request.param))
  family = run_of(folder, request.param)
  path = report.write_report(folder)
  return path, path.read_text(encoding="utf-8"), family


def test_page_is_whole_and_needs_nothing_beside_it(made):
  path, text, family = made
  page = Page(text)
  for member in family.members:
    assert f"member-{member.id}" in page.ids
    assert member.id in page.text
  assert len(page.ids) == len(set(page.ids))
  inside = {f"#{name}" for name in page.ids}
  assert all(x in inside or x.startswith("data:") for x in page.links)
  assert not {"script", "link", "iframe", "img"} & set(page.tags)
  assert not re.search(r"https?://|@import|url\((?!#)", text)
  assert path.name == "report.html"
  assert list(path.parent.glob(".*tmp")) == []


def test_every_reference_inside_a_figure_exists(made):
  _, text, _ = made
  references = set(re.findall(r"url\(#([^)]+)\)", text))
  assert references and references <= set(Page(text).ids)


def test_the_same_page_is_written_again(made):
  path, text, _ = made
  path.unlink()
  assert report.write_report(RunFolder(path.parent)) == path
  assert path.read_text(encoding="utf-8") == text


def test_page_says_command_versions_device_and_settings(made):
  text = Page(made[1]).text
  for part in (
    "python -m hwnas_jax.main --config=configs/digits.py",
    "0.10.2",
    "cpu-amd-epyc-2core-32f3a957",
    "AMD EPYC 7763, 2 cores",
    '"steps": 300',
    "training examples",
    "0, 1, 2, 3",
  ):
    assert part in text


def test_fastest_knee_and_slowest_are_open(made):
  _, text, family = made
  opened = re.findall(r'<details class="member" id="member-(\w+)" open>', text)
  ours = [m for m in family.members if m.kind == "member"]
  ours.sort(key=lambda m: m.latency_ms)
  assert len(opened) == 3
  assert (opened[0], opened[-1]) == (ours[0].id, ours[-1].id)
  assert text.count('<details class="member"') == len(family.members)


def test_baselines_are_beside_their_members(made):
  _, text, family = made
  assert "Beside each member" in text
  names = {m.id: m.name for m in family.members}
  for baseline in family.baselines:
    (row,) = re.findall(
      f'id="member-{baseline.network}".*?</summary>', text, re.S
    )
    assert f"beside {names[baseline.member]}" in row
    assert f'<a href="#member-{baseline.network}">' in text


def test_ternary_maps_only_with_three_priced_operations(made):
  _, text, family = made
  maps = re.findall(r'aria-label="Share of (\w+) against S"', text)
  three = len(family.priced) == 3
  assert maps == ([*family.ops] if three else [])
  assert ("Shares against price" in text) == (not three)


def test_hostile_names_are_only_text(run, zone_of):
  folder, family = run
  evil = '<script>alert("1")</script> $\\frac{ {{ 7 }}'
  first, *others = family.members
  beside, *rest = family.baselines
  first = replace(first, name=evil, id='"><script>x')
  beside = replace(beside, member=first.id)
  edit(folder, members=(first, *others), baselines=(beside, *rest))
  path = folder.path / "family.json"
  text = path.read_text().replace(family.ops[0], "<i>$op$&")
  document = json.loads(text)
  writers.write_json(path, document | {"seal": records.seal(document)})
  folder.write_settings(
    Settings(schema=2, command=evil, config={evil: evil}, origin=ORIGIN),
    MadeWith({evil: evil}, Device(platform=evil, device_kind=evil), evil),
  )
  folder.network(first.id).write_comfort_zone(zone_of(first.id))
  page = page_of(folder)
  assert "script" not in page.tags
  assert len(page.ids) == len(set(page.ids))
  assert page.text.count(evil) >= 4
  assert "<i>$op$&" in page.text


def test_optional_pieces_are_left_out(run):
  folder, family = run
  whole = page_of(folder).text
  for heading in ("Random architectures", "Search", "Training", "How prices"):
    assert heading in whole
  for rows in folder.path.rglob("*.jsonl"):
    rows.unlink()
  (folder.path / "config.json").unlink()
  (folder.path / "versions.json").unlink()
  first = replace(family.members[0], condition=None)
  edit(
    folder,
    members=(first,),
    baselines=(),
    shares=(),
    priced=(),
    base_latency_ms=None,
  )
  text = page_of(folder).text
  for heading in (
    "Random",
    "Search step",
    "Training step",
    "How prices",
    "How to reproduce",
    "None",
    "nan",
    "Spearman",
  ):
    assert heading not in text
  assert first.id in text
  assert "a device that was not recorded" in text


def test_network_that_was_not_measured_or_trained_is_listed(run):
  folder, family = run
  members = [
    replace(m, latency=None, predicted_ms=None, accuracies=Accuracies())
    for m in family.members
  ]
  edit(folder, members=tuple(members))
  text = page_of(folder).text
  assert "latency not measured" in text
  assert "Accuracy against cost" not in text
  assert "Predicted and measured" not in text
  assert family.members[0].id in text


def test_shares_that_differ_in_nothing_are_left_out(run):
  folder, family = run
  edit(folder, shares=family.shares[:1] * 3)
  assert "How prices" not in page_of(folder).text


def test_architecture_of_another_space_has_no_cells(run):
  folder, family = run
  chosen = {"layer_1": family.ops[0]}
  members = [replace(m, architecture=chosen) for m in family.members]
  edit(folder, members=tuple(members))
  text = page_of(folder).text
  assert "Normal cell" not in text
  assert "1 of 28" in text and "layer_1" in text


def test_missing_family_names_the_command(run):
  folder, _ = run
  (folder.path / "family.json").unlink()
  with pytest.raises(FileNotFoundError, match="hwnas_jax.main --config=confi"):
    report.write_report(folder)
  (folder.path / "config.json").unlink()
  with pytest.raises(FileNotFoundError, match=f"--workdir={folder.path}"):
    report.write_report(folder)
  assert not folder.report.exists()


@pytest.mark.parametrize(
  "change,match",
  [
    (lambda f: f.pop("choices"), "field `choices`"),
    (lambda f: f.update(members=[]), "no members"),
    (lambda f: f["members"][0].pop("params"), "field `params`"),
    (lambda f: f["members"][0]["architecture"].update(x="odd"), "`ops`: odd"),
    (lambda f: f["shares"][0].update(condition=None), "condition"),
    (lambda f: f["baselines"][0].update(network="x"), "a baseline names .* x"),
    (lambda f: f["priced"].pop(), "has 3 prices for the 2 operations"),
  ],
)
def test_damaged_family_is_refused(run, change, match):
  folder, _ = run
  path = folder.path / "family.json"
  document = readers.read_json(path)
  change(document)
  writers.write_json(path, document | {"seal": records.seal(document)})
  with pytest.raises(ValueError, match=f"family.json.*{match}"):
    report.write_report(folder)


def test_a_chain_has_layers_in_their_order(run):
  folder, family = run
  names = [f"layer_{i:02}" for i in range(1, len(family.choices) + 1)]
  rename = dict(zip(family.choices, names, strict=True))
  members = [
    replace(m, architecture={rename[c]: o for c, o in m.architecture.items()})
    for m in family.members
  ]
  edit(folder, choices=tuple(names), members=tuple(members))
  page = page_of(folder)
  first = members[0].architecture[names[0]]
  assert f"1: {first}" in page.text
  assert "Layers" in page.text and "Edges kept" not in page.text


def test_alarms_are_a_line_at_the_member(run):
  folder, family = run
  first, second, third = family.members[:3]
  signs = [
    (first, ("skips are <b>67%</b>",)),
    (second, ()),
    (first, ("skips are <b>67%</b>", "it is undecided")),
  ]
  sweep = [
    SweepPoint(
      "x",
      m.condition,
      m.id,
      Collapse(entropy=1, undecided=1, discrete_accuracy=0, alarms=alarms),
    )
    for m, alarms in signs
  ]
  sweep.append(SweepPoint("x", third.condition, third.id))
  edit(folder, sweep=tuple(sweep))
  rows = rows_of(members.members_html(load(folder)))
  assert len(rows) == len(family.members)
  (row,) = [row for row in rows if "Alarm" in row]
  assert f"<code>{first.id}</code>" in row
  assert re.findall("<small>(Alarm.*?)</small>", row) == [
    "Alarm: skips are &lt;b&gt;67%&lt;/b&gt;",
    "Alarm: it is undecided",
    "Alarms at 2 conditions that led to it",
  ]


def test_a_network_that_was_scaled_up_is_open_and_shows_it(run, zone_of):
  folder, family = run
  name = family.members[3].id
  before = members.members_html(load(folder))
  assert "Scaled up" not in before
  folder.network(name).write_comfort_zone(zone_of(name))
  text = members.members_html(load(folder))
  page = Page(text)
  assert text.count(" open>") == before.count(" open>") + 1
  (row,) = re.findall(f'id="member-{name}" open>.*?</details>', text, re.S)
  assert "Scaled up: the knee has 16 to 32 channels, 8x8" in row
  assert "--config.derive.channels=16" in row
  assert "knee: 16 to 32 channels, 8x8" in row and "unscaled" in row
  assert len(page.ids) == len(set(page.ids))
