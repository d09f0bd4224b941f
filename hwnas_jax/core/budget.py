"""Latency budgets as people write them: `5ms`, `0.4x`, `60%`.

`x` and `%` are fractions of the largest architecture's predicted latency.
"""

import math
import re
from typing import NamedTuple

_FORM = re.compile(r"\s*([0-9.eE+-]+?)\s*(ms|x|%)\s*")
_OF_LARGEST = {"x": 1.0, "%": 0.01}


class Budget(NamedTuple):
  """value: > 0 and finite; unit: "ms", "x" or "%"."""

  value: float
  unit: str

  def __str__(self) -> str:
    return f"{self.value:.12g}{self.unit}"


def parse(text: str, field: str = "latency") -> Budget:
  """Reads a budget.

  Args:
    text: a number > 0 and its unit: ms, x or %. Spaces do not matter.
    field: name of the flag or config field, for the message.

  Raises:
    ValueError: it is anything else.
  """
  found = _FORM.fullmatch(text)
  try:
    value = float(found[1]) if found else math.nan
  except ValueError:
    value = math.nan
  if found is None or not 0 < value < math.inf:
    raise ValueError(
      f"{field} must be a number > 0 with its unit: 5ms, or 0.4x or 60% of the"
      f" largest architecture's latency; got {text!r}"
    )
  return Budget(value, found[2])


def to_ms(budget: Budget, largest_ms: float) -> float:
  """The budget in ms, given the largest architecture's predicted latency.

  Raises:
    ValueError: a fraction is asked of a latency that is not in (0, inf).
  """
  if budget.unit == "ms":
    return budget.value
  if not 0 < largest_ms < math.inf:
    raise ValueError(
      f"{budget} is a fraction of the largest architecture's latency, which is"
      f" {largest_ms:g} ms: give the budget in ms"
    )
  return budget.value * _OF_LARGEST[budget.unit] * largest_ms
