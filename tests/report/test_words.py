"""Numbers in words, and what is read off a family."""

import pytest

from hwnas_jax.io import records
from hwnas_jax.report import family, words


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


def test_prediction_error():
  pairs = [(1.0, 1.1), (2.0, 1.8), (4.0, 4.8)]
  members = [member(t, 0.9, predicted_ms=p) for t, p in pairs]
  error = family.prediction_error(members)
  assert error == pytest.approx((0.1, 0.1, 1))
  assert family.prediction_error(members[:2]).spearman is None
  equal = [member(1.0, 0.9, predicted_ms=p) for p in (1.0, 2.0, 3.0)]
  assert family.prediction_error(equal).spearman is None


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


def test_an_accuracy_that_is_none_was_not_trained():
  assert words.accuracy(0.98765) == "98.77\u202f%"
  assert words.accuracy(None) == "not trained"
