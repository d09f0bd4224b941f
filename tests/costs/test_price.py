"""Prices by hand, exact sums and gradients."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.core.types import Condition
from hwnas_jax.costs import analytic, price
from hwnas_jax.spaces import darts

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
  dearest = 4.0 + 3.0 + 8.0
  wanted = 7.0 * 3 * REFERENCE * np.array([0.5, 0.0, 0.2, 0.3]) / dearest
  np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_cone_at_the_device_itself_is_a_fraction_of_the_dearest():
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


def table_of_space():
  """Distinct costs of the sites of a small space, in whole thousandths."""
  net = darts.Darts(darts.THREE, 3, 1, 4, (8, 8, 1), 10)
  space = darts.make_space(net)
  sites = {s.key: 0.001 * i for i, s in enumerate(space.unique_sites())}
  return net, space, sites


def test_expected_cost_of_every_architecture_is_its_table_sum():
  net, space, sites = table_of_space()
  num_choices, num_ops = space.shape
  reference = space.cost_array(sites)
  eye = np.eye(num_ops, dtype=np.float32)
  genotypes = list(itertools.product(range(num_ops), repeat=num_choices))
  assert len(genotypes) == 81
  for genotype in genotypes:
    assert all(net.live(genotype))
    expected = space.base_cost(sites) + (reference * eye[list(genotype)]).sum()
    summed = analytic.genotype_cost(net, genotype, sites)
    np.testing.assert_allclose(expected, summed, rtol=1e-6)


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
