"""Settling on a network by measuring, on devices that are made up."""

import numpy as np
import pytest

from hwnas_jax.derive import settle as settling
from hwnas_jax.derive.settle import (
  MAX_MEASURED,
  Candidate,
  Known,
  MeasuredCandidate,
  Settled,
  begin,
  correction,
  keeping,
  settle,
)
from hwnas_jax.io.records import Measurement


def make(genotype, place, predicted_ms):
  return Candidate(genotype, place, predicted_ms, "controller")


def candidates(*predicted_ms, first=2):
  """Best first, by default behind one that a budget excludes."""
  return [make((i,), first + i, ms) for i, ms in enumerate(predicted_ms)]


def within(pool):
  """Candidates by limit, as `settle` asks for them."""
  return lambda limit_ms: [c for c in pool if c.predicted_ms <= limit_ms]


def device(ratio, log=None):
  """A device that takes `ratio` times what was predicted, by genotype."""

  def measure(genotype):
    if log is not None:
      log.append(genotype[0])
    return Measurement(ratio[genotype[0]], 0.1)

  return measure


def test_a_first_answer_that_fits_and_fills_is_the_answer():
  pool, log = candidates(12.0, 9.5, 8.0), []
  answer = settle(pool, within(pool), 10.0, device([12, 9.6, 8], log), pool[1])
  assert answer.candidate is pool[1] and log == [1]
  assert answer.measured == Measurement(9.6, 0.1)


def test_steps_down_by_what_was_measured():
  pool, log = candidates(9.9, 9.0, 8.5, 4.0), []
  answer = settle(
    pool, within(pool), 10.0, device([12, 11, 10.3, 4.8], log), pool[0]
  )
  # 10 / (12 / 9.9) = 8.25 is left: only the last is predicted to fit.
  assert log == [0, 3] and answer.candidate is pool[3]


def test_steps_up_where_budget_is_left():
  pool, log = candidates(14.0, 9.0, 13.0, 7.0), []
  answer = settle(
    pool, within(pool), 10.0, device([11, 7, 9.9, 5], log), pool[1]
  )
  # 10 / (7 / 9) = 12.9 may fit: nothing is there, so the first stays.
  assert log == [1] and answer.candidate is pool[1]
  pool, log = candidates(14.0, 9.0, 12.5, 7.0), []
  answer = settle(
    pool, within(pool), 10.0, device([11, 7, 9.9, 5], log), pool[1]
  )
  assert log == [1, 2] and answer.candidate is pool[2]
  assert [c.genotype for c, _ in answer.tried] == [(1,), (2,)]


def test_candidates_are_asked_again_where_predictions_are_too_high():
  pool, asked, log = candidates(9.5, 12.0, 14.0), [], []

  def ask(limit_ms):
    asked.append(limit_ms)
    return within(pool)(limit_ms)

  answer = settle(pool[:1], ask, 10.0, device([7.6, 9.6, 11], log), pool[0])
  assert asked == [pytest.approx(12.5)]
  assert log == [0, 1] and answer.candidate is pool[1]


def test_candidates_are_not_asked_again_while_some_may_fill_the_budget():
  pool, asked, log = candidates(9.9, 9.8, 9.0, 9.5), [], []
  # By 10.4 for 9.9 the second takes 10.3 ms, and the third 9.5 ms.
  measure = device([10.4, 10.3, 9.4, 9.9], log)
  answer = settle(pool, asked.append, 10.0, measure, pool[0])
  assert not asked and log == [0, 2]
  assert answer.candidate is pool[2]


def test_a_network_is_corrected_by_the_one_most_like_it():
  alike, other = make((0, 0, 1), 2, 8.0), make((1, 1, 0), 3, 8.0)
  slow, fast = make((0, 0, 0), 4, 9.9), make((1, 1, 1), 5, 7.0)
  medians_ms = {slow.genotype: 14.0, fast.genotype: 7.0, other.genotype: 9.5}
  measure = lambda g: Measurement(medians_ms[g], 0.1)  # noqa: E731
  pool = [alike, other, slow, fast]
  answer = settle(pool, within(pool), 10.0, measure, slow)
  # 8 * 14 / 9.9 is too slow for the first, which is never measured.
  assert [c for c, _ in answer.tried] == [slow, fast, other]
  assert answer.candidate is other


def test_what_was_measured_before_corrects_the_first_and_the_next():
  alike, other = make((0, 0, 1), 2, 8.0), make((1, 1, 0), 3, 8.0)
  before = [
    Known((0, 0, 0), 5.0, 7.0),
    Known((1, 1, 1), 5.0, 5.5),
  ]
  assert begin([alike, other], 10.0, 1.1) is alike
  # 8 * 7 / 5 is too slow, 8 * 5.5 / 5 * 1.1 is not.
  assert begin([alike, other], 10.0, 1.1, before) is other
  # Nothing keeps it: what is predicted fastest.
  assert begin([alike, other], 6.0, 1.1, before) is other
  measure = lambda g: Measurement(10.5 if g == (1, 1, 0) else 9.0, 0.1)  # noqa: E731
  with pytest.raises(ValueError, match="no network"):
    settle([alike, other], within([alike, other]), 10.0, measure, other, before)


def test_the_best_of_all_is_no_answer_where_another_fills_the_budget():
  # Judges rank small networks above large ones wrongly.
  pool, log = candidates(3.0, 9.5, first=1), []
  answer = settle(pool, within(pool), 10.0, device([3, 9.5], log), pool[0])
  assert log == [0, 1] and answer.candidate is pool[1]
  pool, log = candidates(6.0, 4.0, 9.5, first=1), []
  answer = settle(pool, within(pool), 10.0, device([6, 4, 9], log), pool[1])
  assert log == [1, 2] and answer.candidate is pool[2]


def test_where_nothing_fills_the_budget_the_best_is_the_answer():
  pool, log = candidates(8.8, 6.0, 5.0, 8.9), []
  measure = device([8.8, 6, 5, 8.9], log)
  # The slowest would use more of it, and is the worst.
  answer = settle(pool, within(pool), 10.0, measure, pool[1])
  assert log == [1, 0] and answer.candidate is pool[0]
  # Of those that fill it the best is the answer, though a better one fits.
  pool, log = candidates(6.0, 7.0, 9.5, 9.6), []
  measure = device([6, 7, 9.5, 9.6], log)
  answer = settle(pool, within(pool), 10.0, measure, pool[0])
  assert log == [0, 2] and answer.candidate is pool[2]


def test_begins_with_the_best_that_is_predicted_to_fill_the_budget():
  ranked = candidates(3.0, 12.0, 9.2, 9.9)
  assert begin(ranked, 10.0, 1.0) is ranked[2]
  # With a margin of 1.05 the last would be over; of 1.2 none fills it.
  assert begin(ranked, 10.0, 1.05) is ranked[2]
  assert begin(ranked, 10.0, 1.2) is ranked[0]
  # 8.6 times the margin uses enough of the budget, 9.2 does so without it.
  ranked = candidates(8.6, 9.2)
  assert begin(ranked, 10.0, 1.05) is ranked[1]
  assert begin(ranked, 10.0, 1.1) is ranked[0]
  assert begin(ranked, 2.0, 1.0) is ranked[0]


def test_what_does_not_fit_into_memory_corrects_nothing():
  pool = candidates(9.9, 9.8)
  answer = settle(pool, within(pool), 10.0, device([np.inf, 9.8]), pool[0])
  assert answer.candidate is pool[1]


def test_nothing_that_keeps_the_budget_is_no_answer():
  pool = candidates(9.0, 4.0)
  with pytest.raises(ValueError, match=r"keeps 5 ms: 9 \(predicted 9\), 8 \(p"):
    settle(pool, lambda ms: pool, 5.0, device([9, 8]), pool[0])


def test_measuring_ends():
  log = []
  pool = candidates(*np.linspace(10, 9, 50))
  slow = lambda g: (log.append(g), Measurement(10.001, 0.1))[1]  # noqa: E731
  with pytest.raises(ValueError, match="no network that was measured keeps"):
    settle(pool, within(pool), 10.0, slow, pool[0])
  assert len(log) <= MAX_MEASURED


def test_the_best_that_keep_the_budget_are_kept():
  pool, log = candidates(9.9, 9.0, 8.0, 7.0, 6.0, 5.0), []
  measure = device([12, 9.5, 8, 10.5, 6, 5], log)
  settled = settle(pool, within(pool), 10.0, measure, pool[1])
  assert log == [1] and settled.candidate is pool[1]
  others = [pool[0], *pool[2:]]
  kept = keeping(others, 10.0, measure, 3, settled)
  # The first is predicted too slow: 9.9 * 9.5 / 9. The fourth proves to be.
  assert log == [1, 2, 3, 4]
  assert kept.candidates == [pool[1], pool[2], pool[4]]
  assert [t.candidate for t in kept.tried] == [pool[i] for i in log]
  # With one, nothing more is measured.
  assert keeping(others, 10.0, measure, 1, settled).candidates == [pool[1]]
  assert log == [1, 2, 3, 4]


def test_the_answer_is_kept_and_looking_for_more_ends():
  pool = candidates(*np.linspace(9.9, 9, 50))
  log, last = [], pool[-1]
  slow = lambda g: (log.append(g), Measurement(10.001, 0.1))[1]  # noqa: E731
  done = MeasuredCandidate(last, Measurement(9.0, 0.1))
  kept = keeping(pool[:-1], 10.0, slow, 4, Settled(*done, [done]))
  assert kept.candidates == [last] and len(log) <= 4 + MAX_MEASURED


def test_what_was_measured_corrects_the_table():
  known = [Known((i,), 2.0, ms) for i, ms in enumerate((2.6, 3.0, 3.2))]
  assert correction(known) == 1.5
  assert correction([]) == 1.0


def test_a_limit_of_memory_is_not_taken_for_a_busy_device():
  pool = candidates(9.0, 8.0)
  message = "2 of 2 networks .* need more memory than the limit: allow more"
  with pytest.raises(ValueError, match=f"^{message}"):
    settle(pool, within(pool), 10.0, device([np.inf, np.inf]), pool[0])
  message = "^1 of 2 networks .* the limit, and no network .* keeps 10 ms: 11"
  with pytest.raises(ValueError, match=message):
    settle(pool, within(pool), 10.0, device([np.inf, 11.0]), pool[0])


def test_similar_networks_correct_most():
  known = [Known((0, 0, 0, 1), 1.0, 1.21), Known((1, 1, 1, 0), 2.0, 2.0)]
  # Weights 1/4 and 1/16 of log 1.21 and log 1.
  expected_ms = 10.0 * 1.21**0.8
  found_ms = settling._corrected_ms(make((0, 0, 0, 0), 1, 10.0), known)
  assert found_ms == pytest.approx(expected_ms)


def test_a_device_that_is_faster_than_before_is_so_for_all():
  before = [Known((0, 0), 1.0, 1.3), Known((1, 1), 1.0, 1.3)]
  now = [Known((0, 1), 2.0, 1.6)]
  for genotype in ((0, 1), (1, 0)):
    found_ms = settling._corrected_ms(make(genotype, 1, 10.0), before, now)
    assert found_ms == pytest.approx(8.0)
