"""A predictor in the table's place: named in a config, read by the step."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.config import checks, method, pricing
from hwnas_jax.config import fields as configuration
from hwnas_jax.core import graph as graphs
from hwnas_jax.core.types import ABSENT, Condition
from hwnas_jax.costs import table as tables
from hwnas_jax.costs.measure import networks
from hwnas_jax.costs.predict import fit
from hwnas_jax.costs.predict import predictor as predictors
from hwnas_jax.costs.table import Entry, LatencyTable
from hwnas_jax.method.state import CostTable
from hwnas_jax.method.step import _price
from hwnas_jax.runs import pipeline as main_job
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


def table_of(net):
  """A table by `site_ms`; `none` costs nothing."""
  entries = tuple(
    Entry(site, "fixed" if site in net.space().fixed else "op", ms, 0.0, (ms,))
    if site.op != "none"
    else Entry(site, "op", 0.0, 0.0, ())
    for site in net.space().unique_sites()
    for ms in [site_ms(site)]
  )
  return LatencyTable({}, "toaster", {}, 4, entries, True)


@pytest.fixture(scope="module")
def predictor():
  """Trained on a device that is twice the table, and BASE_MS."""
  costs = tables.raw_costs(table_of(CELL))
  prices = CELL.space().cost_array(costs)
  mixes = architecture.one_hot(genotypes(CELL), 5)
  runs = np.asarray([CELL.live(g) for g in genotypes(CELL)])
  measured = BASE_MS + 2 * np.einsum("ne,neo,eo->n", runs, mixes, prices)
  found = fit.train_on("graph", CELL, costs, genotypes(CELL), measured.tolist())
  return found, dict(zip(genotypes(CELL), measured, strict=True))


def test_it_is_trained_on_what_runs(predictor):
  found, measured = predictor
  drawn = genotypes(CELL)
  dead = sum(not any(CELL.live(g)) for g in drawn)
  assert dead > 0
  assert int(found.num_samples) == len(drawn) - dead
  alive = [g for g in measured if any(CELL.live(g))]
  predicted = predictors.cost(found, architecture.one_hot(alive, 5))
  wanted = [measured[g] for g in alive]
  np.testing.assert_allclose(predicted, wanted, rtol=0.03)


def test_the_step_prices_by_it(predictor):
  found, measured = predictor
  prices = tables.price_array(table_of(CELL), CELL.space())
  plain = CostTable(jnp.asarray(prices), jnp.asarray(7.0))
  cost = plain._replace(predictor=found)
  genotype = next(g for g in measured if sum(CELL.live(g)) > 3)
  (mix,) = architecture.one_hot([genotype], 5)
  np.testing.assert_allclose(cost.of(mix), measured[genotype], rtol=0.03)
  np.testing.assert_allclose(plain.of(mix), 7 + (prices * mix).sum(), rtol=1e-6)
  gradient = jax.grad(cost.of)(mix)
  assert np.abs(gradient).max() > 0.1
  condition = Condition(jnp.full(4, 0.25), jnp.asarray(3.0))
  dearest = prices.max(1).sum()
  np.testing.assert_allclose(
    _price(None, cost, condition, mix), 3 * cost.of(mix) / dearest, rtol=1e-6
  )


def configured(path, **fields):
  config = configuration.default()
  config.space.update(name="nasbench201", num_cells=1, channels=4)
  config.latency.update(table="t.json", batch_size=4)
  config.condition.name = "fixed"
  config.penalty.on = "sampled"
  config.derive.rule = "argmax"
  config.sampler.update(name="straight_through", per_example=False)
  config.cost.predictor = str(path)
  config.update_from_flattened_dict(fields)
  return config


def test_a_config_names_it(predictor, tmp_path):
  path = tmp_path / "p.npz"
  predictors.save(path, predictor[0])
  config = configured(path)
  checks.check(config)
  net, derived = method.make_nets(config)
  assert derived == CELL
  table = table_of(CELL)
  reference = pricing.make_reference(config, net, derived, table)
  (mix,) = architecture.one_hot([(3, 0, 1, 2, 4, 3)], 5)
  assert reference.of(mix) == predictors.cost(predictor[0], mix)
  other = dataclasses.replace(
    table,
    entries=tuple(
      dataclasses.replace(e, latency_ms=2 * e.latency_ms) for e in table.entries
    ),
  )
  with pytest.raises(ValueError, match=r"p\.npz was trained over another tab"):
    pricing.make_reference(config, net, derived, other)
  with pytest.raises(FileNotFoundError, match="absent"):
    pricing.make_reference(configured("absent.npz"), net, derived, table)


def test_a_kind_is_trained_once_on_measured_networks(
  predictor, tmp_path, monkeypatch, capsys
):
  config, table = configured("graph"), table_of(CELL)
  config.latency.calibration_networks = 30
  asked = []

  def profile_chosen(net, latency, out, rule, count, repeats):
    asked.append((net, out, count))
    return networks.Measured(genotypes(CELL), [1.0] * count)

  def train_on(kind, net, costs, drawn, measured_ms):
    assert (kind, costs) == ("graph", tables.raw_costs(table))
    assert (drawn, measured_ms) == (genotypes(CELL), [1.0] * 30)
    return predictor[0]

  monkeypatch.setattr(networks, "profile_chosen", profile_chosen)
  monkeypatch.setattr(fit, "train_on", train_on)
  for _ in range(2):
    found = main_job._with_predictor(config, tmp_path, CELL, table)
    assert found.cost.predictor == str(tmp_path / "predictor.npz")
  assert asked == [(CELL, tmp_path / "table.json", 30)]
  assert "graph: mean error" in capsys.readouterr().out
  assert config.cost.predictor == "graph"  # what is recorded
  plain = configured("")
  assert main_job._with_predictor(plain, tmp_path, CELL, table) is plain


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
