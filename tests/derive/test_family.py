"""A family: its points and its networks."""

import doctest

import numpy as np
import pytest

from hwnas_jax.derive import family
from hwnas_jax.derive.family import Derived, FamilySettings, Point
from hwnas_jax.io.records import Condition
from hwnas_jax.method import CONDITIONS
from hwnas_jax.spaces import architecture, darts, rules

NET = darts.Darts(darts.THREE, 2, 2, 4, (8, 8, 1), 10)
SPACE = NET.space()
HERE = Condition((0.5, 0.5), 2.0)
SETTINGS = FamilySettings(0.1, 10.0, 3, {"b": [1.0, 3.0], "a": [0.0, 2.0]})


@pytest.mark.parametrize("name", CONDITIONS)
def test_points_are_scales_one_condition_or_named_prices(name):
  points = family.points_of(CONDITIONS[name], 2, SETTINGS)
  even = (0.5, 0.5)
  if name == "fixed":
    assert points == [Point("found", Condition(even, 10.0))]
  elif name == "simplex":
    assert points == [
      Point("a", Condition((0.0, 1.0), 1.0)),
      Point("b", Condition((0.25, 0.75), 1.0)),
    ]
  else:
    assert [p.name for p in points] == ["scale 0.1", "scale 1", "scale 10"]
    assert {p.condition.simplex for p in points} == {even}


@pytest.mark.parametrize(
  "vectors", [{}, {"a": [1.0]}, {"a": [1.0, -1.0]}, {"a": [0.0, 0.0]}]
)
def test_prices_that_are_none_are_refused(vectors):
  settings = FamilySettings(0.1, 10.0, 3, vectors)
  with pytest.raises(ValueError, match="derive.vectors needs names with 2"):
    family.points_of(CONDITIONS["simplex"], 2, settings)


def test_the_example_runs():
  ran = doctest.testmod(family)
  assert ran.attempted > 0 and ran.failed == 0


def test_equal_architectures_are_one_network():
  best = np.zeros(SPACE.shape)
  best[:, 1] = 1.0
  other = np.zeros(SPACE.shape)
  other[:, 2] = 1.0
  points = [Point(name, HERE) for name in "abc"]
  networks, swept = family.derive(
    SPACE, rules.argmax, points, np.stack([best, other, best])
  )
  genotypes = [(1,) * SPACE.shape[0], (2,) * SPACE.shape[0]]
  assert networks == [
    Derived(name, g, HERE) for name, g in zip("ab", genotypes, strict=True)
  ]
  ids = [architecture.identity(SPACE, g) for g in genotypes]
  assert [p.id for p in swept] == [ids[0], ids[1], ids[0]]
  assert [p.name for p in swept] == ["a", "b", "c"]


def test_samples_are_of_the_logits_distribution():
  logits = np.log([[0.7, 0.2, 0.1]])
  points, noisy = family.sampled(Point("found", HERE), logits, 4000, 0)
  assert points[:2] == [Point("sample 0", HERE), Point("sample 1", HERE)]
  assert len(points) == 4000 and noisy.shape == (4000, 1, 3)
  shares = np.bincount(noisy.argmax(-1)[:, 0]) / 4000
  np.testing.assert_allclose(shares, [0.7, 0.2, 0.1], atol=0.03)
  _, again = family.sampled(Point("found", HERE), logits, 4000, 0)
  np.testing.assert_array_equal(again, noisy)
  _, other = family.sampled(Point("found", HERE), logits, 4000, 1)
  assert np.any(other != noisy)
