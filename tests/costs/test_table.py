"""Latency tables: what is stored is what is read, or a clear refusal."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from msgspec.structs import replace

from hwnas_jax.costs import counts
from hwnas_jax.costs import table as tables
from hwnas_jax.costs.correct import calibration
from hwnas_jax.costs.measured import Measured
from hwnas_jax.costs.table import Entry, LatencyTable
from hwnas_jax.io import document as documents
from hwnas_jax.io.records import Device
from hwnas_jax.method.state import CostTable
from hwnas_jax.spaces import architecture, darts
from hwnas_jax.spaces.rules import RULES

NET = darts.Darts(
  ("none", "skip_connect", "sep_conv_3x3"), 3, 2, 4, (8, 8, 1), 3
)
SPACE = darts.make_space(NET)
FIXED = {site.key for site in SPACE.fixed}


def make_entry(index: int, site) -> Entry:
  kind = "fixed" if site.key in FIXED else "op"
  samples = () if site.op == "none" else (0.5 * index, index, 2.0 * index)
  latency_ms = 0.0 if site.op == "none" else float(index)
  return Entry(
    kind=kind,
    latency_ms=latency_ms,
    iqr_ms=0.75 * index,
    samples_ms=samples,
    **tables.site_fields(site),
  )


@pytest.fixture
def table() -> LatencyTable:
  sites = SPACE.unique_sites()
  return LatencyTable(
    device=Device(platform="cpu", device_kind="cpu", cpu_cores=2),
    fingerprint="cpu-test-2core-12345678",
    versions={"jax": "0.10.2"},
    batch_size=16,
    entries=tuple(make_entry(i + 1, site) for i, site in enumerate(sites)),
    finished=True,
  )


@pytest.fixture
def path(table, tmp_path):
  path = tmp_path / "folder" / "table.json"
  table.save(path)
  return path


def test_saved_and_loaded_is_the_same(path, table):
  assert LatencyTable.load(path) == table


def test_the_file_has_the_documented_fields(path):
  document = json.loads(path.read_text())
  for name in [*document, *document["entries"][0]]:
    assert name in tables.__doc__


HEAD = [
  ("schema", 3, "<= 2 - at `$.schema`"),
  ("schema", True, "got `bool` - at `$.schema`"),
  ("quantity", "energy", "`quantity` is 'energy', expected one of latency"),
  ("unit", "s", "`unit` is 's', expected ms"),
  ("device", "cpu", "Expected `object`, got `str` - at `$.device`"),
  ("fingerprint", "", "length >= 1 - at `$.fingerprint`"),
  ("versions", [], "Expected `object`, got `array` - at `$.versions`"),
  ("batch_size", 0, "Expected `int` >= 1 - at `$.batch_size`"),
  ("batch_size", 16.0, "Expected `int`, got `float` - at `$.batch_size`"),
  ("dtype", "bfloat16", "'^(float32)$' - at `$.dtype`"),
  ("layout", "NCHW", "'^(NHWC)$' - at `$.layout`"),
  ("mode", "train", "'^(eval)$' - at `$.mode`"),
  ("finished", 1, "Expected `bool`, got `int` - at `$.finished`"),
  ("digest", None, "field `digest` does not match"),
  ("entries", {}, "Expected `array`, got `object` - at `$.entries`"),
]
ROWS = [
  ("kind", "choice", "'^(op|fixed)$'"),
  ("op", 3, "Expected `str`, got `int`"),
  ("height", 8.5, "Expected `int`, got `float`"),
  ("width", 0, "Expected `int` >= 1"),
  ("channels_in", "4", "Expected `int`, got `str`"),
  ("channels_out", None, "Expected `int`, got `null`"),
  ("stride", True, "Expected `int`, got `bool`"),
  ("latency_ms", float("nan"), "Expected `float` >= -1e+300"),
  ("iqr_ms", -1.0, "Expected `float` >= 0.0"),
  ("samples_ms", [1.0, "2"], "Expected `float`, got `str`"),
]


@pytest.mark.parametrize(("field", "value", "expected"), HEAD)
def test_a_wrong_field_is_named(path, field, value, expected):
  document = json.loads(path.read_text())
  path.write_text(json.dumps({**document, field: value}))
  with pytest.raises(ValueError, match=re.escape(expected)) as error:
    LatencyTable.load(path)
  assert str(error.value).startswith(f"{path}: ")
  assert str(error.value).endswith(f"measure again with `{tables.COMMAND}`")


@pytest.mark.parametrize(("field", "value", "expected"), ROWS)
def test_a_wrong_field_of_an_entry_is_named(path, field, value, expected):
  document = json.loads(path.read_text())
  document["entries"][3][field] = value
  path.write_text(json.dumps(document))
  place = f"{expected} - at `$.entries[3].{field}"
  with pytest.raises(ValueError, match=re.escape(place)):
    LatencyTable.load(path)


def test_every_field_is_required(path):
  document = json.loads(path.read_text())
  for field in document:
    rest = {name: v for name, v in document.items() if name != field}
    path.write_text(json.dumps(rest))
    with pytest.raises(ValueError, match=f"field `{field}` is missing"):
      LatencyTable.load(path)


def test_every_field_of_an_entry_is_required(path):
  text = path.read_text()
  for field in json.loads(text)["entries"][0]:
    document = json.loads(text)
    del document["entries"][1][field]
    path.write_text(json.dumps(document))
    place = f"missing required field `{field}` - at `$.entries[1]`"
    with pytest.raises(ValueError, match=re.escape(place)):
      LatencyTable.load(path)


def test_a_table_of_schema_1_is_read(path, table, calibrated):
  """As hwnas_jax 0.1 wrote it: spread_ms, and no field without a value."""
  for wanted in (table, replace(calibrated, errors=None)):
    wanted.save(path)
    document = json.loads(path.read_text())
    for row in document["entries"]:
      row["spread_ms"] = row.pop("iqr_ms")
    del document["errors"]
    if wanted.calibration is None:
      del document["calibration"]
    document["schema"] = 1
    document["digest"] = documents.digest(document)
    path.write_text(json.dumps(document))
    assert LatencyTable.load(path) == wanted
    document["entries"][0]["spread_ms"] = -1.0
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r"at `\$.entries\[0\].iqr_ms`"):
      LatencyTable.load(path)


def test_the_digest_is_that_of_the_file(path, table):
  assert table.digest() == json.loads(path.read_text())["digest"]
  assert LatencyTable.load(path).digest() == table.digest()
  assert replace(table, batch_size=17).digest() != table.digest()


def test_errors_are_saved_with_the_table(path, calibrated):
  calibrated.save(path)
  errors = LatencyTable.load(path).errors
  assert errors == calibrated.errors
  assert errors.raw.median_absolute_error > 0.1
  assert errors.calibrated.median_absolute_error < 0.01
  assert "8 networks, each predicted by the fit" in errors.measured_on


def test_the_slowest_entries_of_a_space_come_first(table):
  net = darts.Darts(("skip_connect",), 3, 2, 4, (8, 8, 1), 3)
  entries = tables.timed_entries(table, net.space())
  times_ms = [entry.latency_ms for entry in entries]
  assert times_ms == sorted(times_ms, reverse=True)
  assert {e.site.key for e in entries} == {
    site.key for site in net.space().unique_sites()
  }


def test_require_names_the_quantity(table):
  tables.require(table, SPACE, 16, "latency")
  with pytest.raises(ValueError, match="latency table .* has no energy"):
    tables.require(table, SPACE, 16, "energy")


def test_a_truncated_file_is_refused(path):
  path.write_text(path.read_text()[:-40])
  with pytest.raises(ValueError, match="table.json is not valid JSON"):
    LatencyTable.load(path)


@pytest.mark.parametrize("document", [[], None, {"entries": [3]}])
def test_what_is_no_table_is_refused(path, document):
  path.write_text(json.dumps(document))
  with pytest.raises(ValueError, match="table.json: "):
    LatencyTable.load(path)


def test_a_missing_file_says_so(tmp_path):
  with pytest.raises(FileNotFoundError, match="none.json"):
    LatencyTable.load(tmp_path / "none.json")


@pytest.mark.parametrize(
  ("old", "new"),
  [('"latency_ms": 1.0', '"latency_ms": 1.1'), ('_size": 16', '_size": 32')],
)
def test_a_changed_number_does_not_match_the_digest(path, old, new):
  text = path.read_text()
  assert text.count(old) == 1
  path.write_text(text.replace(old, new))
  with pytest.raises(ValueError, match="field `digest`"):
    LatencyTable.load(path)


def test_an_unfinished_table_can_be_read_but_not_loaded(path, table):
  part = replace(table, finished=False, entries=table.entries[:3])
  part.save(path)
  assert LatencyTable.read(path) == part
  with pytest.raises(ValueError, match="`finished` is false: it has 3 entries"):
    LatencyTable.load(path)


def test_a_bad_table_is_not_written(path, table):
  key = table.entries[0].site.key
  with pytest.raises(ValueError, match=f"2 entries for {key}"):
    replace(table, entries=table.entries[:1] * 2)
  with pytest.raises(ValueError, match=r"table.json: .*at `\$.batch_size`"):
    replace(table, batch_size=0).save(path)
  assert LatencyTable.load(path) == table


def test_require_accepts_what_is_complete(table):
  tables.require(table, SPACE, 16)


def test_require_names_the_batch_size(table):
  with pytest.raises(ValueError, match=r"batches of 16, wanted 32.*profile"):
    tables.require(table, SPACE, 32)


@pytest.mark.parametrize(("missing", "more"), [(2, ""), (7, "and 2 more")])
def test_require_names_what_is_missing(table, missing, more):
  part = replace(table, entries=table.entries[missing:])
  with pytest.raises(ValueError, match="python -m hwnas_jax.profile") as error:
    tables.require(part, SPACE, 16)
  gone = sorted(e.site.key for e in table.entries[:missing])
  assert f"batch 16, float32) lacks {', '.join(gone[:5])}" in str(error.value)
  assert more in str(error.value)
  assert all(key not in str(error.value) for key in gone[5:])


@pytest.fixture
def noisy(table):
  """A table whose skip_connect took less than no time."""
  entries = tuple(
    replace(e, latency_ms=-0.01) if e.site.op == "skip_connect" else e
    for e in table.entries
  )
  return replace(table, entries=entries)


def test_require_refuses_an_operation_that_took_no_time(noisy):
  with pytest.raises(ValueError, match="no entry of skip_connect above 0 ms"):
    tables.require(noisy, SPACE, 16)


def test_prices_are_sums_over_the_sites_of_choices(table):
  prices = tables.price_array(table, SPACE)
  assert prices.shape == SPACE.shape
  assert prices.dtype == np.float32
  ms = tables.costs(table)
  # A strided edge of the reduction template runs in both reduction cells.
  row, op = SPACE.choices.index("reduce/0->2"), SPACE.ops.index("sep_conv_3x3")
  sites = SPACE.sites[row][op]
  assert len(sites) == 2
  assert prices[row, op] == sum(ms[site.key] for site in sites)
  assert not prices[:, SPACE.ops.index("none")].any()
  assert tables.base_ms(table, SPACE) == sum(ms[s.key] for s in SPACE.fixed)


def test_a_negative_slope_is_kept_but_priced_at_zero(noisy):
  assert min(tables.costs(noisy).values()) == -0.01
  prices = tables.price_array(noisy, SPACE)
  assert not prices[:, SPACE.ops.index("skip_connect")].any()
  assert prices[:, SPACE.ops.index("sep_conv_3x3")].all()


TRUTH = {"base": 1.5, "none": 1.0, "skip_connect": 0.8, "sep_conv_3x3": 1.3}


@pytest.fixture
def calibrated(table):
  """The table, calibrated on exact measurements of known multipliers."""
  rng = np.random.default_rng(0)
  raw = tables.raw_costs(table)
  networks = calibration.choose(NET, raw, RULES["argmax"], rng, 8)
  measured = [
    calibration.features(NET, raw, g, "live") @ list(TRUTH.values())
    for g in networks
  ]
  fitted = calibration.calibrate(NET, raw, Measured(networks, measured))
  errors = calibration.errors(fitted)
  return replace(table, calibration=fitted, errors=errors)


def test_a_calibration_is_saved_with_the_table(calibrated, path):
  calibrated.save(path)
  assert LatencyTable.load(path) == calibrated
  assert "calibration" in tables.__doc__


def test_a_changed_calibration_does_not_match_the_digest(calibrated, path):
  calibrated.save(path)
  document = json.loads(path.read_text())
  document["calibration"]["multipliers"]["base"] = 1.0
  path.write_text(json.dumps(document))
  with pytest.raises(ValueError, match="field `digest`"):
    LatencyTable.load(path)


def test_a_bad_calibration_is_named(calibrated, path):
  calibrated.save(path)
  document = json.loads(path.read_text())
  document["calibration"]["noise"] = -1
  path.write_text(json.dumps(document))
  with pytest.raises(
    ValueError, match=r"table.json: .*> 0.0 - at `\$.calibration.noise`"
  ):
    LatencyTable.load(path)
  bad = replace(calibrated.calibration, level=2.0)
  with pytest.raises(ValueError, match=r"< 1.0 - at `\$.calibration.level`"):
    replace(calibrated, calibration=bad).save(path)


def test_costs_are_the_calibrated_ones(calibrated, table):
  assert tables.raw_costs(calibrated) == tables.costs(table)
  for entry in table.entries:
    name = "base" if entry.kind == "fixed" else entry.site.op
    assert tables.costs(calibrated)[entry.site.key] == pytest.approx(
      entry.latency_ms * TRUTH[name], rel=1e-3
    )


def test_prices_at_a_one_hot_mix_are_the_prediction(calibrated):
  """Of every architecture in which all runs, raw and calibrated."""
  rng = np.random.default_rng(1)
  raw = replace(calibrated, calibration=None)
  rows = rng.integers(1, 3, (20, len(SPACE.choices)))
  genotypes = [tuple(map(int, row)) for row in rows]
  assert all(all(NET.live(genotype)) for genotype in genotypes)
  mixes = jnp.asarray(architecture.one_hot(genotypes, len(SPACE.ops)))
  predicted = {}
  for name, table in {"raw": raw, "calibrated": calibrated}.items():
    base = jnp.asarray(tables.base_ms(table, SPACE), jnp.float32)
    prices = CostTable(jnp.asarray(tables.price_array(table, SPACE)), base)
    found = np.asarray([tables.predict_ms(table, NET, g) for g in genotypes])
    np.testing.assert_allclose(jax.vmap(prices.cost)(mixes), found, rtol=1e-6)
    predicted[name] = found
  costs, fitted = tables.raw_costs(raw), calibrated.calibration
  found = [calibration.predict_ms(fitted, NET, costs, g) for g in genotypes]
  np.testing.assert_allclose(predicted["calibrated"], found, rtol=1e-9)
  assert (predicted["calibrated"] > 1.02 * predicted["raw"]).all()


def test_what_does_not_run_is_predicted_by_the_backends_rule(calibrated):
  # The second node's last edge leaves an empty node.
  genotype = (0, 0, 1, 1, 2, *[1] * (len(SPACE.choices) - 5))
  assert not NET.live(genotype)[4]
  eager = replace(calibrated.calibration, liveness="all")
  eager = replace(calibrated, calibration=eager)
  dead = tables.price_array(calibrated, SPACE)[4, 2]
  live_ms = tables.predict_ms(calibrated, NET, genotype)
  assert dead > 0
  assert tables.predict_ms(eager, NET, genotype) == pytest.approx(
    live_ms + dead
  )
  bare = replace(calibrated, calibration=None)
  whole = counts.genotype_cost(NET, genotype, tables.costs(bare))
  assert tables.predict_ms(bare, NET, genotype) == pytest.approx(whole)


def test_a_calibration_of_other_operations_is_refused(calibrated):
  tables.require(calibrated, SPACE, 16)

  def without(fitted, **changes):
    names = fitted.multipliers.keys() - {"sep_conv_3x3"}
    rest = {name: fitted.multipliers[name] for name in names}
    return replace(fitted, multipliers=rest, **changes)

  fitted = calibrated.calibration
  networks = tuple(map(without, fitted.networks))
  part = replace(calibrated, calibration=without(fitted, networks=networks))
  assert not any("sep_conv" in key for key in tables.costs(part))
  with pytest.raises(ValueError, match="another space, without sep_conv_3x3"):
    tables.require(part, SPACE, 16)
