"""Controllers: what the logits depend on."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.method import conditions
from hwnas_jax.method.controllers import (
  FORBIDDEN,
  masked,
  mixture,
  mlp,
  piecewise,
  pivots,
  table,
)
from hwnas_jax.spaces import darts

SPACE = darts.make_space(darts.Darts(darts.THREE, 3, 2, 4, (8, 8, 3), 10))
NODES = 4  # two of each cell type
FEATURES = np.array([0.2, 0.3, 0.5], np.float32)
OTHER = np.array([1.0, 0.0, 0.0], np.float32)
PRICES = conditions.simplex(3)
TABLE = table(SPACE)
PIVOTS = pivots(SPACE, PRICES)
GATED = pivots(SPACE, PRICES, num_pivots=3)  # as many as operations


@functools.cache
def draw(controller):
  return jax.jit(controller.init)(jax.random.key(0))


@pytest.mark.parametrize("controller", [TABLE, PIVOTS])
def test_logits_are_choices_by_operations(controller):
  params = draw(controller)
  logits = jax.jit(controller.apply)(params, FEATURES)
  assert logits.shape == SPACE.shape == (10, 3)
  assert np.all(np.isfinite(logits))


def test_a_table_ignores_the_condition():
  params = draw(TABLE)
  np.testing.assert_array_equal(
    TABLE.apply(params, FEATURES), TABLE.apply(params, OTHER)
  )
  assert 1e-4 < np.std(params["logits"]) < 3e-3


def test_pivots_read_the_condition():
  apply, params = jax.jit(PIVOTS.apply), draw(PIVOTS)
  difference = np.asarray(apply(params, FEATURES)) - apply(params, OTHER)
  assert np.all(np.abs(difference).max(-1) > 1e-5)  # every choice


@pytest.mark.parametrize(
  ("distribution", "num_features"),
  [
    (conditions.fixed(3, 2.0), 3),
    (PRICES, 3),
    (conditions.cone(3, 0.1, 10.0), 4),
  ],
)
@pytest.mark.parametrize("sign", [-1, 1])
def test_pivot_shapes(distribution, num_features, sign):
  init = pivots(SPACE, distribution, num_pivots=7, sign=sign).init
  params = jax.eval_shape(init, jax.random.key(0))
  assert params["pivots"].shape == (NODES, 7, num_features)
  assert params["references"].shape == (10, 7, 3)


def test_near_pivots_start_where_conditions_are():
  near = np.asarray(draw(PIVOTS)["pivots"])
  assert np.all(near >= 0)
  np.testing.assert_allclose(near.sum(-1), np.ones((NODES, 5)), rtol=1e-5)
  assert len(np.unique(near.reshape(-1, 3), axis=0)) == NODES * 5
  far = np.asarray(draw(pivots(SPACE, PRICES, sign=1))["pivots"])
  assert far.min() < -1 and far.max() > 1


@pytest.mark.parametrize("std", [1e-3, 1.0])
def test_references_start_as_wide_as_asked(std):
  found = draw(pivots(SPACE, PRICES, reference_std=std))["references"]
  assert 0.8 * std < np.std(found) < 1.2 * std


@pytest.mark.parametrize("moves", [False, True])
def test_pivots_move_only_if_they_are_trained(moves):
  controller = pivots(SPACE, PRICES, reference_std=1.0, train_pivots=moves)
  loss = lambda p: controller.apply(p, FEATURES)[:, 0].sum()  # noqa: E731
  found = jax.grad(loss)(draw(controller))
  assert np.any(found["pivots"] != 0) == moves
  assert np.any(found["references"] != 0)


def gates(sign, params):
  """The gates [E, R], read off with references that are unit vectors."""
  num_choices, num_pivots = len(SPACE.choices), params["pivots"].shape[1]
  assert num_pivots == SPACE.shape[1]
  eye = np.broadcast_to(np.eye(3, dtype=np.float32), (num_choices, 3, 3))
  apply = jax.jit(pivots(SPACE, PRICES, num_pivots, sign).apply)
  return np.asarray(apply({**params, "references": eye}, FEATURES))


@pytest.mark.parametrize("sign", [-1, 1])
def test_gates_sum_to_one_and_one_group_shares_them(sign):
  found = gates(sign, draw(GATED))
  np.testing.assert_allclose(found.sum(-1), np.ones(10), rtol=1e-6)
  assert np.all(found > 0)
  groups = [found[np.asarray(SPACE.group) == g] for g in range(NODES)]
  for rows in groups:
    np.testing.assert_array_equal(rows, np.broadcast_to(rows[0], rows.shape))
  heads = np.stack([rows[0] for rows in groups])
  assert len(np.unique(heads, axis=0)) == NODES


@pytest.mark.parametrize("sign", [-1, 1])
def test_the_sign_says_which_pivot_counts(sign):
  params = draw(GATED)
  offsets = np.asarray(params["pivots"]) - FEATURES
  distance = np.linalg.norm(offsets, axis=-1)
  pick = np.argmin if sign == -1 else np.argmax
  expected = pick(distance, axis=-1)[np.asarray(SPACE.group)]
  found = gates(sign, params)
  np.testing.assert_array_equal(found.argmax(-1), expected)


def test_the_published_text_is_the_default():
  params = draw(PIVOTS)
  logits = [
    pivots(SPACE, PRICES, **sign).apply(params, FEATURES)
    for sign in ({}, {"sign": -1}, {"sign": 1})
  ]
  np.testing.assert_array_equal(logits[0], logits[1])
  assert not np.allclose(logits[0], logits[2])


@pytest.mark.parametrize("sign", [0, 2, -2, 0.5])
def test_any_other_sign_is_refused(sign):
  with pytest.raises(ValueError, match=r"controller\.sign must be -1 or \+1"):
    pivots(SPACE, PRICES, sign=sign)


@pytest.mark.parametrize(
  "controller", [TABLE, pivots(SPACE, PRICES, train_pivots=True)]
)
def test_every_parameter_gets_a_gradient(controller):
  params = draw(controller)
  weight = np.random.default_rng(0).normal(size=SPACE.shape)
  loss = lambda p: jnp.vdot(controller.apply(p, FEATURES), weight)  # noqa: E731
  for grad in jax.tree.leaves(jax.jit(jax.grad(loss))(params)):
    assert np.all(np.isfinite(grad)) and np.all(grad != 0)


CONE = conditions.cone(3, 0.01, 100.0)
SIZED = {
  "piecewise": piecewise(SPACE, 5),
  "mlp": mlp(SPACE, CONE),
  "mixture": mixture(SPACE, CONE, 4, 5),
}


def at_scale(scale, simplex=(0.2, 0.3, 0.5)):
  return CONE.features(
    conditions.Condition(jnp.asarray(simplex), jnp.asarray(scale))
  )


@pytest.mark.parametrize("name", SIZED)
def test_logits_change_smoothly_with_the_scale(name):
  controller = SIZED[name]
  params = jax.jit(controller.init)(jax.random.key(0))
  apply = jax.jit(controller.apply)
  found = np.stack(
    [apply(params, at_scale(s)) for s in np.geomspace(0.01, 100.0, 200)]
  )
  assert found.shape == (200, *SPACE.shape) and np.isfinite(found).all()
  steps = np.abs(np.diff(found, axis=0)).max((1, 2))
  assert 0 < steps.max() < 0.2 * np.ptp(found)
  grads = jax.grad(lambda p: jnp.square(apply(p, at_scale(1.7))).sum())(params)
  assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(grads))


def test_piecewise_is_its_reference_at_a_knot_and_between():
  controller = SIZED["piecewise"]
  params = controller.init(jax.random.key(0))
  references = params["references"]
  for scale, wanted in (
    (0.01, references[0]),
    (1.0, references[2]),
    (100.0, references[4]),
    (10.0**0.5, (references[2] + references[3]) / 2),
  ):
    found = controller.apply(params, at_scale(scale))
    np.testing.assert_allclose(found, wanted, atol=1e-5)
  # It ignores the device.
  other = controller.apply(params, at_scale(1.0, (1.0, 0.0, 0.0)))
  np.testing.assert_allclose(other, references[2], atol=1e-5)


@pytest.mark.parametrize("name", ["mlp", "mixture"])
def test_the_others_read_the_device(name):
  controller = SIZED[name]
  params = controller.init(jax.random.key(0))
  found, other = (
    controller.apply(params, at_scale(1.0, s))
    for s in ((0.2, 0.3, 0.5), (1.0, 0.0, 0.0))
  )
  assert np.abs(found - other).max() > 1e-6


def test_what_a_choice_lacks_is_forbidden():
  sites = (SPACE.sites[0][:1] + ((),) + SPACE.sites[0][2:], *SPACE.sites[1:])
  space = dataclasses.replace(SPACE, sites=sites)
  assert masked(TABLE, SPACE) is TABLE
  controller = masked(table(space), space)
  logits = controller.apply(controller.init(jax.random.key(0)), FEATURES)
  assert logits[0, 1] == FORBIDDEN and (np.abs(logits) < 1).sum() == 29
