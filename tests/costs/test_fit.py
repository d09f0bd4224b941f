"""Training of predictors: on cells whose latency no table can give."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.core import graph as graphs
from hwnas_jax.core.graph import Graph
from hwnas_jax.costs.predict import fit
from hwnas_jax.costs.predict import predictor as predictors
from hwnas_jax.costs.predict.fit import Samples
from hwnas_jax.costs.predict.nets import NETWORKS

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
CELL = Graph(EDGES, inputs=(0,), outputs=(3,), nothing=(0,))
KINDS = sorted(NETWORKS)
ONES = np.ones((6, 3), np.float32)
PRICES = np.array([0.0, 1.0, 4.0])
SHORT = fit.Settings(
  members=2, evaluations=12, steps_per_evaluation=10, batch_size=64, rate=1e-2
)


@functools.cache
def cells(count, seed=0):
  """[N, E, O] random cells with a path from input to output."""
  genotypes = np.random.default_rng(seed).integers(0, 3, (4 * count, 6))
  mixes = np.eye(3, dtype=np.float32)[genotypes]
  return mixes[np.asarray(graphs.runs(CELL, mixes))[:, 2].any(1)][:count]


def table_latency(mixes, rule=0):
  """3 ms and the prices of what runs."""
  runs = np.asarray(graphs.runs(CELL, mixes))[:, rule]
  return 3.0 + np.einsum("ne,neo,o->n", runs, mixes, PRICES)


def fused_latency(mixes):
  """Two slow operations in series take half: no table can give that."""
  slow = mixes[:, :, 2]
  fused = slow[:, 0] * slow[:, 2] + slow[:, 2] * slow[:, 5]
  return table_latency(mixes) * np.where(fused > 0, 0.5, 1.0)


@functools.cache
def trained(kind, latency=fused_latency, count=250, settings=SHORT):
  mixes = cells(count)
  key = jax.random.key(0)
  samples = Samples(ONES, mixes, latency(mixes))
  return fit.train(kind, CELL, samples, key, settings)


def errors(predictor, latency, mixes):
  found = jax.jit(predictors.cost)(predictor, mixes)
  return np.abs(np.asarray(found) / latency(mixes) - 1)


@pytest.mark.parametrize("rule", [0, 1, 2])
def test_a_table_is_recovered_exactly(rule):
  mixes = cells(60)
  latency = jnp.asarray(table_latency(mixes, rule), jnp.float32)
  samples = Samples(ONES, mixes, latency)
  table = fit.fit_table(CELL, samples, jnp.asarray(rule))
  found = fit.table_ms(CELL, ONES, table, cells(40, seed=1))
  np.testing.assert_allclose(
    found, table_latency(cells(40, seed=1), rule), rtol=0.02
  )


def test_a_table_does_not_follow_outliers():
  mixes = cells(60)
  latency = table_latency(mixes)
  latency[::10] *= 4
  samples = Samples(ONES, mixes, jnp.asarray(latency, jnp.float32))
  table = fit.fit_table(CELL, samples, jnp.asarray(0))
  found = fit.table_ms(CELL, ONES, table, mixes)
  assert np.median(np.abs(found / table_latency(mixes) - 1)) < 0.03


@pytest.mark.parametrize("rule", [0, 1, 2])
def test_the_devices_liveness_rule_is_found(rule):
  latency = functools.partial(table_latency, rule=rule)
  settings = SHORT._replace(evaluations=1, steps_per_evaluation=1)
  predictor = trained("mlp", latency, 100, settings)
  np.testing.assert_array_equal(predictor.table.rule, np.full(2, rule))


@pytest.mark.parametrize("kind", KINDS)
def test_training_fits_what_no_table_can(kind):
  predictor = trained(kind)
  held_out = predictor.held_out
  assert held_out.mean < 0.6 * held_out.table_mean
  assert predictor.num_samples == 250
  # The held-out error is that of cells never seen, in size.
  unseen = errors(predictor, fused_latency, cells(200, seed=1)).mean()
  assert 0.3 * held_out.mean < unseen < 1.5 * held_out.mean


@pytest.mark.parametrize("kind", KINDS)
def test_noise_leaves_the_table_as_it_is(kind):
  def noisy(mixes):
    noise = np.random.default_rng(0).normal(0, 0.3, len(mixes))
    return table_latency(mixes) * np.exp(noise)

  mixes = cells(30)
  samples = Samples(ONES, mixes, noisy(mixes))
  predictor = fit.train(kind, CELL, samples, jax.random.key(0), SHORT)
  held_out = predictor.held_out
  assert held_out.mean <= held_out.table_mean


def test_early_stopping_keeps_the_best():
  # A rate that ruins the network: only step 0, the table, is any good.
  ruinous = SHORT._replace(rate=1e3, evaluations=3)
  held_out = trained("mlp", settings=ruinous).held_out
  assert held_out.mean == held_out.table_mean
  assert held_out.median == held_out.table_median


def test_members_hold_out_parts_that_do_not_overlap():
  kept, held = fit.split(52, 5, jax.random.key(0))
  assert kept.shape == (5, 42) and held.shape == (5, 10)
  assert len(np.unique(held)) == 50
  for rows, others in zip(kept, held, strict=True):
    assert sorted([*rows.tolist(), *others.tolist()]) == list(range(52))


def test_held_out_errors_are_of_the_held_out_part():
  settings = SHORT._replace(members=1, evaluations=1, steps_per_evaluation=1)
  predictor = trained("mlp", fused_latency, 100, settings)
  split_key = jax.random.split(jax.random.key(0), 3)[0]
  _, held = fit.split(100, 1, split_key)
  found = errors(predictor, fused_latency, cells(100)[np.asarray(held[0])])
  np.testing.assert_allclose(found.mean(), predictor.held_out.mean, rtol=1e-4)
  np.testing.assert_allclose(
    np.median(found), predictor.held_out.median, rtol=1e-4
  )


def test_the_same_key_gives_the_same_predictor():
  settings = SHORT._replace(evaluations=2)
  args = "graph", CELL, Samples(ONES, cells(40), fused_latency(cells(40)))
  found = [
    fit.train(*args, jax.random.key(seed), settings) for seed in (0, 0, 1)
  ]
  jax.tree.map(np.testing.assert_array_equal, found[0], found[1])
  assert np.any(found[0].table.prices != found[2].table.prices)


BAD = np.array(cells(40))
BAD[7, 3] = [0.5, 0.5, 0]
PATHLESS = np.array(cells(40))
PATHLESS[5] = np.eye(3)[[1, 1, 1, 0, 0, 0]]
NEGATIVE = np.where(np.arange(40) == 9, -1.0, 5.0)
NAN = np.where(np.arange(40) == 9, np.nan, 5.0)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"mixes": cells(40)[:19], "latency_ms": NAN[:19]}, "19 measured networks"),
    ({"mixes": BAD}, "not a one-hot architecture at sample 7"),
    ({"mixes": PATHLESS}, "no path from an input to an output at sample 5"),
    ({"latency_ms": NEGATIVE}, "not a positive number at sample 9"),
    ({"latency_ms": NAN}, "not a positive number at sample 9"),
    ({"latency_ms": NEGATIVE[:30]}, r"latency_ms is \(30,\)"),
    ({"reference": ONES[:5]}, "not of one space"),
    ({"graph": CELL._replace(edges=EDGES[:5])}, "not of one space"),
    ({"kind": "lstm"}, "kind is 'lstm'"),
    ({"settings": SHORT._replace(members=6)}, "settings.members is 6"),
  ],
)
def test_what_cannot_be_trained_on_is_refused(changes, message):
  samples = Samples(ONES, cells(40), np.full(40, 5.0))
  samples = samples._replace(
    **{n: v for n, v in changes.items() if n in Samples._fields}
  )
  arguments = {"kind": "mlp", "graph": CELL, "settings": SHORT}
  arguments |= {n: v for n, v in changes.items() if n in arguments}
  with pytest.raises(ValueError, match=message):
    fit.train(samples=samples, key=jax.random.key(0), **arguments)
