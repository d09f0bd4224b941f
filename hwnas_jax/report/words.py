"""Numbers and findings in words; plain text, not yet escaped."""

import statistics
from collections.abc import Callable, Sequence

from hwnas_jax.io.records import Member
from hwnas_jax.report import family
from hwnas_jax.report.run import Run

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


def summary(run: Run) -> list[str]:
  """A summary of the run, in sentences that hold for any outcome.

  Returns:
    Paragraphs.
  """
  searched, randoms = family.split(run.family.members)
  paragraphs = [
    " ".join([_latencies(run, searched), *_best(searched)]),
    " ".join(_comparison(searched, randoms)),
    _seeds(run.family.members),
    _helped(run.family.members),
  ]
  return [text for text in paragraphs if text]


def _latencies(run: Run, searched: Sequence[Member]) -> str:
  times = [t for m in searched if (t := m.latency_ms) is not None]
  start = f"The search found {networks(len(searched))}"
  if not times:
    return f"{start}, latency not measured."
  return (
    f"{start} with latencies of {extent(times, ms)} for a batch of"
    f" {run.family.latency_batch_size}, measured on {run.device_name}."
  )


def _best(searched: Sequence[Member]) -> list[str]:
  trained = [m for m in searched if family.accuracy(m) is not None]
  if not trained:
    return ["None of them has been trained and tested yet."]
  best = max(trained, key=lambda m: family.accuracy(m) or 0)
  sentences = [
    f"The best test accuracy is {percent(family.accuracy(best))}"
    f" ({ms(best.latency_ms)}, {count(best.params)} parameters)."
  ]
  fastest = family.highlights(trained).get("fastest")
  if fastest and fastest is not best:
    sentences.append(
      f"The fastest, at {ms(fastest.latency_ms)}, reaches"
      f" {percent(family.accuracy(fastest))}."
    )
  return sentences


def _comparison(
  searched: Sequence[Member], randoms: Sequence[Member]
) -> list[str]:
  sentences = []
  scores = [a for m in randoms if (a := family.accuracy(m)) is not None]
  times = [t for m in randoms if (t := m.latency_ms) is not None]
  if scores:
    latency = (
      f" at a median latency of {ms(statistics.median(times))}" if times else ""
    )
    sentences.append(
      f"For comparison, {networks(len(scores))} of random architecture:"
      f" median test accuracy {percent(statistics.median(scores))}{latency},"
      f" best {percent(max(scores))}."
    )
  wins, total = family.matched(searched, randoms)
  if total:
    sentences.append(
      f"For {wins} of these {total}, the search found a network that is no"
      " slower and no less accurate."
    )
  return sentences


def _seeds(members: Sequence[Member]) -> str:
  """The number of training seeds behind an accuracy, as a sentence."""
  counts = [n for m in members if (n := len(m.accuracies.test_accuracies))]
  if not counts:
    return ""
  if max(counts) == 1:
    return (
      "Each accuracy is of one training run. How much accuracy varies between"
      " training seeds is not known, so small differences may be chance."
    )
  return (
    f"Accuracies are means over {span(str(min(counts)), str(max(counts)))}"
    " training seeds; bars in the plots go from the lowest to the highest."
  )


def _helped(members: Sequence[Member]) -> str:
  """What the networks were trained with besides images, in sentences."""
  teachers = {t.id for m in members if (t := m.accuracies.teacher)}
  names = [m.name for m in members if m.id in teachers]
  sentences = [
    f"{name}, the largest member, was trained first and taught all others."
    for name in names
  ]
  if any(m.accuracies.supernet for m in members):
    sentences.append("The trainings started from the supernet's weights.")
  return " ".join(sentences)
