"""The largest architectures that keep a budget, against enumeration."""

import itertools

import numpy as np
import pytest

from hwnas_jax.costs import counts
from hwnas_jax.derive import capacity
from hwnas_jax.derive.exact import Constraint, spent
from hwnas_jax.spaces.darts import Darts
from hwnas_jax.spaces.nasbench201 import NasBench201

NB201 = NasBench201(1, 4, (8, 8, 3), 3)
DARTS = Darts(("none", "skip_connect", "sep_conv_3x3"), 2, 2, 4, (8, 8, 1), 3)


def _limit(net, share):
  """A budget of random prices, at a share of the largest sum."""
  cost = np.random.default_rng(0).gamma(2.0, 1.0, net.space().shape)
  return Constraint("latency", cost, 1.0, 1.0 + share * cost.max(1).sum())


@pytest.mark.parametrize("share", [0.35, 0.6, 1.0])
def test_the_first_is_the_largest_of_all_that_fit(share):
  limit = _limit(NB201, share)
  rng = np.random.default_rng(1)
  genotypes = capacity.largest(NB201, "argmax", [limit], 20)
  assert all(spent(limit, g) <= limit.budget for g in genotypes)
  drawn = [tuple(map(int, rng.integers(0, 5, 6))) for _ in range(300)]
  fitting = [g for g in drawn if spent(limit, g) <= limit.budget]
  sizes = capacity.macs(NB201, genotypes)
  assert sizes[0] >= capacity.macs(NB201, fitting).max()
  assert list(sizes) == sorted(sizes, reverse=True)


@pytest.mark.parametrize("share", [0.25, 0.35, 0.5])
def test_they_are_the_largest_functions_of_all(share):
  """Where little fits, much of what is large does not reach the output."""
  limit = _limit(NB201, share)
  every = itertools.product(range(5), repeat=6)
  fitting = [g for g in every if spent(limit, g) <= limit.budget]
  functions = sorted({capacity.reaching(NB201, g) for g in fitting})
  expected = np.sort(capacity.macs(NB201, functions))[::-1][:20]
  genotypes = capacity.largest(NB201, "argmax", [limit], 20)
  assert len({capacity.reaching(NB201, g) for g in genotypes}) == 20
  assert list(capacity.macs(NB201, genotypes)) == list(expected)
  assert all(spent(limit, g) <= limit.budget for g in genotypes)


@pytest.mark.parametrize("seed", [0, 10, 51])
def test_the_largest_is_the_cheapest_of_its_size(seed):
  """Ten networks fit; of some the first found has operations to no end."""
  cost = np.random.default_rng(seed).gamma(2.0, 1.0, NB201.space().shape)
  every = list(itertools.product(range(5), repeat=6))
  summed = cost[np.arange(6), np.asarray(every)].sum(1)
  limit = Constraint("latency", cost, 0.0, np.sort(summed)[9])
  fitting = [g for g in every if spent(limit, g) <= limit.budget]
  sizes = capacity.macs(NB201, fitting)
  largest = [g for g, n in zip(fitting, sizes, strict=True) if n == sizes.max()]
  (found,) = capacity.largest(NB201, "argmax", [limit], 1)
  assert spent(limit, found) == min(spent(limit, g) for g in largest)


def test_of_equally_large_ones_the_faster_comes_first():
  # 3x3 convolutions fit everywhere but at one choice, where a skip and a pool
  # have no multiply-accumulates: the faster of the two is taken.
  space = NB201.space()
  cost = np.zeros(space.shape)
  skip, pool = (space.ops.index(o) for o in ("skip_connect", "avg_pool_3x3"))
  cost[0] = [9.0] * len(space.ops)
  for fast, slow in ((skip, pool), (pool, skip)):
    cost[0, fast], cost[0, slow] = 0.4, 0.6
    limit = Constraint("latency", cost, 0.0, 1.0)
    assert capacity.largest(NB201, "argmax", [limit], 9)[0][0] == fast


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_an_integer_program_agrees_with_enumeration(share):
  """Two edges a node are kept: no sum over one operation a choice."""
  limit = _limit(DARTS, share)
  space = DARTS.space()
  best = capacity.largest(DARTS, "top_k", [limit], 30)
  costs = counts.site_costs(space, counts.macs)
  size = space.cost_array(costs)

  def options(node):
    edges = np.flatnonzero(np.asarray(space.group) == node)
    for pair in itertools.combinations(edges, min(2, len(edges))):
      for ops in itertools.product((1, 2), repeat=len(pair)):
        yield dict(zip(pair, ops, strict=True))

  nodes = [list(options(n)) for n in np.unique(space.group)]
  sizes = []
  for parts in itertools.product(*nodes):
    chosen = {e: o for part in parts for e, o in part.items()}
    ms = limit.base + sum(limit.cost[e, o] for e, o in chosen.items())
    if ms <= limit.budget:
      sizes.append(sum(size[e, o] for e, o in chosen.items()))
  total = max(sum(size[e, o] for e, o in enumerate(g) if o >= 0) for g in best)
  assert total == pytest.approx(max(sizes))


def test_nothing_that_fits_is_nothing():
  limit = _limit(NB201, 1.0)._replace(budget=0.5)
  assert capacity.largest(NB201, "argmax", [limit], 5) == []
