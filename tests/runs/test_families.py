"""experiments/families: what it chooses, and how it compares."""

import pathlib
import sys
import types

import numpy as np
import pytest

from hwnas_jax.costs import table as tables
from hwnas_jax.derive import capacity
from hwnas_jax.derive.settle import Candidate
from hwnas_jax.io.records import Measurement
from hwnas_jax.runs.candidates import Proposals
from hwnas_jax.spaces.nasbench201 import NasBench201

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))
from experiments.families import choose, missing, report

CELLS = NasBench201(1, 4, (8, 8, 3), 10)
NONE, SKIP, CONV1, CONV3 = range(4)
LIVE = (CONV3, NONE, SKIP, CONV1, CONV3, NONE)
# 0->1 and 1->2 have no way to the output: two forms of one function.
DEAD = (CONV3, CONV1, CONV3, CONV1, NONE, NONE)
BARE = (NONE, NONE, NONE, CONV1, NONE, NONE)
SLOW, OTHER = (CONV3,) * 6, (SKIP,) * 6


def test_equal_functions_are_a_finalist_once(monkeypatch):
  rankings = iter([[LIVE, DEAD], [SLOW, BARE], [OTHER, LIVE]])

  def within(limit_ms):
    pool = next(rankings)
    candidates = [Candidate(g, 1, 1.0, "capacity") for g in pool]
    return types.SimpleNamespace(candidates=candidates)

  proposals = types.SimpleNamespace(within=within)
  monkeypatch.setattr(choose, "Proposals", lambda *of: proposals)
  monkeypatch.setattr(tables, "predict_ms", lambda table, net, g: 1.0)
  nets = types.SimpleNamespace(derived=CELLS)
  run = types.SimpleNamespace(finished=None, table=None, nets=nets)
  device = types.SimpleNamespace(run=run, keeps=lambda g, ms: g != SLOW)
  assert choose.finalists(device, 2.0, LIVE) == [LIVE, DEAD, OTHER]


@pytest.mark.slow
def test_finalists_of_a_run_are_the_committees_best_that_keep(run, monkeypatch):
  """On a device that takes a tenth longer than the run's table says."""

  def measure(net, batch_size, genotype):
    return Measurement(1.1 * tables.predict_ms(run.table, net, genotype), 0.0)

  monkeypatch.setattr(choose, "measure_here", measure)
  device = choose.Device(run)
  device.begin()
  budget_ms = choose.budgets_ms(device)[3]
  largest = choose.largest(device, budget_ms)
  assert device.measured_ms(largest) <= budget_ms
  kept = choose.finalists(device, budget_ms, largest)
  functions = {capacity.reaching(run.nets.derived, g) for g in kept}
  assert 2 <= len(kept) == len(functions) <= choose.FINALISTS
  assert all(device.measured_ms(g) <= budget_ms for g in kept)
  limit_ms = max(budget_ms, 1.001 * device.measured_ms(largest) / 1.1)
  ranked = Proposals(run.finished, run.table, {}).within(limit_ms).candidates
  best = next(c for c in ranked if device.keeps(c.genotype, budget_ms))
  assert kept[0] == best.genotype


def row(**ids):
  """Accuracies of three trainings of each network but c."""
  test = {"a": [0.90, 0.92, 0.94], "b": [0.89, 0.90, 0.91]}
  return {"budget_ms": 2.0, "ids": ids, "test": test}


def test_a_difference_is_of_trainings_of_one_seed():
  """The points are 1, 2 and 3."""
  of = row(family="a", finalist="b", largest="b", random="c")
  gains = report.compare(of)
  gain = gains["family - largest"]
  assert gain["points"] == pytest.approx(2.0) and not gain["same_network"]
  assert gain["standard_error"] == pytest.approx(1 / np.sqrt(3))
  assert gains["finalist - largest"]["same_network"]
  assert not {"family - random", "finalist - random"} & set(gains)
  latencies = {name: {"latency_ms": 1.5} for name in "abc"}
  table = report.table(
    {"budgets": [of], "comparison": [gains], "latencies": latencies}
  )
  assert "92.00 (2.00), 1.50 ms" in table and "not trained, 1.50 ms" in table
  assert table.endswith("+2.00 (0.58) | - | same network | - |\n")


def test_a_network_is_added_once():
  """Another process finds it trained, in no time."""
  of = row(family="a", finalist="b", largest="b", random="c")
  document = {"budgets": [of], "trainings": [{"device": "a GPU"}]}
  network = {"id": "c", "test": [0.8] * 3, "wall_s_of_last_process": 900.0}
  missing.add_network(document, network)
  missing.add_network(document, network | {"wall_s_of_last_process": 0.1})
  assert document["trainings"] == [{"device": "a GPU"}, network]
  assert of["test"]["c"] == [0.8] * 3 and "a" in of["test"]
