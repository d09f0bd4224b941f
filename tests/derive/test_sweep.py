"""The points of a family, its logits and shares."""

import jax
import numpy as np
import pytest

from hwnas_jax.derive import sweep
from hwnas_jax.io.records import Condition, Shares
from hwnas_jax.method import conditions, controllers
from hwnas_jax.spaces import darts

NET = darts.Darts(darts.THREE, 3, 2, 4, (8, 8, 1), 10)
SPACE = darts.make_space(NET)


def test_scale_grid():
  points = sweep.scale_grid(4, 0.01, 10.0, 4)
  assert [c.simplex for c in points] == [(0.25,) * 4] * 4
  np.testing.assert_allclose([c.scale for c in points], [0.01, 0.1, 1, 10])


def test_scale_grid_of_one():
  assert sweep.scale_grid(2, 0.5, 10.0, 1) == [Condition((0.5, 0.5), 0.5)]


def test_simplex_grid_covers_the_triangle():
  points = sweep.simplex_grid(3, 0.7, 12)
  assert len(points) == 13 * 14 // 2
  assert len({c.simplex for c in points}) == len(points)
  np.testing.assert_allclose([sum(c.simplex) for c in points], 1.0)
  assert {c.scale for c in points} == {0.7}
  corners = {(1, 0, 0), (0, 1, 0), (0, 0, 1)}
  assert corners <= {c.simplex for c in points}


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
  stacked = sweep.stack(points)
  for index in range(6):
    one = jax.tree.map(lambda x, i=index: x[i], stacked)
    wanted = controller.apply(params, cone.features(one))
    np.testing.assert_allclose(found[index], wanted, rtol=1e-4, atol=1e-7)
  # The logits depend on the condition, else there is no family.
  assert np.abs(found - found[:1]).max() > 0.1 * np.abs(found).max()


def test_shares_by_hand():
  ops = ("a", "b")
  condition = Condition((0.5, 0.5), 2.0)
  even = sweep.shares(condition, np.zeros((5, 2)), ops)
  assert even == Shares(condition, {"a": 0.5, "b": 0.5})
  logits = np.array([[500.0, 0.0], [0.0, np.log(3.0)]])
  means = sweep.shares(condition, logits, ops).shares
  np.testing.assert_allclose(list(means.values()), [0.625, 0.375])
