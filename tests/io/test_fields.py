"""Rules of JSON fields: what holds, what does not, and the message."""

import math

import pytest

from hwnas_jax.io import fields

RULES = {
  "TEXT": (["a"], ["", 1, None]),
  "OBJECT": ([{}], [[], None]),
  "LIST": ([[]], [{}, "a"]),
  "COUNT": ([1], [0, 1.0, True, "1"]),
  "NUMBER": ([0, -1.5], [math.nan, math.inf, True, "1", None]),
  "POSITIVE": ([0.1, 3], [0, -1.0, math.inf]),
  "NOT_NEGATIVE": ([0, 0.1], [-0.1, math.nan]),
  "NUMBERS": ([[], [1, 2.5]], [(1,), [1, "2"], [math.nan]]),
  "FRACTION": ([0.5], [0, 1, 1.5, "0.5"]),
}


@pytest.mark.parametrize("name", RULES)
def test_a_rule(name):
  rule = getattr(fields, name)
  holds, fails = RULES[name]
  for value in holds:
    fields.check("file", {"x": value}, {"x": rule})
  for value in fails:
    with pytest.raises(ValueError, match=r"^file: field 'x' is .*, expected "):
      fields.check("file", {"x": value}, {"x": rule})


def test_every_rule_is_tested():
  constants = {name for name in vars(fields) if name.isupper()}
  assert constants == set(RULES)


def test_one_of_wants_the_type_too():
  rule = fields.one_of(1, "a")
  assert rule[0](1) and rule[0]("a")
  assert not rule[0](True) and not rule[0](1.0) and not rule[0]("b")
  assert rule[1] == '1 or "a"'


def test_what_is_missing_and_what_is_no_object():
  with pytest.raises(ValueError, match="file: field 'x' is missing"):
    fields.check("file", {"y": 1}, {"x": fields.NUMBER})
  with pytest.raises(ValueError, match="file: expected an object, found 3"):
    fields.check("file", 3, {"x": fields.NUMBER})
