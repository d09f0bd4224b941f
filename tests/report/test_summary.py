"""What a report says first: who wins, in any outcome."""

import pytest
from msgspec.structs import replace

from hwnas_jax.io import records
from hwnas_jax.io.records import Accuracies, Baseline, Measurement, SweepPoint
from hwnas_jax.report import beside, comparison, run, verdict
from hwnas_jax.report.summary import summary

DEVICE = records.Device(
  platform="cpu", device_kind="cpu", cpu_model="Chip", cpu_cores=1
)
HERE = records.Condition((1.0,), 1.0)


def network(name, kind, ms, *accuracies):
  mean = sum(accuracies) / len(accuracies) if accuracies else None
  return records.Member(
    id=name,
    name=name,
    kind=kind,
    condition=HERE if kind == "member" else None,
    architecture={},
    params=1000,
    op_params=0,
    macs=0,
    latency=ms and Measurement(ms, 0.1),
    accuracies=Accuracies(mean, accuracies),
  )


A, B = network("a", "member", 1.0, 0.90), network("b", "member", 2.0, 0.97)
LARGE = network("la", "largest", 1.02, 0.95), network("lb", "largest", 2, 0.978)
RANDOM = network("ra", "random", 0.98, 0.88), network("rb", "random", 2, 0.92)
BOTH = (
  Baseline("largest", "a", "la"),
  Baseline("largest", "b", "lb"),
  Baseline("random", "a", "ra"),
  Baseline("random", "b", "rb"),
)


def family_of(*members, baselines=BOTH, num_test=360, **fields):
  return records.Family(
    ops=(),
    choices=(),
    latency_batch_size=64,
    base_latency_ms=None,
    priced=(),
    members=members,
    baselines=baselines,
    num_test=num_test,
    **fields,
  )


def first(family):
  return verdict.sentences(family)[0].replace("\u202f", " ")


def text_of(family):
  made_with = records.MadeWith({}, DEVICE, "chip")
  lines = summary(run.Run("r", family, made_with=made_with))
  return " ".join(lines).replace("\u202f", " ")


ALL = family_of(A, B, *LARGE, *RANDOM, num_test=10_000)


def test_the_first_sentence_is_who_wins():
  """Each member against its own: -5 and -0.8 points, +2 and +5."""
  assert text_of(ALL).startswith(
    "At equal measured latency (baselines take 98–102 % of their member's), the"
    " family's 2 networks are 2.9 ± 0.6 points less accurate than the largest"
    " networks that fit and 3.5 ± 0.8 points more accurate than random ones."
    " Each member is compared with its own baselines, and differences are means"
    " over the members; ± is two standard errors of a test split of 10000"
    " examples, with one training seed."
  )


def test_the_error_of_one_seed_is_that_of_the_test_split():
  largest, _ = comparison.comparisons(ALL)
  variances = [
    sum(p * (1 - p) for p in pair) / 10_000
    for pair in ((0.90, 0.95), (0.97, 0.978))
  ]
  # No smaller for being a mean: all networks share the split.
  expected = sum(v**0.5 for v in variances) / 2
  assert largest.error == pytest.approx(expected) and not largest.seeds
  assert largest.difference == pytest.approx(-0.029)


def test_a_difference_within_the_noise_is_said_to_be_one():
  text = first(replace(ALL, num_test=100))
  assert (
    "are as accurate as the largest networks that fit within the noise"
    " (-2.9 ± 6.0 points) and as accurate as random ones within the noise"
    " (+3.5 ± 7.6 points)" in text
  )


def test_with_several_seeds_they_are_the_noise():
  a, ra = (
    network("a", "member", 1, 0.9, 0.92),
    network("ra", "random", 1, 0.8, 0.84),
  )
  family = family_of(a, ra, baselines=BOTH[2:3])
  (compared,) = comparison.comparisons(family)
  # Variances 0.0002 and 0.0008 of two seeds each.
  assert compared.seeds and compared.error == pytest.approx(0.0005**0.5)
  lines = verdict.sentences(family)
  assert "the family's network is 9.0 ± 4.5 points more accurate" in lines[0]
  assert lines[1].endswith("two standard errors over the training seeds.")


def test_several_baselines_of_a_member_are_their_mean():
  more = network("rc", "random", 1.0, 0.84)
  family = family_of(
    A, RANDOM[0], more, baselines=(BOTH[2], Baseline("random", "a", "rc"))
  )
  (compared,) = comparison.comparisons(family)
  assert compared.difference == pytest.approx(0.90 - 0.86)
  variances = [p * (1 - p) / 360 for p in (0.90, 0.88, 0.84)]
  expected = (variances[0] + sum(variances[1:]) / 4) ** 0.5
  assert compared.error == pytest.approx(expected)


def test_a_member_may_be_the_largest_itself():
  itself = Baseline("largest", "a", "a")
  family = family_of(A, B, LARGE[1], baselines=(itself, BOTH[1]))
  (compared,) = comparison.comparisons(family)
  assert compared.difference == pytest.approx(-0.004)
  assert "(1 of them is itself the largest)" in first(family)
  family = family_of(A, baselines=(itself,))
  assert first(family).endswith(
    "the family's network is itself the largest network that fits."
  )
  family = family_of(A, B, baselines=(itself, Baseline("largest", "b", "b")))
  assert "are themselves the largest networks that fit." in first(family)
  assert [[c.text for c in cells] for cells in beside.table(family).rows[0]][
    2
  ] == ["the member itself"]


def test_baselines_beside_some_members_only():
  family = family_of(A, B, *LARGE, RANDOM[0], baselines=BOTH[:3])
  assert "random ones (beside 1 of them)" in first(family)


def test_unequal_latency_is_not_called_equal():
  slow = network("ra", "random", 1.3, 0.88)
  text = first(family_of(A, slow, baselines=BOTH[2:3]))
  assert text.startswith(
    "At measured latencies that differ (baselines take 130 % of their"
  )
  text = first(replace(ALL, cost="params"))
  assert text.startswith("At equal parameters, not equal latency (baselines")
  unmeasured = [replace(m, latency=None) for m in (A, RANDOM[0])]
  text = first(family_of(*unmeasured, baselines=BOTH[2:3]))
  assert text.startswith("At equal predicted latency, the family's network is")


def test_without_the_size_of_the_test_split_nothing_is_called_noise():
  text = text_of(replace(ALL, num_test=0))
  assert "are 2.9 points less accurate than the largest" in text
  assert "how much accuracies vary was not recorded" in text
  assert "±" not in text


def test_what_was_not_trained_is_said():
  untrained = network("c", "member", 3.0)
  text = text_of(family_of(A, B, untrained, *LARGE, *RANDOM))
  assert "the family's 2 trained networks are" in text
  assert "1 of the family's 3 networks were measured but not trained" in text
  assert text_of(family_of(untrained, baselines=())).startswith(
    "No network was trained, so whether the search gains accuracy is not known."
  )
  text = text_of(
    family_of(A, network("ra", "random", 1.0), baselines=BOTH[2:3])
  )
  assert text.startswith("No baseline was trained beside the family")


def test_a_dead_network_is_an_alarm():
  sweep = [SweepPoint(name, HERE, name) for name in ("a", "gone", "gone")]
  text = text_of(family_of(A, baselines=(), sweep=tuple(sweep)))
  assert "Alarm: at 2 of 3 conditions the search derives a dead" in text
  assert "Alarm" not in text_of(ALL)


FAMILY = [
  network("x", "member", 1.0, 0.90),
  network("y", "member", 2.0, 0.97),
  network("z", "member", 3.0, 0.98),
]


def test_summary_states_ranges_best_and_fastest():
  text = text_of(family_of(*FAMILY, baselines=()))
  assert (
    "The search found 3 networks with latencies of 1.00–3.00 ms for a batch of"
    " 64, measured on Chip, 1 core." in text
  )
  assert "best test accuracy is 98.0 % (3.00 ms, 1 k parameters)" in text
  assert "The fastest, at 1.00 ms, reaches 90.0 %" in text
  assert "random" not in text
  assert "one training run" in text


def test_summary_of_several_seeds():
  seeds = network("x", "member", 1.0, 0.89, 0.91)
  text = text_of(family_of(seeds, baselines=()))
  assert "means over 2 training seeds" in text


def test_summary_before_training():
  text = text_of(family_of(network("x", "member", None), baselines=()))
  assert "found 1 network, latency not measured." in text
  assert "None of them has been trained" in text


def test_a_table_has_a_row_for_each_member_that_has_baselines():
  made = beside.table(ALL)
  assert made.heads == ["Member", "Its own", "Largest that fits", "Random"]
  rows = [[[c.text for c in cells] for cells in row] for row in made.rows]
  assert [row[0] for row in rows] == [["a"], ["b"]]
  texts = [cell.replace("\u202f", " ") for row in rows[0] for cell in row]
  assert texts[1:] == [
    "90.00 % at 1.00 ms",
    "95.00 % at 1.02 ms",
    "88.00 % at 0.980 ms",
  ]
  assert beside.names(ALL)["la"] == ["a"]
  assert beside.beside_html(family_of(A, baselines=())) == ""


def test_a_teacher_and_inherited_weights_are_named():
  text = text_of(family_of(A, B, *LARGE, *RANDOM))
  assert "taught" not in text and "started" not in text
  taught = [
    replace(
      m,
      accuracies=replace(
        m.accuracies, teacher=records.Teacher(B.id, "d"), supernet="s"
      ),
    )
    for m in (A, *LARGE, *RANDOM)
  ]
  text = text_of(family_of(*taught, replace(B, name="scale 0.1")))
  assert text.endswith(
    "scale 0.1, the largest trained member, was trained first and taught all"
    " others. The trainings started from the supernet's weights."
  )
