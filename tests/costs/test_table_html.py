"""A latency table in a notebook."""

import html.parser

import pytest
from msgspec.structs import replace

from hwnas_jax.costs import table as tables
from hwnas_jax.costs.correct.calibration import Errors
from hwnas_jax.costs.correct.regression import Error
from hwnas_jax.costs.measure.meter import METERS, Meter, sample_latency
from hwnas_jax.costs.table import Entry, LatencyTable
from hwnas_jax.io.records import Device
from hwnas_jax.spaces.spec import Site

EVIL = "<script>alert('1')</script>"


class Rows(html.parser.HTMLParser):
  """Tags must nest; collects them, and the text of each row's cells."""

  def __init__(self, text):
    super().__init__()
    self.open, self.tags, self.rows, self.caption = [], set(), [], ""
    self.feed(text)
    self.close()
    assert self.open == []

  def handle_starttag(self, tag, attrs):
    self.open.append(tag)
    self.tags.add(tag)
    if tag == "tr":
      self.rows.append([])
    if tag == "td":
      self.rows[-1].append("")

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    if self.open[-1] == "td":
      self.rows[-1][-1] += data
    else:
      self.caption += data


def entry(op, latency_ms):
  return Entry(
    kind="op",
    latency_ms=latency_ms,
    iqr_ms=0.25,
    samples_ms=(latency_ms,) if latency_ms else (),
    **tables.site_fields(Site(op, 8, 8, 4, 4, 1)),
  )


@pytest.fixture
def table():
  return LatencyTable(
    device=Device(platform="cpu", device_kind="cpu"),
    fingerprint="cpu-chip",
    versions={},
    batch_size=16,
    entries=(entry("skip", 0.5), entry("conv", 2.0), entry("none", 0.0)),
    finished=True,
  )


def test_a_table_shows_its_slowest_entries(table):
  shown = Rows(table._repr_html_())
  assert shown.caption == "latency table of cpu-chip, batch 16, 3 entries"
  heads, *rows = shown.rows
  assert heads == ["slowest entries", "median, ms", "interquartile range"]
  assert [row[0].split(" ")[0] for row in rows] == ["conv", "skip", "none"]
  assert [row[1:] for row in rows[:2]] == [["2", "0.25"], ["0.5", "0.25"]]
  many = replace(
    table, entries=tuple(entry(f"op{i}", float(i)) for i in range(30))
  )
  assert len(Rows(many._repr_html_()).rows) == 9


def test_a_calibrated_table_shows_its_errors(table):
  errors = Errors(
    raw=Error(0.2, -0.15, 0.9),
    calibrated=Error(0.03, 0.0, None),
    networks=10,
    held_out=True,
  )
  shown = Rows(replace(table, errors=errors)._repr_html_())
  assert shown.caption.endswith(f"on {errors.measured_on}")
  assert shown.rows[-3:] == [
    ["prediction", "median error"],
    ["raw", "20.0%"],
    ["calibrated", "3.0%"],
  ]


def test_its_repr_is_a_line(table):
  assert repr(table) == (
    "LatencyTable(latency in ms of cpu-chip, batch 16, 3 entries)"
  )


@pytest.mark.parametrize("unit", ["mJ", EVIL])
def test_a_table_of_another_quantity(table, unit, monkeypatch):
  """What a file says is text, whatever it says."""
  monkeypatch.setitem(METERS, EVIL, Meter(EVIL, unit, sample_latency))
  table = replace(
    table,
    quantity=EVIL,
    unit=unit,
    fingerprint=EVIL,
    entries=(entry(EVIL, 3.0),),
  )
  shown = Rows(table._repr_html_())
  assert shown.tags == {"table", "caption", "tr", "td"}
  assert shown.caption.startswith(f"{EVIL} table of {EVIL}, batch 16")
  heads, row = shown.rows
  assert heads[1] == f"median, {unit}"
  assert row[0].startswith(EVIL) and row[1] == "3"
