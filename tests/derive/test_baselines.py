"""Baselines of a member: the largest and random networks of its cost."""

import doctest

import numpy as np
import pytest

from hwnas_jax.core.types import ABSENT
from hwnas_jax.derive import baselines, capacity
from hwnas_jax.derive.exact import Constraint, spent
from hwnas_jax.spaces import darts, rules
from hwnas_jax.spaces.nasbench201 import OPS, NasBench201, from_string

NB201 = NasBench201(1, 4, (8, 8, 3), 3)
DARTS = darts.Darts(darts.EIGHT, 1, 3, 4, (8, 8, 1), 10)
NONE = darts.EIGHT.index("none")


def cost_of(net, budget=0.0):
  """Random prices; `none` is free."""
  prices = np.random.default_rng(0).gamma(2.0, 1.0, net.space().shape)
  prices[:, net.ops.index("none")] = 0.0
  return Constraint("latency", prices, 1.0, budget)


def test_the_example_runs():
  ran = doctest.testmod(baselines)
  assert ran.attempted > 0 and ran.failed == 0


@pytest.mark.parametrize(
  ("size", "count", "expected"),
  [
    (8, 2, [0, 7]),
    (8, 3, [0, 4, 7]),
    (3, 6, [0, 0, 1, 1, 2, 2]),
    (1, 2, [0, 0]),
    (4, 0, []),
  ],
)
def test_members_are_spread_with_both_ends(size, count, expected):
  assert baselines.spread(size, count) == expected


@pytest.mark.parametrize("rule", rules.RULES)
def test_random_architectures_cost_what_the_member_costs(rule):
  """They are new, alive, and of those that the rule gives."""
  space, rng = DARTS.space(), np.random.default_rng(0)
  cost = cost_of(DARTS)
  cost = cost._replace(budget=1.0 + 0.4 * cost.cost.max(1).sum())
  taken, drawn = set(), []
  for _ in range(12):
    genotype = baselines.random(DARTS, rule, (cost,), taken, rng)
    drawn.append(genotype)
    taken.add(capacity.reaching(DARTS, genotype))
  assert len(taken) == 12
  for genotype in drawn:
    own = spent(cost, capacity.reaching(DARTS, genotype))
    assert 0.95 * cost.budget <= own <= cost.budget * (1 + 1e-6)
    assert DARTS.alive(genotype)
    kept = np.bincount(np.asarray(space.group)[np.array(genotype) != ABSENT])
    if rule == "top_k":
      assert set(kept) == {space.keep} and NONE not in genotype
    else:
      assert ABSENT not in genotype
  assert rule == "top_k" or any(NONE in genotype for genotype in drawn)


def test_random_architectures_are_spread_as_those_in_the_band():
  """Shares of operations, against all 15,625 cells that lie in it."""
  cost = cost_of(NB201)
  cost = cost._replace(budget=1.0 + 0.5 * cost.cost.max(1).sum())
  rng = np.random.default_rng(0)
  drawn = [
    baselines.random(NB201, "argmax", (cost,), set(), rng) for _ in range(150)
  ]
  cells = np.stack(
    np.meshgrid(*[range(5)] * 6, indexing="ij"), axis=-1
  ).reshape(-1, 6)
  sums = 1.0 + cost.cost[np.arange(6), cells].sum(1)
  cells = cells[(sums >= 0.95 * cost.budget) & (sums <= cost.budget)]
  assert len(cells) > 500
  shares = [
    np.bincount(np.ravel(rows), minlength=5) / np.size(rows)
    for rows in (cells, drawn)
  ]
  np.testing.assert_allclose(*shares, atol=0.12)


def test_a_random_architecture_is_as_near_as_the_space_allows():
  """Nothing costs less than the fastest one: the next costs more."""
  cost = cost_of(NB201)
  skips = np.where(np.arange(5) == OPS.index("skip_connect"), 0.1, 9.0)
  cost = Constraint("latency", np.tile(skips, (6, 1)), 1.0, 1.6)
  taken = {capacity.reaching(NB201, (OPS.index("skip_connect"),) * 6)}
  rng = np.random.default_rng(0)
  drawn = baselines.random(NB201, "argmax", (cost,), taken, rng)
  assert spent(cost, drawn) > 1.6 and NB201.alive(drawn)


def test_where_all_are_taken_there_is_none():
  net = darts.Darts(("skip_connect",), 1, 1, 4, (8, 8, 1), 10)
  cost = Constraint("latency", np.ones(net.space().shape), 1.0, 3.0)
  rng, only = np.random.default_rng(0), (0, 0)
  assert baselines.random(net, "argmax", (cost,), set(), rng) == only
  assert baselines.random(net, "argmax", (cost,), {only}, rng) is None


def test_the_largest_is_alive_and_keeps_every_budget():
  cost = cost_of(NB201)
  convs = np.tile([op == "nor_conv_3x3" for op in OPS], (6, 1)) * 1.0
  few = Constraint("convolutions", convs, 0.0, 2.0)
  cost = cost._replace(budget=1.0 + 0.5 * cost.cost.max(1).sum())
  genotype = baselines.largest(NB201, "argmax", cost, few)
  assert NB201.alive(genotype)
  assert spent(cost, genotype) <= cost.budget and spent(few, genotype) <= 2
  assert genotype.count(OPS.index("nor_conv_3x3")) == 2
  assert baselines.largest(NB201, "argmax", cost._replace(budget=0.5)) is None


def test_a_dead_largest_is_passed_over():
  """Convolutions fit on one edge alone, and from there nothing goes on."""
  cost = np.full((6, 5), 9.0)
  cost[:, OPS.index("none")] = 0.0
  cost[0, OPS.index("nor_conv_3x3")] = 1.0
  cost[3, OPS.index("skip_connect")] = 1.0
  limit = Constraint("latency", cost, 0.0, 2.0)
  skip = from_string("|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|")
  genotype = baselines.largest(NB201, "argmax", limit)
  assert capacity.reaching(NB201, genotype) == capacity.reaching(NB201, skip)
