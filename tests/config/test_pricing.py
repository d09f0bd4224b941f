"""What a search prices: counts, targets, and rules that keep to them."""

import jax.numpy as jnp
import numpy as np
import pytest
from toy_config import small

from hwnas_jax.config import checks, pricing, problem
from hwnas_jax.costs import counts
from hwnas_jax.method.state import CostTable

# 4 choices that cost 0.5 to 2.5 ms, on a base of 1.
TABLE = CostTable(jnp.tile(jnp.array([0.5, 1.5, 2.5]), (4, 1)), jnp.ones(()))


def costs_of(config):
  nets = problem.make_nets(config)
  return pricing.make_costs(config, nets.supernet, nets.derived, None)


def test_the_paper_counts_sites():
  config = small(cost__name="paper", space__num_cells=8)
  edges = len(problem.make_nets(config).supernet.edges)
  reference = costs_of(config).reference
  # Eight cells: six normal, two reducing.
  assert reference[:edges].tolist() == [[6] * 3] * edges
  assert reference[edges:].tolist() == [[2] * 3] * edges


@pytest.mark.parametrize("name", list(counts.COUNTS))
def test_what_is_counted_is_of_the_derived_network(name):
  config = small(cost__name=name, derive__channels=8)
  space = problem.make_nets(config).derived.space()
  wanted = counts.site_costs(space, counts.COUNTS[name])
  costs = costs_of(config)
  np.testing.assert_allclose(costs.reference, space.cost_array(wanted))
  np.testing.assert_allclose(costs.base, space.base_cost(wanted))
  assert (
    costs.reference.max() > costs_of(small(cost__name=name)).reference.max()
  )


def aimed(target, name="dual_ascent", **fields):
  config = small(
    penalty__name=name,
    penalty__target=target,
    condition__name="fixed",
    derive__rule="argmax",
    **fields,
  )
  checks.check(config)
  return config, problem.make_nets(config).supernet.space()


@pytest.mark.parametrize(
  ("target", "wanted_ms"),
  [("5ms", 5.0), ("0.5x", 5.5), ("60%", 6.6), ("100%", 11.0), ("3ms", 3.0)],
)
def test_a_target_is_of_the_largest_architecture(target, wanted_ms):
  target_ms = pricing.make_target_ms(*aimed(target), TABLE)
  np.testing.assert_allclose(target_ms, wanted_ms, rtol=1e-6)


@pytest.mark.parametrize("target", ["2.9ms", "11.1ms", "10%", "1.01x"])
@pytest.mark.parametrize("name", ["hinge", "dual_ascent"])
def test_a_target_out_of_reach_is_refused_with_the_range(target, name):
  message = rf"penalty.target={target} is .* 3 ms \(27.3%\) to 11 ms"
  with pytest.raises(ValueError, match=message):
    pricing.make_target_ms(*aimed(target, name), TABLE)


@pytest.mark.parametrize("target_ms", [4.0, 7.0, 10.0])
def test_dual_ascent_derives_what_takes_its_target(target_ms):
  config, space = aimed(f"{target_ms}ms")
  logits = np.random.default_rng(0).normal(size=space.shape)
  net = problem.make_nets(config).supernet
  genotype = pricing.make_rule(config, net, TABLE, target_ms)(space, logits)
  costs = np.asarray(TABLE.reference)
  assert 1 + sum(costs[e, o] for e, o in enumerate(genotype)) == target_ms
  hinge, _ = aimed(f"{target_ms}ms", "hinge")
  plain = pricing.make_rule(hinge, net, TABLE, target_ms)(space, logits)
  assert plain == tuple(logits.argmax(1))


def test_a_cap_on_skips_is_kept():
  config = small(derive__rule="argmax", derive__max_skips=1)
  net = problem.make_nets(config).supernet
  space = net.space()
  skip = space.ops.index(space.skip)
  logits = np.zeros(space.shape)
  logits[:, skip] = 1.0
  genotype = pricing.make_rule(config, net, TABLE, None)(space, logits)
  assert genotype.count(skip) == 1
  plain = small(derive__rule="argmax")
  genotype = pricing.make_rule(plain, net, TABLE, None)(space, logits)
  assert genotype.count(skip) == len(space.choices)
  assert pricing.skip_cap(plain, space) is None


def test_without_a_target_nothing_is_refused():
  config = small()
  space = problem.make_nets(config).supernet.space()
  assert pricing.make_target_ms(config, space, TABLE) is None
  tiny = TABLE._replace(base=0.0 * TABLE.base)
  assert pricing.make_reach(config, space, tiny).smallest_ms < 3


def test_a_logarithm_of_a_mix_below_1_ms_is_refused():
  tiny = CostTable(0.1 * TABLE.reference, 0.1 * TABLE.base)
  with pytest.raises(ValueError, match="log_product .*a mix can have 0.3 ms"):
    pricing.make_target_ms(*aimed("1.05ms", "log_product"), tiny)
  pricing.make_target_ms(*aimed("0.9ms", "power"), tiny)
