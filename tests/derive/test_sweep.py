"""The points of a family, its logits and shares."""

import itertools

import jax
import numpy as np
import pytest

from hwnas_jax.derive import sweep
from hwnas_jax.method import conditions, controllers
from hwnas_jax.spaces import darts

NET = darts.Darts(darts.THREE, 3, 2, 4, (8, 8, 1), 10)
SPACE = darts.make_space(NET)


def test_scale_grid():
  points = sweep.scale_grid(4, 0.01, 10.0, 4)
  assert [p for p, _ in points] == [[0.25] * 4] * 4
  np.testing.assert_allclose([s for _, s in points], [0.01, 0.1, 1, 10])


def test_scale_grid_of_one():
  assert sweep.scale_grid(2, 0.5, 10.0, 1) == [([0.5, 0.5], 0.5)]


def test_simplex_grid_covers_the_triangle():
  points = sweep.simplex_grid(3, 0.7, 12)
  assert len(points) == 13 * 14 // 2
  assert len({tuple(p) for p, _ in points}) == len(points)
  np.testing.assert_allclose([sum(p) for p, _ in points], 1.0)
  assert {s for _, s in points} == {0.7}
  corners = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
  assert all(c in [p for p, _ in points] for c in corners)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_simplex_grid_is_for_three(size):
  assert sweep.simplex_grid(size, 1.0, 12) == []


def test_logits_of_many_conditions_are_those_of_each():
  cone = conditions.cone(3, 0.01, 10.0)
  controller = controllers.pivots(SPACE, cone)
  params = controller.init(jax.random.key(0))
  points = sweep.scale_grid(3, 0.01, 10.0, 3) + sweep.simplex_grid(3, 1.0, 1)
  found = sweep.logits_of(controller, cone, params, points)
  assert found.shape == (6, *SPACE.shape) and isinstance(found, np.ndarray)
  stacked = sweep.conditions_of(points)
  for index in range(6):
    one = jax.tree.map(lambda x, i=index: x[i], stacked)
    wanted = controller.apply(params, cone.features(one))
    np.testing.assert_allclose(found[index], wanted, rtol=1e-4, atol=1e-7)
  # The controller hears the condition, else there is no family.
  assert np.abs(found - found[:1]).max() > 0.1 * np.abs(found).max()


def test_shares_by_hand():
  ops = ("a", "b")
  assert sweep.shares(np.zeros((5, 2)), ops) == {"a": 0.5, "b": 0.5}
  logits = np.array([[500.0, 0.0], [0.0, np.log(3.0)]])
  found = sweep.shares(logits, ops)
  np.testing.assert_allclose(list(found.values()), [0.625, 0.375])


def test_distinct_skips_the_family_and_itself():
  genotypes = list(itertools.product(range(3), repeat=2))
  draws = itertools.cycle(genotypes)
  found = sweep.distinct(genotypes[:2], lambda: next(draws), 5)
  assert found == genotypes[2:7]
  repeated = iter([(0, 0), (1, 1), (1, 1), (0, 0), (2, 2)])
  assert sweep.distinct([(0, 0)], lambda: next(repeated), 2) == [
    (1, 1),
    (2, 2),
  ]
  assert sweep.distinct([(0, 0)], lambda: (0, 0), 0) == []


def test_a_space_too_small_for_the_random_ones_is_refused():
  with pytest.raises(ValueError, match="derive.num_random"):
    sweep.distinct([(0,)], lambda: (1,), 2)
