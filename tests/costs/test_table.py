"""Latency tables: what is stored is what is read, or a clear refusal."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.costs import counts
from hwnas_jax.costs import table as tables
from hwnas_jax.costs.correct import calibration
from hwnas_jax.method.state import CostTable
from hwnas_jax.spaces import architecture, darts
from hwnas_jax.spaces.rules import RULES

NET = darts.Darts(
  ("none", "skip_connect", "sep_conv_3x3"), 3, 2, 4, (8, 8, 1), 3
)
SPACE = darts.make_space(NET)
FIXED = {site.key for site in SPACE.fixed}


def make_entry(index: int, site) -> tables.Entry:
  kind = "fixed" if site.key in FIXED else "op"
  samples = () if site.op == "none" else (0.5 * index, index, 2.0 * index)
  latency_ms = 0.0 if site.op == "none" else float(index)
  return tables.Entry(site, kind, latency_ms, 0.75 * index, samples)


@pytest.fixture
def table() -> tables.LatencyTable:
  sites = SPACE.unique_sites()
  return tables.LatencyTable(
    device={"platform": "cpu", "cpu_cores": 2},
    fingerprint="cpu-test-2core-12345678",
    versions={"jax": "0.10.2"},
    batch_size=16,
    entries=tuple(make_entry(i + 1, site) for i, site in enumerate(sites)),
    finished=True,
  )


@pytest.fixture
def path(table, tmp_path):
  path = tmp_path / "folder" / "table.json"
  tables.save(path, table)
  return path


def test_saved_and_loaded_is_the_same(path, table):
  assert tables.load(path) == table


def test_the_file_has_the_documented_fields(path):
  document = json.loads(path.read_text())
  for name in [*document, *document["entries"][0]]:
    assert name in tables.__doc__


HEAD = [
  ("schema", 2, "expected 1"),
  ("schema", True, "expected 1"),
  ("quantity", "energy", 'expected "latency"'),
  ("unit", "s", 'expected "ms"'),
  ("device", "cpu", "expected an object"),
  ("fingerprint", "", "expected a text"),
  ("versions", [], "expected an object"),
  ("batch_size", 0, "an integer above 0"),
  ("batch_size", 16.0, "an integer above 0"),
  ("dtype", "bfloat16", 'expected "float32"'),
  ("layout", "NCHW", 'expected "NHWC"'),
  ("mode", "train", 'expected "eval"'),
  ("finished", 1, "expected true or false"),
  ("digest", None, "expected a text"),
  ("entries", {}, "expected a list"),
]
ROWS = [
  ("kind", "choice", 'expected "op" or "fixed"'),
  ("op", 3, "expected a text"),
  ("height", 8.5, "an integer above 0"),
  ("width", 0, "an integer above 0"),
  ("channels_in", "4", "an integer above 0"),
  ("channels_out", None, "an integer above 0"),
  ("stride", True, "an integer above 0"),
  ("latency_ms", float("nan"), "a finite number"),
  ("spread_ms", -1.0, "a number >= 0"),
  ("samples_ms", [1.0, "2"], "a list of finite numbers"),
]


@pytest.mark.parametrize(("field", "value", "expected"), HEAD)
def test_a_wrong_field_is_named(path, field, value, expected):
  document = json.loads(path.read_text())
  path.write_text(json.dumps({**document, field: value}))
  with pytest.raises(
    ValueError, match=f"table.json: field '{field}'.*{expected}"
  ):
    tables.load(path)


@pytest.mark.parametrize(("field", "value", "expected"), ROWS)
def test_a_wrong_field_of_an_entry_is_named(path, field, value, expected):
  document = json.loads(path.read_text())
  document["entries"][3][field] = value
  path.write_text(json.dumps(document))
  with pytest.raises(ValueError, match=f"entry 3: field '{field}'.*{expected}"):
    tables.load(path)


def test_every_field_is_required(path):
  document = json.loads(path.read_text())
  for field in document:
    rest = {name: v for name, v in document.items() if name != field}
    path.write_text(json.dumps(rest))
    with pytest.raises(ValueError, match=f"field '{field}' is missing"):
      tables.load(path)


def test_every_field_of_an_entry_is_required(path):
  text = path.read_text()
  for field in json.loads(text)["entries"][0]:
    document = json.loads(text)
    del document["entries"][1][field]
    path.write_text(json.dumps(document))
    with pytest.raises(
      ValueError, match=f"entry 1: field '{field}' is missing"
    ):
      tables.load(path)


def test_a_truncated_file_is_refused(path):
  path.write_text(path.read_text()[:-40])
  with pytest.raises(ValueError, match="table.json is not valid JSON"):
    tables.load(path)


@pytest.mark.parametrize("document", [[], None, {"entries": [3]}])
def test_what_is_no_table_is_refused(path, document):
  path.write_text(json.dumps(document))
  with pytest.raises(ValueError, match="table.json: "):
    tables.load(path)


def test_a_missing_file_says_so(tmp_path):
  with pytest.raises(FileNotFoundError, match="none.json"):
    tables.load(tmp_path / "none.json")


@pytest.mark.parametrize(
  ("old", "new"),
  [('"latency_ms": 1.0', '"latency_ms": 1.1'), ('_size": 16', '_size": 32')],
)
def test_a_changed_number_does_not_match_the_digest(path, old, new):
  text = path.read_text()
  assert text.count(old) == 1
  path.write_text(text.replace(old, new))
  with pytest.raises(ValueError, match="field 'digest'"):
    tables.load(path)


def test_an_unfinished_table_can_be_read_but_not_loaded(path, table):
  part = dataclasses.replace(table, finished=False, entries=table.entries[:3])
  tables.save(path, part)
  assert tables.read(path) == part
  with pytest.raises(ValueError, match="'finished' is false: it has 3 entries"):
    tables.load(path)


def test_a_bad_table_is_not_written(path, table):
  twice = dataclasses.replace(table, entries=table.entries[:1] * 2)
  with pytest.raises(
    ValueError, match=f"2 entries for {twice.entries[0].site.key}"
  ):
    tables.save(path, twice)
  assert tables.load(path) == table


def test_require_accepts_what_is_complete(table):
  tables.require(table, SPACE, 16)


def test_require_names_the_batch_size(table):
  with pytest.raises(ValueError, match=r"batches of 16, wanted 32.*profile"):
    tables.require(table, SPACE, 32)


@pytest.mark.parametrize(("missing", "more"), [(2, ""), (7, "and 2 more")])
def test_require_names_what_is_missing(table, missing, more):
  part = dataclasses.replace(table, entries=table.entries[missing:])
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
    dataclasses.replace(e, latency_ms=-0.01)
    if e.site.op == "skip_connect"
    else e
    for e in table.entries
  )
  return dataclasses.replace(table, entries=entries)


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
  found = calibration.calibrate(NET, raw, networks, measured)
  return dataclasses.replace(table, calibration=found)


def test_a_calibration_is_saved_with_the_table(calibrated, path):
  tables.save(path, calibrated)
  assert tables.load(path) == calibrated
  assert "calibration" in tables.__doc__


def test_a_changed_calibration_does_not_match_the_digest(calibrated, path):
  tables.save(path, calibrated)
  document = json.loads(path.read_text())
  document["calibration"]["multipliers"]["base"] = 1.0
  path.write_text(json.dumps(document))
  with pytest.raises(ValueError, match="field 'digest'"):
    tables.load(path)


def test_a_bad_calibration_is_named(calibrated, path):
  tables.save(path, calibrated)
  document = json.loads(path.read_text())
  document["calibration"]["noise"] = -1
  path.write_text(json.dumps(document))
  with pytest.raises(
    ValueError, match="table.json: calibration: field 'noise'"
  ):
    tables.load(path)
  bad = dataclasses.replace(calibrated.calibration, level=2.0)
  with pytest.raises(ValueError, match="calibration: field 'level'"):
    tables.save(path, dataclasses.replace(calibrated, calibration=bad))


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
  raw = dataclasses.replace(calibrated, calibration=None)
  rows = rng.integers(1, 3, (20, len(SPACE.choices)))
  genotypes = [tuple(map(int, row)) for row in rows]
  assert all(all(NET.live(genotype)) for genotype in genotypes)
  mixes = jnp.asarray(architecture.one_hot(genotypes, len(SPACE.ops)))
  predicted = {}
  for name, table in {"raw": raw, "calibrated": calibrated}.items():
    base = jnp.asarray(tables.base_ms(table, SPACE), jnp.float32)
    prices = CostTable(jnp.asarray(tables.price_array(table, SPACE)), base)
    found = np.asarray([tables.predict_ms(table, NET, g) for g in genotypes])
    np.testing.assert_allclose(jax.vmap(prices.of)(mixes), found, rtol=1e-6)
    predicted[name] = found
  costs, fitted = tables.raw_costs(raw), calibrated.calibration
  found = [calibration.predict_ms(fitted, NET, costs, g) for g in genotypes]
  np.testing.assert_allclose(predicted["calibrated"], found, rtol=1e-9)
  assert (predicted["calibrated"] > 1.02 * predicted["raw"]).all()


def test_what_does_not_run_is_predicted_by_the_backends_rule(calibrated):
  # The second node's last edge leaves an empty node.
  genotype = (0, 0, 1, 1, 2, *[1] * (len(SPACE.choices) - 5))
  assert not NET.live(genotype)[4]
  eager = dataclasses.replace(calibrated.calibration, liveness="all")
  eager = dataclasses.replace(calibrated, calibration=eager)
  dead = tables.price_array(calibrated, SPACE)[4, 2]
  live_ms = tables.predict_ms(calibrated, NET, genotype)
  assert dead > 0
  assert tables.predict_ms(eager, NET, genotype) == pytest.approx(
    live_ms + dead
  )
  bare = dataclasses.replace(calibrated, calibration=None)
  whole = counts.genotype_cost(NET, genotype, tables.costs(bare))
  assert tables.predict_ms(bare, NET, genotype) == pytest.approx(whole)


def test_a_calibration_of_other_operations_is_refused(calibrated):
  tables.require(calibrated, SPACE, 16)
  multipliers = dict(calibrated.calibration.multipliers)
  del multipliers["sep_conv_3x3"]
  part = dataclasses.replace(calibrated.calibration, multipliers=multipliers)
  part = dataclasses.replace(calibrated, calibration=part)
  assert not any("sep_conv" in key for key in tables.costs(part))
  with pytest.raises(ValueError, match="another space, without sep_conv_3x3"):
    tables.require(part, SPACE, 16)
