"""Liveness: exact at one-hot mixes, smooth between."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.core import graph as graphs
from hwnas_jax.core.graph import Graph
from hwnas_jax.core.types import ABSENT
from hwnas_jax.spaces import darts

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
CELL = Graph(EDGES, inputs=(0,), outputs=(3,), nothing=(0,))


def by_paths(present):
  """(used, live) of each edge, by listing paths; nothing is multiplied."""
  alive = [e for e, there in zip(EDGES, present, strict=True) if there]

  def paths(state):
    nexts = [p for e in alive if e[0] == state for p in paths(e[1])]
    return [[state, *p] for p in nexts] or [[state]]

  used = [e in alive and any(p[-1] == 3 for p in paths(e[1])) for e in EDGES]
  steps = {s for p in paths(0) for s in p}
  live = [u and e[0] in steps for u, e in zip(used, EDGES, strict=True)]
  return used, live


def test_a_one_hot_mix_gives_exactly_what_paths_say():
  every = np.array(list(itertools.product((0, 1), repeat=6)))
  running = graphs.runs(CELL, np.eye(2, dtype=np.float32)[every])
  expected = [[row, *by_paths(row)] for row in every]
  np.testing.assert_array_equal(running, np.asarray(expected, np.float32))


def test_the_order_of_the_edges_does_not_matter():
  mix = np.random.default_rng(0).dirichlet(np.ones(3), (4, 6))
  order = np.random.default_rng(1).permutation(6)
  shuffled = CELL._replace(edges=tuple(EDGES[e] for e in order))
  np.testing.assert_allclose(
    graphs.runs(shuffled, mix[:, order]),
    graphs.runs(CELL, mix)[..., order],
    rtol=1e-6,
  )


def test_between_vertices_two_paths_count_as_independent():
  chain = Graph(((0, 1), (1, 2)), (0,), (2,), (0,))
  mix = jnp.array([[0.5, 0.5], [0.25, 0.75]])
  running = graphs.runs(chain, mix)
  np.testing.assert_allclose(running[0], [0.5, 0.75])
  np.testing.assert_allclose(running[1], [0.5 * 0.75, 0.75])
  np.testing.assert_allclose(running[2], [0.375, 0.375])


def test_gradients_reach_what_would_revive_a_dead_edge():
  genotype = np.array([1, 0, 0, 1, 0, 0])  # 0>1 is a dead end
  live = lambda mix: graphs.runs(CELL, mix)[2, 0]  # noqa: E731
  grads = jax.grad(live)(jnp.eye(2)[genotype])
  assert live(jnp.eye(2)[genotype]) == 0
  assert grads[4, 1] == 1 and grads[5, 1] == 0  # 1>3 would, 2>3 would not


def test_a_row_of_zeros_is_nothing():
  absent = jnp.zeros((6, 2)).at[3, 1].set(1.0)
  np.testing.assert_array_equal(
    graphs.runs(CELL, absent), np.tile([0, 0, 0, 1, 0, 0], (3, 1))
  )


def test_darts_agrees_with_its_own_rule():
  net = darts.Darts(darts.EIGHT, 3, 3, 4, (8, 8, 3), 10)
  edges = tuple((source, node + 2) for source, node in net.edges)
  cell = Graph(edges, inputs=(0, 1), outputs=(2, 3, 4), nothing=(0,))
  genotypes = np.random.default_rng(0).integers(ABSENT, 3, (50, 2 * len(edges)))
  # One row more, of zeros: ABSENT is -1.
  mix = np.eye(9, 8, dtype=np.float32)[genotypes]
  running = graphs.runs(cell, mix.reshape(50, 2, len(edges), 8))[:, :, 2]
  expected = [net.live(tuple(genotype)) for genotype in genotypes.tolist()]
  np.testing.assert_array_equal(running.reshape(50, -1), expected)
  assert 0 < np.mean(expected) < np.mean(genotypes > 0)


@pytest.mark.parametrize("edge", [(1, 1), (2, 1), (-1, 2)])
def test_an_edge_that_goes_back_is_refused(edge):
  with pytest.raises(ValueError, match="does not go to a later state"):
    graphs.require_forward(CELL._replace(edges=(*EDGES, edge)))
