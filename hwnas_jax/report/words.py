"""Numbers and findings in words; plain text, not yet escaped."""

import statistics
from collections.abc import Sequence

from hwnas_jax.report import family
from hwnas_jax.report.family import Member
from hwnas_jax.report.run import Run

_THIN = "\u202f"  # a narrow space that does not break a line


def number(value: float) -> str:
  """Three significant digits, or all before the point: 0.0123, 1.23, 1235."""
  return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def ms(value: float | None) -> str:
  """A latency with its unit, or a dash; as many digits as are of use."""
  if value is None:
    return "–"
  digits = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
  return f"{value:.{digits}f}{_THIN}ms"


def count(value: float | None) -> str:
  """A large number with its magnitude: 20.5 k, 1.23 M."""
  if value is None:
    return "–"
  for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
    if value >= factor:
      return f"{number(value / factor)}{_THIN}{unit}"
  return f"{value:.0f}"


def percent(value: float | None, digits: int = 1) -> str:
  """A share of one as a percentage, or a dash."""
  return "–" if value is None else f"{100 * value:.{digits}f}{_THIN}%"


def span(low: str, high: str) -> str:
  """`low–high`, the unit once if both have the same."""
  if low == high:
    return low
  start, _, unit = low.partition(_THIN)
  end_unit = high.partition(_THIN)[2]
  return f"{start if unit == end_unit else low}–{high}"


def networks(n: int) -> str:
  """`1 network`, `2 networks`."""
  return f"{n} network{'' if n == 1 else 's'}"


def summary(run: Run) -> list[str]:
  """What the run found, in sentences that hold for any outcome.

  Args:
    run: the run.

  Returns:
    Paragraphs.
  """
  ours, baselines = family.split(run.members)
  paragraphs = [
    " ".join([_range_sentence(run, ours), *_best_sentences(ours)]),
    " ".join(_comparison(run, ours, baselines)),
    _caution(run.members),
  ]
  return [text for text in paragraphs if text]


def _range_sentence(run: Run, ours: Sequence[Member]) -> str:
  times = [t for m in ours if (t := family.latency_ms(m)) is not None]
  if not times:
    return f"{networks(len(ours))}, latency not measured."
  batch = run.family.get("latency_batch_size")
  each = f" for a batch of {batch}" if batch else ""
  return (
    f"{networks(len(ours))}, {span(ms(min(times)), ms(max(times)))}{each}, "
    f"measured on {run.device_words}."
  )


def _best_sentences(ours: Sequence[Member]) -> list[str]:
  trained = [m for m in ours if family.accuracy(m) is not None]
  if not trained:
    return ["None of them has been trained and tested yet."]
  best = max(trained, key=lambda m: family.accuracy(m) or 0)
  sentences = [
    f"The best test accuracy is {percent(family.accuracy(best))}"
    f" ({ms(family.latency_ms(best))}, {count(best['params'])} parameters)."
  ]
  cheap = family.highlights(trained).get("cheapest")
  if cheap and cheap is not best:
    sentences.append(
      f"The fastest, at {ms(family.latency_ms(cheap))}, reaches"
      f" {percent(family.accuracy(cheap))}."
    )
  return sentences


def _comparison(
  run: Run, ours: Sequence[Member], baselines: Sequence[Member]
) -> list[str]:
  sentences = []
  scores = [a for m in baselines if (a := family.accuracy(m)) is not None]
  times = [t for m in baselines if (t := family.latency_ms(m)) is not None]
  if scores:
    at = f" at a median of {ms(statistics.median(times))}" if times else ""
    sentences.append(
      f"Random architectures ({len(scores)}): median test accuracy"
      f" {percent(statistics.median(scores))}{at}, best {percent(max(scores))}."
    )
  wins, total = family.matched(ours, baselines)
  if total:
    sentences.append(
      f"For {wins} of these {total} the family has a network that is no"
      " slower and no less accurate."
    )
  sentences += [
    f"{name}: {percent(score)}." for name, score in baseline_levels(run).items()
  ]
  return sentences


def baseline_levels(run: Run) -> dict[str, float]:
  """Accuracies of simple methods by name, e.g. {"Logistic regression": .95}."""
  baselines = run.family.get("baselines") or {}
  return {
    key.removesuffix("_accuracy").replace("_", " ").capitalize(): value
    for key, value in baselines.items()
    if key.endswith("_accuracy") and value is not None
  }


def _caution(members: Sequence[Member]) -> str:
  seeds = [len(family.accuracies(m)) for m in members if family.accuracies(m)]
  if not seeds:
    return ""
  if max(seeds) == 1:
    return (
      "Each accuracy is one training run, so the spread between seeds is not"
      " known, and small differences may be chance."
    )
  runs = span(str(min(seeds)), str(max(seeds)))
  return (
    f"Accuracies are means over {runs} training seeds; bars in the plots go"
    " from the lowest to the highest."
  )
