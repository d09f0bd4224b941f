"""What a certificate compares an answer with."""

import types

import msgspec
import pytest

from hwnas_jax.costs import table as tables
from hwnas_jax.derive.judges import Judged
from hwnas_jax.derive.settle import Candidate, MeasuredCandidate
from hwnas_jax.io.certificates import Budget
from hwnas_jax.io.records import Accuracies, Measurement
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.runs import certificate
from hwnas_jax.runs.candidates import Ranking
from hwnas_jax.runs.certificate import Found
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.nasbench201 import NasBench201

CELLS = NasBench201(1, 4, (8, 8, 3), 10)
NONE, SKIP, CONV1, CONV3, POOL = range(5)
# By way of 0->1->3 and of 0->3, which carries no weights.
SKIPS = (CONV1, NONE, NONE, SKIP, CONV1, NONE)
POOLS = (CONV1, NONE, NONE, POOL, CONV1, NONE)
LARGER = (CONV3, NONE, NONE, SKIP, CONV1, NONE)


@pytest.fixture
def largest(tmp_path):
  """The largest that fits 10 ms, of candidates and measured ones."""
  problem = types.SimpleNamespace(nets=types.SimpleNamespace(derived=CELLS))
  finished = types.SimpleNamespace(problem=problem, folder=RunFolder(tmp_path))

  def largest(candidates, tried=()):
    ranking = Ranking(candidates, [], Judged({}, {}), {})
    budget = Budget("10ms", 10.0)
    found = Found(budget, ((), 0.0), [ranking], None, tried, [])
    return certificate._largest(finished, found)

  return finished, largest


def make(genotype, predicted_ms):
  return Candidate(genotype, 1, predicted_ms, "capacity")


def test_of_equally_large_ones_the_faster(largest):
  _, largest = largest
  fast, slow = make(SKIPS, 8.0), make(POOLS, 9.0)
  for candidates in ([fast, slow], [slow, fast]):
    row = largest(candidates)
    assert (
      row.predicted_ms == 8.0 and "skip_connect" in row.architecture.values()
    )
  assert row.measured is None and row.test_accuracy is None
  assert largest([fast, make(LARGER, 9.5)]).predicted_ms == 9.5


def test_a_measurement_decides_what_fits(largest):
  finished, largest = largest
  small, larger = make(SKIPS, 8.0), make(LARGER, 9.0)
  too_slow = MeasuredCandidate(larger, Measurement(10.5, 0.1))
  assert largest([small, larger], [too_slow]).predicted_ms == 8.0
  # Predicted to be too slow, it is no candidate, but it was tried.
  fits = MeasuredCandidate(make(LARGER, 11.0), Measurement(9.9, 0.1))
  row = largest([small], [fits])
  assert (row.predicted_ms, row.measured) == (11.0, Measurement(9.9, 0.1))
  trained = Accuracies(test_accuracy=0.75)
  finished.folder.network(row.id).write_accuracies(trained)
  assert largest([small], [fits]).test_accuracy == 0.75


def test_the_runs_random_networks_that_keep_the_budgets(tmp_path, monkeypatch):
  """By measured latency where the table's device is the run's."""
  measured = {SKIPS: 9.0, POOLS: 10.5, LARGER: 9.5}
  space = CELLS.space()
  members = [
    types.SimpleNamespace(
      kind="random" if g != LARGER else "member",
      architecture=architecture.to_json(space, g),
      params=100,
      macs=1000,
    )
    for g in measured
  ]
  folder = RunFolder(tmp_path)
  family = types.SimpleNamespace(members=members)
  monkeypatch.setattr(RunFolder, "family", lambda self: family)
  monkeypatch.setattr(tables, "predict_ms", lambda table, net, g: 7.0 + g[3])
  table = tables.empty(4)
  problem = types.SimpleNamespace(
    nets=types.SimpleNamespace(derived=CELLS), table=table
  )
  latencies = {g: Measurement(ms, 0.1) for g, ms in measured.items()}
  finished = types.SimpleNamespace(
    problem=problem, folder=folder, measured=latencies
  )

  def random(table, **limits):
    found = Found(Budget("10ms", 10.0, limits), ((), 0.0), [], None, [], [])
    return certificate._random(finished, table, found)

  (rival,) = random(table)  # the pools are measured to be too slow
  assert "skip_connect" in rival.architecture.values()
  assert (rival.measured, rival.test_accuracy) == (Measurement(9.0, 0.1), None)
  folder.network(rival.id).write_accuracies(Accuracies(test_accuracy=0.5))
  assert random(table)[0].test_accuracy == 0.5
  # On another device they are predicted, to 8 and 11 ms.
  elsewhere = msgspec.structs.replace(table, fingerprint="another")
  (rival,) = random(elsewhere)
  assert (rival.predicted_ms, rival.measured) == (8.0, None)
  assert random(table, params=99) == random(table, macs=999) == ()
