import pytest
from msgspec.structs import replace

from hwnas_jax.io import records
from hwnas_jax.report import family, run, words

DEVICE = records.Device(
  platform="cpu", device_kind="cpu", cpu_model="Chip", cpu_cores=1
)


def member(latency_ms, accuracy, kind="member", predicted_ms=None):
  return records.Member(
    id=f"{kind}{latency_ms}",
    name=kind,
    kind=kind,
    condition=None,
    architecture={},
    params=1000,
    op_params=0,
    macs=0,
    latency=latency_ms and records.Measurement(latency_ms, 0.1),
    predicted_ms=predicted_ms,
    accuracies=records.Accuracies(accuracy, (accuracy,) if accuracy else ()),
  )


def text_of(members):
  made = records.Family(
    ops=(),
    choices=(),
    latency_batch_size=64,
    base_latency_ms=None,
    priced=(),
    members=tuple(members),
  )
  made_with = records.MadeWith({}, DEVICE, "chip")
  summary = words.summary(run.Run("r", made, made_with=made_with))
  return " ".join(summary).replace("\u202f", " ")


FAMILY = [member(1.0, 0.90), member(2.0, 0.97), member(3.0, 0.98)]


def test_front_keeps_what_is_not_beaten():
  worse = [member(2.5, 0.97), member(2.0, 0.95), member(None, 0.99)]
  front = family.pareto_front(FAMILY[::-1] + worse, family.latency_ms)
  assert front == FAMILY


def test_highlights_are_fastest_knee_and_slowest():
  by_role = family.highlights([*FAMILY, member(0.1, 0.99, "random")])
  assert by_role == dict(
    zip(("fastest", "knee", "slowest"), FAMILY, strict=True)
  )


@pytest.mark.parametrize("middle", [0.93, 0.94])
def test_no_knee_where_the_front_does_not_bend_up(middle):
  front = [FAMILY[0], member(2.0, middle), FAMILY[2]]
  assert "knee" not in family.highlights(front)


def test_highlights_of_few():
  assert family.highlights([]) == {}
  assert family.highlights(FAMILY[:1]) == {"fastest": FAMILY[0]}
  assert family.highlights([member(None, 0.9)]) == {}


def test_matched_wants_both_speed_and_accuracy():
  randoms = [
    member(2.0, 0.97, "random"),
    member(1.9, 0.95, "random"),
    member(9.0, 0.99, "random"),
    member(9.0, None, "random"),
  ]
  assert family.matched(FAMILY, randoms) == (1, 3)


def test_prediction_error():
  pairs = [(1.0, 1.1), (2.0, 1.8), (4.0, 4.8)]
  members = [member(t, 0.9, predicted_ms=p) for t, p in pairs]
  error = family.prediction_error(members)
  assert error == pytest.approx((0.1, 0.1, 1))
  assert family.prediction_error(members[:2]).spearman is None
  equal = [member(1.0, 0.9, predicted_ms=p) for p in (1.0, 2.0, 3.0)]
  assert family.prediction_error(equal).spearman is None


def test_summary_states_ranges_best_and_fastest():
  text = text_of(FAMILY)
  assert (
    "The search found 3 networks with latencies of 1.00–3.00 ms for a batch of"
    " 64, measured on Chip, 1 core." in text
  )
  assert "best test accuracy is 98.0 % (3.00 ms, 1 k parameters)" in text
  assert "The fastest, at 1.00 ms, reaches 90.0 %" in text
  assert "random" not in text
  assert "one training run" in text


def test_summary_compares_with_random_even_when_they_win():
  rival = [member(0.5, 0.99, "random"), member(3.5, 0.80, "random")]
  text = text_of(FAMILY + rival)
  assert "2 networks of random architecture: median test accuracy 89.5" in text
  assert "best 99.0 %" in text
  assert "For 1 of these 2" in text


def test_summary_of_several_seeds():
  seeds = replace(
    member(1.0, 0.9), accuracies=records.Accuracies(0.9, (0.89, 0.91))
  )
  assert "means over 2 training seeds" in text_of([seeds])


def test_summary_before_training():
  text = text_of([member(None, None)])
  assert "found 1 network, latency not measured." in text
  assert "None of them has been trained" in text


@pytest.mark.parametrize(
  "value,expected",
  [
    (None, "–"),
    (0.0621, "0.062 ms"),
    (0.6222, "0.622 ms"),
    (2.1, "2.10 ms"),
    (31.26, "31.3 ms"),
    (1234.5, "1234 ms"),
  ],
)
def test_ms(value, expected):
  assert words.ms(value).replace("\u202f", " ") == expected


@pytest.mark.parametrize(
  "value,expected",
  [
    (None, "–"),
    (999, "999"),
    (20_510, "20.5 k"),
    (3_349_342, "3.35 M"),
    (2.5e9, "2.5 G"),
  ],
)
def test_count(value, expected):
  assert words.count(value).replace("\u202f", " ") == expected


def test_span_has_the_unit_once():
  assert words.span(words.count(900e3), words.count(2e6)) == (
    "900\u202fk–2\u202fM"
  )
  assert words.span(words.ms(1), words.ms(2)) == "1.00–2.00\u202fms"
  assert words.span("3", "3") == "3"


def test_a_teacher_and_inherited_weights_are_named():
  assert "taught" not in text_of(FAMILY) and "started" not in text_of(FAMILY)
  *others, teacher = FAMILY
  taught = [
    replace(
      m,
      accuracies=replace(
        m.accuracies, teacher=records.Teacher(teacher.id, "d"), supernet="s"
      ),
    )
    for m in others
  ]
  text = text_of([*taught, replace(teacher, name="scale 0.1")])
  assert text.endswith(
    " scale 0.1, the largest member, was trained first and taught all others."
    " The trainings started from the supernet's weights."
  )
