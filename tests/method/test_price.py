"""Prices by hand, exact sums and gradients."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.core.types import Condition
from hwnas_jax.costs import counts
from hwnas_jax.method import price
from hwnas_jax.method.state import CostTable
from hwnas_jax.nets.choice import Choice
from hwnas_jax.nets.ops import Identity
from hwnas_jax.nets.tracing import trace
from hwnas_jax.spaces import architecture, darts
from hwnas_jax.spaces.mobile import Chain, Skeleton, Stage
from hwnas_jax.spaces.nasbench201 import NasBench201

# Three choices, four operations; column 1 is free.
REFERENCE = np.array(
  [[1.0, 0.0, 2.0, 4.0], [0.5, 0.0, 3.0, 1.0], [2.0, 0.0, 0.25, 8.0]],
  np.float32,
)
COLUMNS = price.priced_columns(REFERENCE)
S = np.array([0.5, 0.2, 0.3], np.float32)
PRICES = {"paper": price.paper(COLUMNS, 50.0), "cone": price.cone(COLUMNS)}


def condition(simplex, scale=1.0):
  return Condition(jnp.asarray(simplex, jnp.float32), jnp.asarray(scale))


def test_priced_columns():
  assert COLUMNS == (0, 2, 3)
  assert price.priced_columns(np.zeros((2, 2))) == ()
  # Free at one choice is not free everywhere.
  assert price.priced_columns(np.array([[0.0, 1.0], [0.0, 0.0]])) == (1,)


def test_paper_by_hand():
  found = PRICES["paper"](jnp.asarray(REFERENCE), condition(S))
  wanted = 50.0 * REFERENCE * np.array([0.5, 0.0, 0.2, 0.3])
  np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_paper_ignores_the_scale():
  table = jnp.asarray(REFERENCE)
  at = [PRICES["paper"](table, condition(S, scale)) for scale in (0.1, 10.0)]
  np.testing.assert_array_equal(*at)


def test_cone_by_hand():
  found = PRICES["cone"](jnp.asarray(REFERENCE), condition(S, 7.0))
  most_expensive = 4.0 + 3.0 + 8.0
  wanted = 7.0 * 3 * REFERENCE * np.array([0.5, 0.0, 0.2, 0.3]) / most_expensive
  np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_cone_at_the_device_itself_is_a_fraction_of_the_most_expensive():
  uniform = condition([1 / 3] * 3)
  found = PRICES["cone"](jnp.asarray(REFERENCE), uniform)
  np.testing.assert_allclose(found, REFERENCE / 15.0, rtol=1e-6)
  np.testing.assert_allclose(found.max(1).sum(), 1.0, rtol=1e-6)


def test_cone_does_not_depend_on_the_unit_of_the_table():
  at = [
    PRICES["cone"](jnp.asarray(unit * REFERENCE), condition(S, 2.0))
    for unit in (1.0, 1000.0)
  ]
  np.testing.assert_allclose(*at, rtol=1e-6)


@pytest.mark.parametrize("name", PRICES)
def test_free_columns_cost_nothing(name):
  found = PRICES[name](jnp.asarray(REFERENCE), condition(S, 5.0))
  assert (found[:, 1] == 0).all() and (found[:, list(COLUMNS)] > 0).all()


class Model(nn.Module):
  """Two choices of unlike operations, and a part outside of them."""

  @nn.compact
  def __call__(self, x):
    ops = {"conv3": nn.Conv(4, (3, 3)), "conv1": nn.Conv(4, (1, 1))}
    x = Choice(ops, name="first")(x)
    ops = {"conv1": nn.Conv(4, (1, 1)), "skip": Identity()}
    x = Choice(ops, name="second")(x)
    return nn.Dense(3)(x.mean((1, 2)))


# Of the chain, the second layer has no identity.
CHAIN = Skeleton(
  ops=("mb_k3_e3", "mb_k5_e3", "identity"),
  relu6=False,
  stem=8,
  stem_stride=2,
  first=8,
  stages=(Stage(8, 1, 1), Stage(16, 3, 2)),
  head=24,
)
IMAGE = (8, 8, 2)
NETS = {
  "darts": darts.Darts(darts.EIGHT, 5, 2, 4, IMAGE, 3),
  "nasbench201": NasBench201(2, 4, IMAGE, 3),
  "chain": Chain(CHAIN, IMAGE, 3),
  "custom": trace(Model, IMAGE, 3),
}


def priced(net):
  """(its space, a cost of each site, their table).

  Costs are whole numbers, of which float32 holds every sum that there is.
  """
  space = net.space()
  rng = np.random.default_rng(0)
  sites = {s.key: float(rng.integers(1, 1000)) for s in space.unique_sites()}
  base = jnp.asarray(space.base_cost(sites), jnp.float32)
  return space, sites, CostTable(jnp.asarray(space.cost_array(sites)), base)


def draw(space, rng):
  """An architecture of which all runs."""
  columns = [
    [op for op, has in enumerate(row) if has and space.ops[op] != "none"]
    for row in space.allowed()
  ]
  return tuple(int(rng.choice(row)) for row in columns)


@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
def test_the_cost_of_a_one_hot_mix_is_the_table_sum(net):
  space, sites, table = priced(net)
  rng = np.random.default_rng(1)
  genotypes = [draw(space, rng) for _ in range(20)]
  assert all(all(net.live(genotype)) for genotype in genotypes)
  mixes = jnp.asarray(architecture.one_hot(genotypes, len(space.ops)))
  found = jax.vmap(table.cost)(mixes).tolist()
  assert found == [counts.genotype_cost(net, g, sites) for g in genotypes]
  assert len(set(found)) > 1


def test_the_slope_at_a_one_hot_mix_is_what_a_step_changes():
  space, _, table = priced(NETS["chain"])
  genotype = draw(space, np.random.default_rng(2))
  mix = architecture.one_hot([genotype], len(space.ops))[0]
  # Halves of whole numbers: exact, as the sums are.
  steps = 0.5 * np.eye(mix.size, dtype=np.float32).reshape(-1, *mix.shape)
  ends = jnp.asarray(np.stack([mix - steps, mix + steps]))
  below, above = np.asarray(jax.vmap(jax.vmap(table.cost))(ends))
  slope = np.asarray(jax.grad(table.cost)(jnp.asarray(mix)))
  np.testing.assert_array_equal(slope.ravel(), above - below)
  assert (slope > 0)[space.allowed()].all()


@pytest.mark.parametrize("name", PRICES)
def test_gradient_matches_finite_differences(name):
  """Of the penalty by the logits, through softmax, in double precision."""
  with jax.enable_x64(True):
    table = jnp.asarray(REFERENCE, jnp.float64)
    at = Condition(jnp.asarray(S, jnp.float64), jnp.asarray(2.0))
    logits = jax.random.normal(jax.random.key(0), table.shape, jnp.float64)

    def penalty(logits):
      return (PRICES[name](table, at) * jax.nn.softmax(logits)).sum()

    found = np.asarray(jax.grad(penalty)(logits)).ravel()
    eps = 1e-5
    steps = eps * jnp.eye(logits.size).reshape(-1, *logits.shape)
    base = logits[None]
    ends = jax.vmap(penalty)(base + steps), jax.vmap(penalty)(base - steps)
    wanted = (ends[0] - ends[1]) / (2 * eps)
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-8)
