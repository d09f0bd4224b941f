"""Numbers in words; plain text, not yet escaped."""

from collections.abc import Callable, Sequence

NOTHING = "–"
_THIN = "\u202f"  # a narrow space that does not break a line


def number(value: float) -> str:
  """Three significant digits, or all before the point: 0.0123, 1.23, 1235."""
  return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def ms(value: float | None) -> str:
  """A latency in ms with its unit, or a dash; as many digits as are of use."""
  return measured(value, "ms")


def measured(value: float | None, unit: str) -> str:
  """A measured number with its unit, or a dash: 0.622 ms, 31.3 ms."""
  if value is None:
    return NOTHING
  digits = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
  return f"{value:.{digits}f}{_THIN}{unit}"


def count(value: float | None) -> str:
  """A large number with its magnitude: 20.5 k, 1.23 M."""
  if value is None:
    return NOTHING
  for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
    if value >= factor:
      return f"{number(value / factor)}{_THIN}{unit}"
  return f"{value:.0f}"


def percent(value: float | None, digits: int = 1) -> str:
  """A share of one as a percentage, or a dash."""
  return NOTHING if value is None else f"{100 * value:.{digits}f}{_THIN}%"


def accuracy(value: float | None) -> str:
  """A test accuracy as a percentage, or that there is none."""
  return "not trained" if value is None else percent(value, 2)


def span(low: str, high: str) -> str:
  """`low–high`, the unit once if both have the same."""
  if low == high:
    return low
  start, _, unit = low.partition(_THIN)
  end_unit = high.partition(_THIN)[2]
  return f"{start if unit == end_unit else low}–{high}"


def extent(
  values: Sequence[float], words: Callable[[float | None], str]
) -> str:
  """The lowest to the highest of some numbers, each put as `words` does."""
  return span(words(min(values)), words(max(values)))


def networks(n: int) -> str:
  """`1 network`, `2 networks`."""
  return f"{n} network{'' if n == 1 else 's'}"
