"""Networks behind a latency predictor: what they start at and what they see."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.core.graph import Graph
from hwnas_jax.costs.predict.nets import NETWORKS

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
CELL = Graph(EDGES, inputs=(0,), outputs=(3,), nothing=(0,))
KINDS = sorted(NETWORKS)


def one_hot(*genotypes):
  return jnp.eye(3)[jnp.asarray(genotypes)]


@functools.cache
def drawn(kind):
  """A network with random weights, its zero-initialised output included."""
  module = NETWORKS[kind](CELL)
  mix, runs = jnp.zeros((1, 6, 3)), jnp.zeros((1, 6))
  params = jax.jit(module.init)(jax.random.key(0), mix, runs)
  rng = np.random.default_rng(0)
  params = jax.tree.map(lambda p: rng.normal(0, 0.3, p.shape), params)
  return functools.partial(jax.jit(module.apply), params)


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_network_corrects_nothing(kind):
  module = NETWORKS[kind](CELL)
  mix = np.random.default_rng(0).dirichlet(np.ones(3), (4, 6))
  runs = np.random.default_rng(1).uniform(size=(4, 6))
  params = module.init(jax.random.key(0), mix, runs)
  charges, log_factor = module.apply(params, mix, runs)
  np.testing.assert_allclose(charges, runs, rtol=1e-6)
  np.testing.assert_array_equal(log_factor, np.zeros(4))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
def test_leading_axes_are_kept(kind, batch):
  mix = np.random.default_rng(0).dirichlet(np.ones(3), (*batch, 6))
  charges, log_factor = drawn(kind)(mix, mix.sum(-1))
  assert charges.shape == (*batch, 6) and log_factor.shape == batch
  assert np.all(np.isfinite(charges)) and np.all(np.isfinite(log_factor))


def test_the_regressor_charges_what_runs():
  runs = jnp.linspace(0.0, 1.0, 6)
  charges, _ = drawn("mlp")(one_hot(0, 1, 2, 0, 1, 2), runs)
  np.testing.assert_array_equal(charges, runs)


def test_the_graph_network_follows_the_edges_not_their_order():
  order = np.array([3, 0, 5, 1, 4, 2])
  edges = tuple(EDGES[e] for e in order)
  module = NETWORKS["graph"](CELL._replace(edges=edges))
  mix, runs = one_hot(1, 2, 0, 1, 1, 2), jnp.linspace(0.0, 1.0, 6)
  charges, log_factor = drawn("graph")(mix, runs)
  params = drawn("graph").args[0]
  again = module.apply(params, mix[order], runs[order])
  np.testing.assert_allclose(again[0], charges[order], rtol=1e-5)
  np.testing.assert_allclose(again[1], log_factor, rtol=1e-5)


def test_the_graph_network_tells_series_from_parallel():
  series = one_hot(2, 0, 2, 0, 0, 2)  # 0>1>2>3
  parallel = one_hot(2, 2, 0, 0, 2, 2)  # 0>1>3 and 0>2>3
  runs = jnp.ones(6)
  found = [drawn("graph")(mix, runs) for mix in (series, parallel)]
  # Per live edge, so that counts alone do not tell them apart.
  means = [f.sum() / c for (_, f), c in zip(found, (3, 4), strict=True)]
  assert abs(means[0] - means[1]) > 1e-3


def test_nothing_is_charged_for_an_edge_that_is_not_there():
  mix = one_hot(0, 2, 0, 1, 0, 1)
  charges, _ = drawn("graph")(mix, jnp.array([0.0, 1, 0, 1, 0, 1]))
  np.testing.assert_array_equal(charges[np.array([0, 2, 4])], np.zeros(3))
  assert np.all(charges[np.array([1, 3, 5])] > 0)


def test_a_removed_edge_can_be_charged_all_the_same():
  mix = one_hot(2, 0, 0, 1, 0, 0)  # 0>1 is a dead end
  charges, _ = drawn("graph")(mix, jnp.array([0.0, 0, 0, 1, 0, 0]))
  assert abs(charges[0]) > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_every_operation_has_a_gradient(kind):
  def loss(mix):
    charges, log_factor = drawn(kind)(mix, mix[..., 1:].sum(-1))
    return charges.sum() + log_factor.sum()

  grads = jax.jit(jax.grad(loss))(one_hot(2, 1, 1, 1, 2, 2))
  assert np.all(np.isfinite(grads)) and np.all(grads != 0)
