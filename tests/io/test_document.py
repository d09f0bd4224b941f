"""Documents with a digest: what was written is read, or a clear refusal."""

import json
import math
from typing import Annotated

import msgspec
import pytest

from hwnas_jax.io import document
from hwnas_jax.io.document import (
  Count,
  Finite,
  Fraction,
  NotNegative,
  Positive,
  Text,
)
from hwnas_jax.io.records import Record

TYPES = {
  "Text": (Text, ["a"], ["", 1, None]),
  "Count": (Count, [1], [0, 1.0, True, "1"]),
  "Finite": (Finite, [0, -1.5], [math.nan, math.inf, True, "1", None]),
  "NotNegative": (NotNegative, [0, 0.1], [-0.1, math.nan, math.inf]),
  "Positive": (Positive, [0.1, 3], [0, -1.0, math.inf, math.nan]),
  "Fraction": (Fraction, [0.5], [0, 1, 1.5, "0.5"]),
  "one_of": (Annotated[str, document.one_of("a", "bc")], ["bc"], ["b", "abc"]),
  "exactly": (Annotated[int, document.exactly(2)], [2], [1, 3, 2.0, "2"]),
}


class Row(Record, frozen=True):
  value: Positive


class File(Record, frozen=True):
  rows: tuple[Row, ...]
  name: Text = "default"


@pytest.mark.parametrize("name", TYPES)
def test_a_type_of_a_field(name):
  kind, holds, fails = TYPES[name]
  for value in holds:
    assert msgspec.convert(value, kind) == value
  for value in fails:
    with pytest.raises(msgspec.ValidationError, match="Expected"):
      msgspec.convert(value, kind)


def test_a_constraint_says_what_was_expected():
  with pytest.raises(msgspec.ValidationError, match=r"a\|bc"):
    msgspec.convert("b", Annotated[str, document.one_of("a", "bc")])


@pytest.fixture
def path(tmp_path):
  path = tmp_path / "file.json"
  document.write(path, File((Row(1.0), Row(2.5)), "x"))
  return path


def read(path, **options):
  return document.read(path, File, "measure again", **options)


def damage(path, *, honest=True, **changes):
  contents = json.loads(path.read_text()) | changes
  contents = {n: v for n, v in contents.items() if v is not None}
  if honest:
    contents["digest"] = document.digest(contents)
  path.write_text(json.dumps(contents))


def test_written_and_read_is_the_same(path):
  assert read(path) == File((Row(1.0), Row(2.5)), "x")
  contents = json.loads(path.read_text())
  assert contents["digest"] == document.digest(contents)


def test_a_damaged_field_is_named_with_its_place_and_a_remedy(path):
  damage(path, rows=[{"value": 1.0}, {"value": -1.0}])
  with pytest.raises(
    ValueError,
    match=r"file.json: Expected `float` > 0.0 - at `\$.rows\[1\].value`: "
    "measure again",
  ):
    read(path)


@pytest.mark.parametrize("name", ["rows", "name"])
def test_every_field_has_to_be_there(path, name):
  damage(path, **{name: None})
  with pytest.raises(ValueError, match=f"field `{name}` is missing: measure"):
    read(path)


def test_a_digest_is_required_and_compared(path):
  damage(path, digest=None, honest=False)
  with pytest.raises(ValueError, match="field `digest` is missing"):
    read(path)
  damage(path, digest="0", honest=False)
  with pytest.raises(ValueError, match="`digest` does not match the contents"):
    read(path)
  damage(path)
  damage(path, name="y", honest=False)
  with pytest.raises(ValueError, match="`digest` does not match the contents"):
    read(path)


def test_an_unknown_field_and_what_is_no_object(path):
  damage(path, more=1)
  with pytest.raises(ValueError, match="unknown field `more`"):
    read(path)
  path.write_text("3")
  with pytest.raises(ValueError, match="file.json: expected an object, got 3"):
    read(path)
  path.write_text("{")
  with pytest.raises(ValueError, match="file.json is not valid JSON"):
    read(path)


def test_an_older_schema_is_upgraded_after_its_digest_was_compared(path):
  upgrade = lambda contents: {"name": "old", **contents}  # noqa: E731
  damage(path, name=None)
  assert read(path, upgrade=upgrade).name == "old"
  damage(path, rows=[], honest=False)
  with pytest.raises(ValueError, match="`digest` does not match the contents"):
    read(path, upgrade=upgrade)


def test_what_would_not_be_read_is_not_written(path):
  with pytest.raises(ValueError, match=r"at `\$.rows\[0\].value`"):
    document.write(path, File((Row(-1.0),), "x"))
  assert read(path).rows[0] == Row(1.0)


def test_a_digest_leaves_its_own_field_and_the_order_of_keys_out():
  one = document.digest({"a": 1, "b": 2})
  assert document.digest({"b": 2, "digest": "x", "a": 1}) == one
  assert document.digest({"a": 1, "b": 3}) != one
