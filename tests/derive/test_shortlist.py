"""Shortlist, ranking and settling, on arrays and devices that are made up."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.core.types import ABSENT
from hwnas_jax.derive import exact, shortlist
from hwnas_jax.derive.exact import Constraint, best
from hwnas_jax.derive.shortlist import Candidate, Measurement
from hwnas_jax.nets.models import make_supernet
from hwnas_jax.spaces import darts

NET = darts.Darts(("skip_connect", "avg_pool_3x3"), 2, 2, 4, (8, 8, 1), 3)
SPACE = NET.space()


def test_the_reference_device_is_the_uniform_point():
  reference = np.array([[0.0, 1.0, 2.0], [0.0, 3.0, 5.0]])
  simplex, residual = shortlist.simplex_of(4 * reference, reference, (1, 2))
  np.testing.assert_allclose(simplex, [0.5, 0.5])
  assert residual == pytest.approx(0.0, abs=1e-12)


def test_a_dearer_operation_gets_the_larger_coordinate():
  reference = np.array([[0.0, 1.0, 2.0], [0.0, 3.0, 6.0]])
  prices = reference * [1.0, 3.0, 1.0]
  simplex, residual = shortlist.simplex_of(prices, reference, (1, 2))
  np.testing.assert_allclose(simplex, [0.75, 0.25])
  assert residual < 1e-12
  prices[0, 1] = 0.0  # cheap at one choice only: no factor says that
  assert shortlist.simplex_of(prices, reference, (1, 2))[1] > 0.1


def test_negative_sums_count_as_nothing_and_all_of_them_are_refused():
  reference = np.ones((2, 2))
  prices = np.array([[-1.0, 2.0], [0.5, 2.0]])
  np.testing.assert_allclose(
    shortlist.simplex_of(prices, reference, (0, 1))[0], [0.0, 1.0]
  )
  with pytest.raises(ValueError, match="no operation above 0"):
    shortlist.simplex_of(-reference, reference, (0, 1))


def test_a_shortlist_keeps_budgets_at_every_scale():
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(4, *SPACE.shape))
  cost = rng.gamma(1.0, 1.0, SPACE.shape)
  limit = Constraint("latency", cost, 1.0, 1.0 + cost.mean(1).sum())
  found = shortlist.shortlist(SPACE, "argmax", logits, [limit], per_scale=3)
  assert 3 <= len(found) <= 12 and len(set(found)) == len(found)
  for genotype in found:
    spent = 1.0 + sum(cost[e, o] for e, o in enumerate(genotype))
    assert spent <= limit.budget
  nothing = limit._replace(budget=0.5)
  assert shortlist.shortlist(SPACE, "argmax", logits, [nothing]) == []


@pytest.mark.parametrize("rule", ["argmax", "top_k"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_aims_at_the_likeliest_that_takes_the_target(rule, share):
  rng = np.random.default_rng(1)
  logits, cost = rng.normal(size=SPACE.shape), rng.gamma(1.0, 1.0, SPACE.shape)
  pool = best(SPACE, rule, shortlist.log_softmax(logits), [], 100_000)
  timed = Constraint("latency", cost, 0.5, 0.0)
  spent = [exact.spent(timed, g) for g in pool]  # likeliest first
  timed = timed._replace(budget=float(np.quantile(spent, share)))
  found = shortlist.aim(SPACE, logits, rule=rule, timed=timed)
  near = [
    g
    for g, ms in zip(pool, spent, strict=True)
    if 0.98 * timed.budget <= ms <= timed.budget
  ]
  wide = [
    g
    for g, ms in zip(pool, spent, strict=True)
    if 0.95 * timed.budget <= ms <= timed.budget
  ]
  assert found == (near or wide)[0]
  with pytest.raises(ValueError, match="no architecture keeps 0.4 ms"):
    shortlist.aim(SPACE, logits, rule=rule, timed=timed._replace(budget=0.4))


@pytest.mark.parametrize("rule", ["argmax", "top_k"])
def test_a_cap_gives_the_likeliest_that_keeps_it(rule):
  logits = np.random.default_rng(1).normal(size=SPACE.shape)
  logits[:, 0] += 3.0  # skips
  pool = best(SPACE, rule, shortlist.log_softmax(logits), [], 100_000)
  assert pool[0].count(0) > 2
  counts = np.zeros(SPACE.shape)
  counts[:, 0] = 1.0

  def capped(most):
    cap = Constraint("skip_connect", counts, 0.0, most)
    return shortlist.capped(SPACE, logits, rule=rule, cap=cap)

  assert capped(most=len(pool[0])) == pool[0]
  for most in (2, 1, 0):
    assert capped(most=most) == next(g for g in pool if g.count(0) <= most)
  with pytest.raises(ValueError, match="more than -1 skip_connect"):
    capped(most=-1)


def test_ranks_by_the_loss_of_the_shared_weights():
  net = make_supernet(NET)
  weights = jax.jit(net.init)(jax.random.key(0))
  images = jax.random.normal(jax.random.key(1), (6, 8, 8, 1))
  labels = jnp.arange(6) % 3
  rows = np.random.default_rng(0).integers(ABSENT, 2, (20, SPACE.shape[0]))
  genotypes = [tuple(int(o) for o in row) for row in rows]
  found = shortlist.rank(
    net, len(SPACE.ops), weights, images, labels, genotypes
  )
  assert found.shape == (20,) and np.ptp(found) > 1e-3
  for i in (0, 17):
    mix = jnp.asarray(rows[i][:, None] == np.arange(2), jnp.float32)
    log_p = jax.nn.log_softmax(net.apply(weights, mix, images))
    expected = -log_p[jnp.arange(6), labels].mean()
    np.testing.assert_allclose(found[i], expected, rtol=1e-4)


NEVER = -1.0  # no candidate is as good


def candidates(*predicted_ms):
  """Best first; the genotype is the position."""
  return [Candidate((i,), i, ms) for i, ms in enumerate(predicted_ms)]


def within(found):
  """Candidates by limit, as `settle` asks for them."""
  return lambda limit_ms: [c for c in found if c.predicted_ms <= limit_ms]


def device(ratio, log=None):
  """A device that takes `ratio` times what was predicted, by genotype."""

  def measure(genotype):
    if log is not None:
      log.append(genotype[0])
    return Measurement(ratio[genotype[0]], 0.1)

  return measure


def test_a_first_answer_that_fits_and_fills_is_the_answer():
  found, log = candidates(12.0, 9.5, 8.0), []
  answer = shortlist.settle(
    within(found), 10.0, device([12, 9.6, 8], log), found[1], NEVER
  )
  assert answer.candidate is found[1] and log == [1]
  assert answer.measured == Measurement(9.6, 0.1)


def test_steps_down_by_what_was_measured():
  found, log = candidates(9.9, 9.0, 8.5, 4.0), []
  answer = shortlist.settle(
    within(found), 10.0, device([12, 11, 10.3, 4.8], log), found[0], NEVER
  )
  # 10 / (12 / 9.9) = 8.25 is left: only the last is predicted to fit.
  assert log == [0, 3] and answer.candidate is found[3]


def test_steps_up_where_budget_is_left():
  found, log = candidates(14.0, 9.0, 13.0, 7.0), []
  answer = shortlist.settle(
    within(found), 10.0, device([11, 7, 9.9, 5], log), found[1], NEVER
  )
  # 10 / (7 / 9) = 12.9 may fit: nothing is there, so the first stays.
  assert log == [1] and answer.candidate is found[1]
  found, log = candidates(14.0, 9.0, 12.5, 7.0), []
  answer = shortlist.settle(
    within(found), 10.0, device([11, 7, 9.9, 5], log), found[1], NEVER
  )
  assert log == [1, 2] and answer.candidate is found[2]
  assert [c.genotype for c, _ in answer.tried] == [(1,), (2,)]


def test_candidates_are_asked_again_where_predictions_are_too_high():
  found, asked, log = candidates(9.5, 12.0, 14.0), [], []

  def ask(limit_ms):
    asked.append(limit_ms)
    return within(found)(limit_ms)

  answer = shortlist.settle(
    ask, 10.0, device([7.6, 9.6, 11], log), found[0], NEVER
  )
  assert asked == [pytest.approx(12.5)]
  assert log == [0, 1] and answer.candidate is found[1]


def test_a_network_is_corrected_by_the_one_most_like_it():
  alike, other = Candidate((0, 0, 1), 0, 8.0), Candidate((1, 1, 0), 1, 8.0)
  slow, fast = Candidate((0, 0, 0), 2, 9.9), Candidate((1, 1, 1), 3, 7.0)
  known = {slow.genotype: 14.0, fast.genotype: 7.0, other.genotype: 9.5}
  measure = lambda g: Measurement(known[g], 0.1)  # noqa: E731
  pool = [alike, other, slow, fast]
  answer = shortlist.settle(within(pool), 10.0, measure, slow, NEVER)
  # 8 * 14 / 9.9 is too slow for the first, which is never measured.
  assert [c for c, _ in answer.tried] == [slow, fast, other]
  assert answer.candidate is other


def test_what_was_measured_before_corrects_the_first_and_the_next():
  alike, other = Candidate((0, 0, 1), 0, 8.0), Candidate((1, 1, 0), 1, 8.0)
  known = [(Candidate((0, 0, 0), 0, 5.0), Measurement(7.0, 0.1))]
  known += [(Candidate((1, 1, 1), 0, 5.0), Measurement(5.5, 0.1))]
  assert shortlist.begin([alike, other], 10.0, 1.1) is alike
  # 8 * 7 / 5 is too slow, 8 * 5.5 / 5 * 1.1 is not.
  assert shortlist.begin([alike, other], 10.0, 1.1, known) is other
  # Nothing keeps it: what is predicted fastest.
  assert shortlist.begin([alike, other], 6.0, 1.1, known) is other
  measure = lambda g: Measurement(10.5 if g == (1, 1, 0) else 9.0, 0.1)  # noqa: E731
  with pytest.raises(ValueError, match="no network"):
    shortlist.settle(within([alike, other]), 10.0, measure, other, NEVER, known)


def test_what_no_budget_would_change_needs_no_step_up():
  found, log = candidates(3.0, 9.5), []
  answer = shortlist.settle(
    within(found), 10.0, device([3, 9.5], log), found[0], 0.0
  )
  assert log == [0] and answer.candidate is found[0]
  answer = shortlist.settle(
    within(found), 10.0, device([3, 9.5], log), found[0], NEVER
  )
  assert log == [0, 0, 1] and answer.candidate is found[1]


def test_what_no_budget_would_change_is_tried_where_it_may_fit():
  found, log = candidates(6.0, 4.0, 9.5), []
  answer = shortlist.settle(
    within(found), 10.0, device([6, 4, 9], log), found[1], 0.0
  )
  # The third fills the budget; the first is what would be had without one.
  assert log == [1, 0] and answer.candidate is found[0]


def test_what_does_not_fit_into_memory_corrects_nothing():
  found = candidates(9.9, 9.8)
  answer = shortlist.settle(
    within(found), 10.0, device([np.inf, 9.8]), found[0], NEVER
  )
  assert answer.candidate is found[1]


def test_nothing_that_keeps_the_budget_is_no_answer():
  found = candidates(9.0, 4.0)
  with pytest.raises(ValueError, match=r"keeps 5 ms: 9 \(predicted 9\), 8 \(p"):
    shortlist.settle(lambda ms: found, 5.0, device([9, 8]), found[0], NEVER)


def test_measuring_ends():
  log = []
  found = candidates(*np.linspace(10, 9, 50))
  slow = lambda g: (log.append(g), Measurement(10.001, 0.1))[1]  # noqa: E731
  with pytest.raises(ValueError, match="no network that was measured keeps"):
    shortlist.settle(within(found), 10.0, slow, found[0], NEVER)
  assert len(log) <= shortlist.MAX_MEASURED
