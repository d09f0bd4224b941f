"""The exact discretiser equals brute force, and DARTS's rule when slack."""

import itertools

import numpy as np
import pytest

from hwnas_jax.core.types import ABSENT
from hwnas_jax.derive import exact
from hwnas_jax.derive.exact import Constraint, best
from hwnas_jax.derive.shortlist import log_softmax
from hwnas_jax.spaces import darts, rules
from hwnas_jax.spaces.spec import Space

OPS = ("none", "skip_connect", "sep_conv_3x3")
NET = darts.Darts(OPS, 2, 2, 4, (8, 8, 1), 3)  # 5 edges, one cell type
SPACE = darts.make_space(NET)
RULES = ("argmax", "top_k")


@pytest.fixture(autouse=True)
def as_a_program(monkeypatch):
  monkeypatch.setattr(exact, "ENUMERATED", 0)


def allowed(rule):
  """Every architecture of the rule, by brute force."""
  group = np.asarray(SPACE.group)
  none = OPS.index("none")
  for row in itertools.product(range(ABSENT, len(OPS)), repeat=5):
    kept = np.asarray(row) != ABSENT
    if rule == "argmax" and kept.all():
      yield row
    if rule == "top_k" and none not in row:
      if all(kept[group == g].sum() == SPACE.keep for g in set(group)):
        yield row


def total(values, row):
  return sum(values[e, o] for e, o in enumerate(row) if o != ABSENT)


def problem(seed, rule, tightness):
  rng = np.random.default_rng(seed)
  scores = log_softmax(rng.normal(size=SPACE.shape))
  rows = list(allowed(rule))
  constraints = []
  for name in ("latency", "params"):
    cost = rng.gamma(1.0, 1.0, SPACE.shape)
    costs = [total(cost, row) for row in rows]
    budget = 0.5 + float(np.quantile(costs, tightness))
    constraints.append(Constraint(name, cost, 0.5, budget))
  fits = [
    row
    for row in rows
    if all(c.base + total(c.cost, row) <= c.budget for c in constraints)
  ]
  return scores, constraints, sorted(fits, key=lambda r: -total(scores, r))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("tightness", [0.3, 0.7, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_equals_brute_force(rule, tightness, seed):
  scores, constraints, expected = problem(seed, rule, tightness)
  found = best(SPACE, rule, scores, constraints, 7)
  assert len(expected) > 1
  assert found == expected[:7]


@pytest.mark.parametrize("seed", range(3))
def test_enumeration_equals_the_program(seed, monkeypatch):
  scores, constraints, _ = problem(seed, "argmax", 0.5)
  by_program = best(SPACE, "argmax", scores, constraints, 5)
  monkeypatch.setattr(exact, "ENUMERATED", 3**5)
  assert best(SPACE, "argmax", scores, constraints, 5) == by_program


def test_gives_what_there_is_and_no_more():
  scores, _, _ = problem(0, "top_k", 1.0)
  everything = best(SPACE, "top_k", scores, [], 1000)
  assert sorted(everything) == sorted(allowed("top_k"))


@pytest.mark.parametrize("rule", RULES)
def test_nothing_that_fits_is_no_architecture(rule):
  scores, _, _ = problem(0, rule, 1.0)
  impossible = [Constraint("latency", np.ones(SPACE.shape), 1.0, 0.5)]
  assert best(SPACE, rule, scores, impossible, 3) == []


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(5))
def test_slack_budgets_leave_the_rule_itself(rule, seed):
  net = darts.Darts(darts.EIGHT, 3, 3, 4, (8, 8, 1), 3)
  space = net.space()
  logits = np.random.default_rng(seed).normal(size=space.shape)
  slack = [Constraint("latency", np.ones(space.shape), 0.0, 1e9)]
  (found,) = best(space, rule, log_softmax(logits), slack)
  assert found == rules.RULES[rule](space, logits)


def test_fewer_incoming_edges_than_kept_ones():
  net = darts.Darts(OPS, 2, 1, 4, (8, 8, 1), 3)
  space = Space(**{**vars(net.space()), "keep": 3})
  scores = log_softmax(np.zeros(space.shape))
  (found,) = best(space, "top_k", scores, [])
  assert ABSENT not in found


def test_an_unknown_rule_is_refused():
  with pytest.raises(ValueError, match="argmax or top_k"):
    best(SPACE, "sample", np.zeros(SPACE.shape), [])
