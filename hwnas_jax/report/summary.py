"""A run's findings in sentences that hold for any outcome; plain text."""

from collections.abc import Sequence

from hwnas_jax.io.records import Family, Member
from hwnas_jax.report import family, verdict, words
from hwnas_jax.report.run import Run


def summary(run: Run) -> list[str]:
  """A summary of the run, who wins first.

  Returns:
    Paragraphs.
  """
  searched = family.searched(run.family.members)
  paragraphs = [
    *verdict.sentences(run.family),
    " ".join([_latencies(run, searched), *_best(searched)]),
    " ".join([*_left_out(run.family), _seeds(run.family.members)]),
    _helped(run.family.members),
  ]
  return [text for text in paragraphs if text.strip()]


def _latencies(run: Run, searched: Sequence[Member]) -> str:
  times = [t for m in searched if (t := m.latency_ms) is not None]
  start = f"The search found {words.networks(len(searched))}"
  if not times:
    return f"{start}, latency not measured."
  return (
    f"{start} with latencies of {words.extent(times, words.ms)} for a batch of"
    f" {run.family.latency_batch_size}, measured on {run.device_name}."
  )


def _best(searched: Sequence[Member]) -> list[str]:
  trained = [m for m in searched if family.accuracy(m) is not None]
  if not trained:
    return ["None of them has been trained and tested yet."]
  best = max(trained, key=lambda m: family.accuracy(m) or 0)
  sentences = [
    f"The best test accuracy is {words.percent(family.accuracy(best))}"
    f" ({words.ms(best.latency_ms)}, {words.count(best.params)} parameters)."
  ]
  fastest = family.highlights(trained).get("fastest")
  if fastest and fastest is not best:
    sentences.append(
      f"The fastest, at {words.ms(fastest.latency_ms)}, reaches"
      f" {words.percent(family.accuracy(fastest))}."
    )
  return sentences


def _left_out(networks: Family) -> list[str]:
  """Which members were not trained, and which derived networks are dead."""
  sentences = []
  searched = family.searched(networks.members)
  untrained = [m for m in searched if family.accuracy(m) is None]
  if 0 < len(untrained) < len(searched):
    sentences.append(
      f"{len(untrained)} of the family's {words.networks(len(searched))}"
      " were measured but not trained (derive.num_trained)."
    )
  ids = {member.id for member in networks.members}
  dead = [point for point in networks.sweep if point.id not in ids]
  if dead:
    sentences.append(
      f"Alarm: at {len(dead)} of {len(networks.sweep)} conditions the search"
      " derives a dead network: nothing reaches its output, so it is left out."
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
    "Accuracies are means over"
    f" {words.span(str(min(counts)), str(max(counts)))} training seeds; bars in"
    " the plots go from the lowest to the highest."
  )


def _helped(members: Sequence[Member]) -> str:
  """What the networks were trained with besides images, in sentences."""
  teachers = {t.id for m in members if (t := m.accuracies.teacher)}
  sentences = [
    f"{m.name}, the largest trained member, was trained first and taught all"
    " others."
    for m in members
    if m.id in teachers
  ]
  if any(m.accuracies.supernet for m in members):
    sentences.append("The trainings started from the supernet's weights.")
  return " ".join(sentences)
