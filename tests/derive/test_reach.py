"""What a space reaches: against all of its architectures, and by hand."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.derive import reach
from hwnas_jax.spaces import darts, rules
from hwnas_jax.spaces.spec import Site, Space

# Two groups, of three choices and of one; `none` is not always the cheapest.
SMALL = Space(
  ops=("a", "none", "b"),
  choices=("0", "1", "2", "3"),
  sites=(((Site("any", 1, 1, 1, 1),),) * 3,) * 4,
  fixed=(),
  group=(0, 0, 0, 1),
  keep=2,
)
REFERENCE = np.random.default_rng(0).uniform(0.0, 2.0, SMALL.shape)
EIGHT = darts.make_space(darts.Darts(darts.EIGHT, 8, 4, 16, (32, 32, 3), 10))


def architectures(rule):
  """All masks that the rule gives, found by trying many rankings."""
  logits = np.random.default_rng(1).standard_normal((4000, *SMALL.shape), "f4")
  mask = jax.vmap(lambda rows: rules.MASKS[rule](SMALL, rows))
  return np.unique(np.asarray(mask(jnp.asarray(logits))), axis=0)


@pytest.mark.parametrize(("rule", "size"), [("argmax", 81), ("top_k", 24)])
def test_bounds_and_size_are_those_of_all_architectures(rule, size):
  found = architectures(rule)
  assert len(found) == size
  assert math.isclose(10 ** reach.log10_size(SMALL, rule), size)
  latencies = 1.5 + (found * REFERENCE).sum((1, 2))
  bounds = reach.bounds_ms(SMALL, REFERENCE, 1.5, rule)
  np.testing.assert_allclose(bounds, (latencies.min(), latencies.max()))
  middle = reach.typical_ms(SMALL, REFERENCE, 1.5, rule)
  np.testing.assert_allclose(middle, np.median(latencies), rtol=0.05)


def test_every_rule_is_known():
  assert set(rules.MASKS) == set(rules.RULES) == {"argmax", "top_k"}


def test_the_darts_space_has_its_published_size():
  """(2 of 2, 3, 4, 5 edges) x 7^2 a node, two cells (Liu et al. 2019)."""
  wanted = 2 * sum(math.log10(math.comb(n, 2) * 49) for n in (2, 3, 4, 5))
  assert math.isclose(reach.log10_size(EIGHT, "top_k"), wanted)
  assert math.floor(wanted) == 18
  assert math.isclose(reach.log10_size(EIGHT, "argmax"), 28 * math.log10(8))


def test_top_k_never_counts_none():
  costs = np.ones(EIGHT.shape)
  costs[:, darts.EIGHT.index("none")] = 0.0
  found = reach.reach(EIGHT, costs, 2.0, "top_k")
  assert found[:3] == (18.0, 18.0, 18.0)  # 2 cells, 4 nodes, 2 edges
  found = reach.reach(EIGHT, costs, 2.0, "argmax")
  assert found.smallest_ms == 2.0 < found.typical_ms < found.largest_ms == 30.0


def test_it_says_so_in_a_line():
  line = str(reach.Reach(1.234, 2.5, 10.04, 18.04))
  assert "1.23 ms smallest, 2.5 ms typical, 10 ms largest" in line
  assert "10^18.0 architectures" in line and "\n" not in line


def test_what_a_choice_lacks_counts_nowhere():
  sites = (SMALL.sites[0][:2] + ((),), *SMALL.sites[1:])
  space = dataclasses.replace(SMALL, sites=sites)
  costs = REFERENCE.copy()
  costs[0, 2] = 100.0
  low, high = reach.bounds_ms(space, costs, 0.0, "argmax")
  rest = costs[1:]
  assert math.isclose(high, costs[0, :2].max() + rest.max(1).sum())
  assert math.isclose(low, costs[0, :2].min() + rest.min(1).sum())
  assert reach.typical_ms(space, costs, 0.0, "argmax") < high
  assert math.isclose(10 ** reach.log10_size(space, "argmax"), 2 * 27)
