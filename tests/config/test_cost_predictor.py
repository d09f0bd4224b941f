"""A predictor in the table's place: named in a config, read by the step."""

import functools

import jax
import jax.numpy as jnp
import msgspec
import numpy as np
import pytest
from toy_config import config

from hwnas_jax.config import checks, problem
from hwnas_jax.core import graph as graphs
from hwnas_jax.core.types import ABSENT, Condition
from hwnas_jax.costs import table as tables
from hwnas_jax.costs.measure import networks, timing
from hwnas_jax.costs.measured import Measured
from hwnas_jax.costs.predict import fit
from hwnas_jax.costs.predict import predictor as predictors
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.method.losses import price_mix
from hwnas_jax.method.state import CostTable
from hwnas_jax.runs import pipeline
from hwnas_jax.spaces import architecture, darts, nasbench201

DARTS = darts.Darts(darts.EIGHT, 3, 2, 4, (8, 8, 1), 10)
CELL = nasbench201.NasBench201(1, 4, (8, 8, 1), 10)
BASE_MS = 0.5


def genotypes(net, count=200):
  choices, ops = net.space().shape
  lowest = ABSENT if net is DARTS else 0
  rows = np.random.default_rng(0).integers(lowest, ops, (count, choices))
  return [tuple(map(int, row)) for row in rows]


@pytest.mark.parametrize("net", [DARTS, CELL], ids=["darts", "nasbench201"])
def test_the_graph_runs_what_is_live(net):
  found = graphs.runs(
    net.graph(), architecture.one_hot(genotypes(net), len(net.ops))
  )
  live = [net.live(g) for g in genotypes(net)]
  assert 0.2 < np.mean(live) < 0.9
  np.testing.assert_array_equal(found[:, graphs.RULES.index("live")], live)


def site_ms(site):
  return 0.1 * (1 + (sum(map(ord, site.op)) % 7)) * site.channels_in / 4


def table_of(net, factor=1.0):
  """A table by `site_ms`; what is free costs nothing."""
  entries = tuple(
    timing.entry_of(site, [] if site.kind == "free" else [factor * ms])
    for site in net.space().unique_sites()
    for ms in [site_ms(site)]
  )
  return msgspec.structs.replace(
    tables.empty(4), entries=entries, finished=True
  )


@pytest.fixture(scope="module")
def predictor():
  """Trained on a device that is twice the table, and BASE_MS.

  Its table alone is right about such a device: the networks hardly train.
  """
  costs = tables.raw_costs(table_of(CELL))
  prices = CELL.space().cost_array(costs)
  mixes = architecture.one_hot(genotypes(CELL), 5)
  runs = np.asarray([CELL.live(g) for g in genotypes(CELL)])
  measured = BASE_MS + 2 * np.einsum("ne,neo,eo->n", runs, mixes, prices)
  measured = Measured(genotypes(CELL), measured.tolist())
  short = functools.partial(fit.train, settings=fit.Settings(2, 2))
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(fit, "train", short)
    trained = fit.train_on("graph", CELL, costs, measured)
  return trained, dict(zip(*measured, strict=True))


def test_it_is_trained_on_what_runs(predictor):
  found, measured = predictor
  drawn = genotypes(CELL)
  dead = sum(not any(CELL.live(g)) for g in drawn)
  assert dead > 0
  assert int(found.num_samples) == len(drawn) - dead
  alive = [g for g in measured if any(CELL.live(g))]
  mixes = architecture.one_hot(alive, 5)
  predicted = jax.jit(predictors.cost)(found, mixes)
  wanted = [measured[g] for g in alive]
  np.testing.assert_allclose(predicted, wanted, rtol=0.03)


def test_the_step_prices_by_it(predictor):
  trained, measured = predictor
  prices = tables.price_array(table_of(CELL), CELL.space())
  plain = CostTable(jnp.asarray(prices), jnp.asarray(7.0))
  table = plain._replace(predictor=trained)
  genotype = next(g for g in measured if sum(CELL.live(g)) > 3)
  (mix,) = jnp.asarray(architecture.one_hot([genotype], 5))
  cost, gradient = jax.jit(jax.value_and_grad(table.cost))(mix)
  np.testing.assert_allclose(cost, measured[genotype], rtol=0.03)
  assert np.abs(gradient).max() > 0.1
  wanted = 7 + (prices * mix).sum()
  np.testing.assert_allclose(plain.cost(mix), wanted, rtol=1e-6)
  condition = Condition(jnp.full(4, 0.25), jnp.asarray(3.0))
  price = jax.jit(lambda mix: price_mix(None, table, condition, mix))(mix)
  most = prices.max(1).sum()
  np.testing.assert_allclose(price, 3 * cost / most, rtol=1e-6)


def configured(path, **fields):
  return config(
    **{
      "space.name": "nasbench201",
      "space.num_cells": 1,
      "space.channels": 4,
      "latency.table": "t.json",
      "latency.batch_size": 4,
      "condition.name": "fixed",
      "penalty.on": "sampled",
      "derive.rule": "argmax",
      "sampler.name": "straight_through",
      "sampler.per_example": False,
      "cost.predictor": str(path),
    }
    | fields
  )


def make(made, folder):
  """The problem of a config, with the table of CELL."""
  nets, table = problem.make_nets(made), table_of(CELL)
  predictor = pipeline._predictor(made, folder, nets.derived, table)
  return problem.make(made, nets, table, predictor)


def test_a_config_names_a_file(predictor, tmp_path):
  path, folder = tmp_path / "p.npz", RunFolder.at(tmp_path)
  predictors.save(path, predictor[0])
  made = configured(path)
  checks.check(made)
  assert problem.make_nets(made).derived == CELL
  costs = make(made, folder).costs
  (mix,) = architecture.one_hot([(3, 0, 1, 2, 4, 3)], 5)
  assert costs.cost(mix) == predictors.cost(predictor[0], mix)
  nets = problem.make_nets(made)
  other = table_of(CELL, 2.0)
  with pytest.raises(ValueError, match=r"p\.npz was trained with another tab"):
    problem.make(made, nets, other, predictor[0])
  with pytest.raises(FileNotFoundError, match="absent"):
    make(configured(tmp_path / "absent.npz"), folder)


def test_a_kind_is_trained_once_on_measured_networks(
  predictor, tmp_path, monkeypatch, capsys
):
  made = configured("graph", **{"latency.calibration_networks": 30})
  table, folder = table_of(CELL), RunFolder.at(tmp_path)
  measured = Measured(genotypes(CELL, 30), [1.0] * 30)
  asked = []

  def profile_chosen(net, table, out, rule, count, repeats):
    asked.append((net, out, count))
    return measured

  def train_on(kind, net, costs, given):
    assert (kind, costs) == ("graph", tables.raw_costs(table))
    assert given == measured
    return predictor[0]

  monkeypatch.setattr(networks, "profile_chosen", profile_chosen)
  monkeypatch.setattr(fit, "train_on", train_on)
  trained = [pipeline._predictor(made, folder, CELL, table) for _ in range(2)]
  for one in trained:
    jax.tree.map(np.testing.assert_array_equal, one, predictor[0])
  assert folder.predictor == tmp_path / "predictor.npz"
  assert folder.predictor.exists()
  assert asked == [(CELL, tmp_path / "table.json", 30)]
  assert "graph: mean error" in capsys.readouterr().out
  assert made.cost.predictor == "graph"  # what is recorded
  assert pipeline._predictor(configured(""), folder, CELL, table) is None


@pytest.mark.parametrize(
  ("field", "value"),
  [
    ("penalty.on", "expected"),
    ("sampler.name", "gumbel_softmax"),
    ("sampler.per_example", True),
    ("condition.name", "cone"),
    ("latency.table", ""),
  ],
)
def test_it_needs_one_hot_samples_of_its_table(field, value):
  with pytest.raises(ValueError, match=f"cost.predictor needs .*{field}"):
    checks.check(configured("p.npz", **{field: value}))
