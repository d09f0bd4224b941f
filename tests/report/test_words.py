import pytest

from hwnas_jax.report import family, run, words


def member(latency, accuracy, kind="member", **rest):
  return {
    "id": f"{kind}{latency}",
    "kind": kind,
    "latency": None if latency is None else {"median_ms": latency},
    "test_accuracy": accuracy,
    "test_accuracies": [] if accuracy is None else [accuracy],
    "params": 1000,
    **rest,
  }


def run_with(members, **rest):
  made = {"members": members, "latency_batch_size": 64, **rest}
  device = {"cpu_model": "Chip", "cpu_cores": 1}
  return run.Run("r", made, {}, "", {}, device, "", [], {}, {})


def text_of(members, **rest):
  text = " ".join(words.summary(run_with(members, **rest)))
  return text.replace("\u202f", " ")


FAMILY = [member(1.0, 0.90), member(2.0, 0.97), member(3.0, 0.98)]


def test_front_keeps_what_is_not_beaten():
  worse = [member(2.5, 0.97), member(2.0, 0.95), member(None, 0.99)]
  front = family.pareto_front(FAMILY[::-1] + worse, family.latency_ms)
  assert front == FAMILY


def test_highlights_are_cheapest_knee_and_dearest():
  found = family.highlights([*FAMILY, member(0.1, 0.99, "random")])
  assert found == dict(
    zip(("cheapest", "knee", "dearest"), FAMILY, strict=True)
  )


@pytest.mark.parametrize("middle", [0.93, 0.94])
def test_no_knee_where_the_front_does_not_bend_up(middle):
  front = [FAMILY[0], member(2.0, middle), FAMILY[2]]
  assert "knee" not in family.highlights(front)


def test_highlights_of_few():
  assert family.highlights([]) == {}
  assert family.highlights(FAMILY[:1]) == {"cheapest": FAMILY[0]}
  assert family.highlights([member(None, 0.9)]) == {}


def test_matched_wants_both_speed_and_accuracy():
  baselines = [
    member(2.0, 0.97, "random"),
    member(1.9, 0.95, "random"),
    member(9.0, 0.99, "random"),
    member(9.0, None, "random"),
  ]
  assert family.matched(FAMILY, baselines) == (1, 3)


def test_prediction_error():
  pairs = [(1.0, 1.1), (2.0, 1.8), (4.0, 4.8)]
  members = [member(t, 0.9, predicted_ms=p) for t, p in pairs]
  error, rank = family.prediction_error(members)
  assert error == pytest.approx(0.1) and rank == pytest.approx(1)
  assert family.prediction_error(members[:2])[1] is None
  equal = [member(1.0, 0.9, predicted_ms=p) for p in (1.0, 2.0, 3.0)]
  assert family.prediction_error(equal)[1] is None


def test_summary_states_ranges_best_and_fastest():
  text = text_of(FAMILY)
  assert (
    "3 networks, 1.00–3.00 ms for a batch of 64, measured on Chip, 1" in text
  )
  assert "best test accuracy is 98.0 % (3.00 ms, 1 k parameters)" in text
  assert "The fastest, at 1.00 ms, reaches 90.0 %" in text
  assert "Random" not in text
  assert "one training run" in text


def test_summary_compares_with_random_even_when_they_win():
  rival = [member(0.5, 0.99, "random"), member(3.5, 0.80, "random")]
  text = text_of(
    FAMILY + rival, baselines={"logistic_regression_accuracy": 0.5}
  )
  assert "Random architectures (2): median test accuracy 89.5 %" in text
  assert "best 99.0 %" in text
  assert "For 1 of these 2" in text
  assert "Logistic regression: 50.0 %." in text


def test_summary_of_several_seeds():
  seeds = member(1.0, 0.9, test_accuracies=[0.89, 0.91])
  assert "means over 2 training seeds" in text_of([seeds])


def test_summary_before_training():
  text = text_of([member(None, None)])
  assert "1 network, latency not measured." in text
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
