"""Predictors: cost as a function, files, and when they are recommended."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.core.graph import Graph
from hwnas_jax.costs.predict import predictor as predictors
from hwnas_jax.costs.predict.nets import NETWORKS
from hwnas_jax.io import readers, writers
from hwnas_jax.method.relaxed import straight_through

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
CELL = Graph(EDGES, inputs=(0,), outputs=(3,), nothing=(0,))
KINDS = sorted(NETWORKS)
PRICES = (0.0, 1.0, 5.0, 3.0)  # none, two operations, base in ms


cost = jax.jit(predictors.cost)


def make(kind, rule=0, scale=0.0):
  """A predictor of two members, prices known, networks `scale` from zero."""
  rng = np.random.default_rng(0)
  shapes = predictors.blank(kind, CELL, (6, 3), members=2)
  made = jax.tree.map(
    lambda s: jnp.asarray(scale * rng.normal(size=s.shape), s.dtype), shapes
  )
  table = predictors.FittedTable(
    jnp.tile(jnp.asarray(PRICES), (2, 1)),
    jnp.full(2, rule, jnp.int32),
    jnp.full(2, 0.1),
  )
  return dataclasses.replace(
    made,
    table=table,
    reference=jnp.ones((6, 3)),
    num_samples=jnp.asarray(40, jnp.int32),
  )


def one_hot(*genotypes):
  return jnp.eye(3)[jnp.asarray(genotypes)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
  ("rule", "expected"), [(0, 3 + 5 + 1 + 5), (1, 3 + 1 + 5), (2, 3 + 1)]
)
def test_without_corrections_a_cost_is_the_tables_sum(kind, rule, expected):
  mix = one_hot(2, 0, 0, 1, 0, 2)  # 0>1 is a dead end, no input reaches 2>3
  found = cost(make(kind, rule), mix)
  np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_a_reference_is_multiplied_by_the_prices():
  reference = jnp.arange(18.0).reshape(6, 3)
  predictor = dataclasses.replace(make("mlp"), reference=reference)
  mix = one_hot(1, 2, 0, 0, 0, 1)
  expected = 3 + 1 * (1 + 16) + 5 * 5
  np.testing.assert_allclose(cost(predictor, mix), expected, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cost_is_of_one_mix_or_several(kind):
  predictor = make(kind, scale=0.1)
  mixes = one_hot((1, 2, 0, 1, 2, 0), (2, 2, 1, 1, 0, 1))
  both = cost(predictor, mixes)
  assert both.shape == (2,) and np.all(both > 0) and both[0] != both[1]
  one = cost(predictor, mixes[1])
  assert one.shape == ()
  np.testing.assert_allclose(one, both[1], rtol=1e-5)


def test_members_are_averaged_in_the_logarithm():
  predictor = make("mlp")
  prices = jnp.array([[0.0, 0, 0, 2], [0.0, 0, 0, 8]])
  table = dataclasses.replace(predictor.table, prices=prices)
  predictor = dataclasses.replace(predictor, table=table)
  found = cost(predictor, one_hot(1, 1, 1, 1, 1, 1))
  np.testing.assert_allclose(found, 4.0, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_prediction_is_never_negative(kind):
  predictor = make(kind)
  table = dataclasses.replace(predictor.table, prices=-predictor.table.prices)
  predictor = dataclasses.replace(predictor, table=table)
  found = cost(predictor, one_hot(2, 2, 2, 2, 2, 2))
  assert 0 <= found < 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_flow_through_a_straight_through_one_hot(kind):
  predictor, key = make(kind, rule=2, scale=0.1), jax.random.key(1)

  def loss(logits):
    mix = straight_through(key, logits, jnp.ones(()))
    return cost(predictor, mix.weights)

  logits = jnp.zeros((6, 3)).at[:, 2].set(3.0)  # so the drawn cell is live
  grads = jax.jit(jax.grad(loss))(logits)
  assert np.all(np.isfinite(grads)) and np.all(np.abs(grads).max(1) > 0)
  # Softmax: what an edge gains by one operation it loses by the others.
  np.testing.assert_allclose(grads.sum(1), np.zeros(6), atol=1e-4)


def test_an_expensive_operation_costs_a_straight_through_sample():
  def loss(logits):
    mix = straight_through(jax.random.key(1), logits, jnp.ones(()))
    return cost(make("graph", rule=2), mix.weights)

  logits = jnp.zeros((6, 3)).at[:, 2].set(6.0)
  assert np.all(jax.grad(loss)(logits)[:, 2] > 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_gradient_equals_finite_differences(kind):
  predictor = make(kind, rule=1, scale=0.1)
  mix = np.random.default_rng(0).dirichlet(np.ones(3), 6).astype(np.float32)
  towards = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32)
  grads = jax.grad(lambda m: cost(predictor, m))(mix)
  h = 1e-2
  slope = cost(predictor, mix + h * towards) - cost(
    predictor, mix - h * towards
  )
  np.testing.assert_allclose(
    (grads * towards).sum(), slope / (2 * h), rtol=2e-2
  )


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_saved_is_loaded(kind, tmp_path):
  predictor = make(kind, rule=1, scale=0.1)
  predictors.save(tmp_path / "p.npz", predictor)
  found = predictors.load(tmp_path / "p.npz")
  assert found.kind == kind and found.graph == CELL
  assert jax.tree.structure(found) == jax.tree.structure(predictor)
  jax.tree.map(np.testing.assert_array_equal, found, predictor)
  mix = one_hot(2, 1, 0, 1, 2, 0)
  np.testing.assert_array_equal(cost(found, mix), cost(predictor, mix))


def rewrite(path, **changes):
  """Saves a predictor with fields changed; None takes one away."""
  predictors.save(path, make("mlp"))
  fields = readers.read_sealed(path) | changes
  kept = {k: v for k, v in fields.items() if v is not None}
  writers.write_arrays(path, kept)


@pytest.mark.parametrize(
  ("name", "value", "message"),
  [
    ("kind", None, "'kind' is missing"),
    ("kind", np.asarray("lstm"), "'kind' is 'lstm'"),
    ("graph/edges", None, "'graph/edges' is missing"),
    ("graph/edges", np.array([[1, 0]]), "does not go to a later state"),
    ("num_samples", None, "num_samples: missing"),
    ("held_out/mean", None, "held_out/mean: missing"),
    ("table/prices", np.zeros((2, 9), np.float32), "table/prices: stored"),
    ("reference", np.ones((6, 4), np.float32), "networks/params/Dense_0"),
  ],
)
def test_a_foreign_file_is_refused_by_its_field(name, value, message, tmp_path):
  rewrite(tmp_path / "p.npz", **{name: value})
  with pytest.raises(ValueError, match=message):
    predictors.load(tmp_path / "p.npz")


def test_a_truncated_file_is_refused(tmp_path):
  path = tmp_path / "p.npz"
  predictors.save(path, make("mlp"))
  path.write_bytes(path.read_bytes()[:2000])
  with pytest.raises(ValueError, match=r"p\.npz is no \.npz file"):
    predictors.load(path)
  path.write_text("not an archive")
  with pytest.raises(ValueError, match=r"p\.npz is no \.npz file"):
    predictors.load(path)
