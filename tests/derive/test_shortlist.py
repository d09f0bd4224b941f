"""Shortlists: the device as a point, budgets, targets and caps."""

import numpy as np
import pytest

from hwnas_jax.derive import exact, shortlist
from hwnas_jax.derive.exact import Constraint, best
from hwnas_jax.spaces import darts

NET = darts.Darts(("skip_connect", "avg_pool_3x3"), 2, 2, 4, (8, 8, 1), 3)
SPACE = NET.space()


def test_the_reference_device_is_the_uniform_point():
  reference = np.array([[0.0, 1.0, 2.0], [0.0, 3.0, 5.0]])
  simplex, residual = shortlist.simplex_of(4 * reference, reference, (1, 2))
  np.testing.assert_allclose(simplex, [0.5, 0.5])
  assert residual == pytest.approx(0.0, abs=1e-12)


def test_a_more_expensive_operation_gets_the_larger_coordinate():
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


@pytest.fixture(scope="module")
def timed():
  """(logits of 4 scales, a latency budget, all architectures with theirs)."""
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(4, *SPACE.shape))
  cost = rng.gamma(1.0, 1.0, SPACE.shape)
  limit = Constraint("latency", cost, 1.0, 1.0 + cost.mean(1).sum())
  pool = best(SPACE, "argmax", cost, [], 100_000)
  return logits, limit, {g: exact.spent(limit, g) for g in pool}


def test_a_shortlist_fills_the_budget_at_every_scale(timed):
  logits, limit, latencies = timed
  found = shortlist.shortlist(SPACE, "argmax", logits, [limit], per_scale=3)
  assert 3 <= len(found) <= 12 and len(set(found)) == len(found)
  least = (1 - shortlist.BAND) * limit.budget
  band = [g for g, ms in latencies.items() if least <= ms <= limit.budget]
  expected = []
  for scores in shortlist.log_softmax(logits):
    chances = {g: sum(scores[e, o] for e, o in enumerate(g)) for g in band}
    expected.append(sorted(band, key=chances.get, reverse=True)[:3])
  in_turn = [likeliest[rank] for rank in range(3) for likeliest in expected]
  assert found == list(dict.fromkeys(in_turn))


def test_a_shortlist_is_not_long(timed, monkeypatch):
  logits, limit, _ = timed
  whole = shortlist.shortlist(SPACE, "argmax", logits, [limit], 3)
  monkeypatch.setattr(shortlist, "MOST", 5)
  found = shortlist.shortlist(SPACE, "argmax", logits, [limit], 3)
  assert len(whole) > 5 and found == whole[:5]
  # Without a latency there is nothing to fill.
  other = limit._replace(name="params")
  (likeliest, *_) = shortlist.shortlist(SPACE, "argmax", logits[:1], [other])
  assert likeliest == best(SPACE, "argmax", logits[0], [other])[0]


def test_where_few_fill_the_budget_the_slowest_are_listed(timed):
  logits, limit, latencies = timed
  fastest = min(latencies.values())
  low = limit._replace(budget=fastest * 1.02)
  fits = {g for g, ms in latencies.items() if ms <= low.budget}
  found = shortlist.shortlist(SPACE, "argmax", logits, [low], len(fits) + 1)
  assert 1 <= len(fits) <= shortlist.MOST and set(found) == fits
  high = limit._replace(budget=2 * max(latencies.values()))  # an empty band
  found = shortlist.shortlist(SPACE, "argmax", logits, [high])
  slowest = sorted(latencies, key=latencies.get)[-shortlist.MOST :]
  assert set(found) == set(slowest)
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
