"""Latency budgets as people write them: `5ms`, `0.4x`, `60%`.

`x` and `%` are fractions of the largest architecture's latency.
"""

import math
import re
from typing import NamedTuple

_FORM = re.compile(r"\s*([0-9.eE+-]+?)\s*(ms|x|%)\s*")
_FRACTIONS = {"x": 1.0, "%": 0.01}  # of the largest architecture's latency


class Budget(NamedTuple):
  """A latency: value > 0 and finite; unit "ms", "x" or "%"."""

  value: float
  unit: str

  def __str__(self) -> str:
    return f"{self.value:.12g}{self.unit}"


def parse(text: str, field: str = "latency") -> Budget:
  """Reads a budget.

  >>> parse("60%")
  Budget(value=60.0, unit='%')

  Args:
    text: a number > 0 with its unit ms, x or %. Spaces are ignored.
    field: the flag or config field that the error names.

  Raises:
    ValueError: the text is not a budget.
  """
  match = _FORM.fullmatch(text)
  try:
    value = float(match[1]) if match else math.nan
  except ValueError:
    value = math.nan
  if match is None or not 0 < value < math.inf:
    raise ValueError(
      f"{field} must be a number > 0 with its unit: 5ms, or 0.4x or 60% of the"
      f" largest architecture's latency; got {text!r}"
    )
  return Budget(value, match[2])


def to_ms(budget: Budget, largest_ms: float) -> float:
  """The budget in ms.

  >>> to_ms(parse("60%"), largest_ms=8.0)
  4.8

  Args:
    budget: in any unit.
    largest_ms: the largest architecture's latency, as far as it is known. A
      budget in ms does not read it.

  Raises:
    ValueError: the budget is a fraction and largest_ms is not in (0, inf).
  """
  if budget.unit == "ms":
    return budget.value
  if not 0 < largest_ms < math.inf:
    raise ValueError(
      f"{budget} is a fraction of the largest architecture's latency, which is"
      f" {largest_ms:g} ms: give the budget in ms"
    )
  return budget.value * _FRACTIONS[budget.unit] * largest_ms
