"""Budgets: what is read, what is refused."""

import math

import pytest

from hwnas_jax.core.budget import Budget, parse, to_ms


@pytest.mark.parametrize(
  ("text", "value", "unit"),
  [
    ("5ms", 5.0, "ms"),
    ("0.25 ms", 0.25, "ms"),
    (" 1e-2ms ", 0.01, "ms"),
    ("0.4x", 0.4, "x"),
    (".4x", 0.4, "x"),
    ("60%", 60.0, "%"),
    ("12.5 %", 12.5, "%"),
    ("1.5x", 1.5, "x"),  # slack, not nonsense
  ],
)
def test_a_budget_is_read(text, value, unit):
  assert parse(text) == Budget(value, unit)


@pytest.mark.parametrize(
  "text",
  [
    *("", "5", "ms", "x", "%", "five ms", "5s", "5us", "5MS", "5msms", "5ms%"),
    *("0ms", "-1ms", "-0.0x", "nanms", "infms", "1e999ms", "1e-999ms"),
    *("1..2ms", "1e", "--1ms", "5,0ms", "0x10ms", "1_0ms", "0.4x of 5ms"),
  ],
)
def test_nonsense_is_refused_by_its_field(text):
  with pytest.raises(ValueError) as error:
    parse(text, "cost.target")
  message = str(error.value)
  assert message.startswith("cost.target must be a number > 0 with its unit")
  assert message.endswith(f"got {text!r}") and "60%" in message


@pytest.mark.parametrize(
  ("text", "wanted_ms"),
  [("5ms", 5.0), ("0.4x", 3.2), ("60%", 4.8), ("100%", 8.0), ("1x", 8.0)],
)
def test_fractions_are_of_the_largest(text, wanted_ms):
  assert to_ms(parse(text), 8.0) == pytest.approx(wanted_ms, rel=1e-12)


@pytest.mark.parametrize("largest_ms", [0.0, -1.0, math.nan, math.inf])
def test_a_fraction_of_nothing_is_refused(largest_ms):
  assert to_ms(parse("5ms"), largest_ms) == 5.0
  with pytest.raises(ValueError, match="60% is a fraction .* in ms"):
    to_ms(parse("60%"), largest_ms)


@pytest.mark.parametrize(
  "text", ["5ms", "0.4x", "60%", "1e-05ms", "4.123456789ms"]
)
def test_its_text_is_read_again(text):
  assert str(parse(text)) == text and parse(str(parse(text))) == parse(text)
