"""Latency tables as files: what is stored is what is read, or refused."""

import json
import re

import pytest
import toy_table
from msgspec.structs import replace

from hwnas_jax.costs import table as tables
from hwnas_jax.costs.table import LatencyTable
from hwnas_jax.io import document as documents


@pytest.fixture
def table():
  return toy_table.make()


@pytest.fixture
def calibrated(table):
  return toy_table.calibrate(table)


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
  ("dtype", "float16", "'^(float32|bfloat16)$' - at `$.dtype`"),
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
