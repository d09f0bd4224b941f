"""What a certificate compares an answer with."""

import types

import msgspec
import pytest

from hwnas_jax.costs import table as tables
from hwnas_jax.derive import capacity
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


@pytest.fixture
def asked(tmp_path, monkeypatch):
  """A run with baselines, and what it gives a budget of 10 ms."""
  measured = {SKIPS: 9.0, POOLS: 10.5, LARGER: 9.5}
  members = [
    member("random" if g != LARGER else "member", g, ms)
    for g, ms in measured.items()
  ]
  members += [
    member("reference", LARGER, 9.5, width=2.0),
    member("reference", LARGER, 9.9, width=4.0),
    member("reference", LARGER, 10.1, width=6.0),
  ]
  family = types.SimpleNamespace(members=members)
  monkeypatch.setattr(RunFolder, "family", lambda self: family)
  monkeypatch.setattr(tables, "predict_ms", lambda table, net, g: 7.0 + g[3])
  table = tables.empty(4)
  problem = types.SimpleNamespace(
    nets=types.SimpleNamespace(derived=CELLS), table=table
  )
  finished = types.SimpleNamespace(
    problem=problem, folder=RunFolder(tmp_path), measured=measured
  )

  def ask(rivals, table=table, **limits):
    found = Found(Budget("10ms", 10.0, limits), ((), 0.0), [], None, [], [])
    return rivals(finished, table, found)

  return ask, finished


def member(kind, genotype, latency_ms, width=1.0):
  return types.SimpleNamespace(
    kind=kind,
    architecture=architecture.to_json(CELLS.space(), genotype),
    latency=Measurement(latency_ms, 0.1),
    width=width,
    params=100,
    macs=1000,
  )


def elsewhere(finished):
  """The run's table, as if it were of another device."""
  return msgspec.structs.replace(finished.problem.table, fingerprint="another")


def test_the_runs_random_networks_that_keep_the_budgets(asked):
  """By measured latency where the table's device is the run's."""
  ask, finished = asked
  (rival,) = ask(certificate._random)  # the pools are measured to be too slow
  assert "skip_connect" in rival.architecture.values()
  assert (rival.measured, rival.test_accuracy) == (Measurement(9.0, 0.1), None)
  trained = Accuracies(test_accuracy=0.5)
  finished.folder.network(rival.id).write_accuracies(trained)
  assert ask(certificate._random)[0].test_accuracy == 0.5
  # On another device they are predicted, to 8 and 11 ms.
  (rival,) = ask(certificate._random, elsewhere(finished))
  assert (rival.predicted_ms, rival.measured) == (8.0, None)
  assert ask(certificate._random, params=99) == ()
  assert ask(certificate._random, macs=999) == ()


def test_the_widest_of_the_runs_references_that_keeps_the_budgets(asked):
  """No table predicts one that is scaled: its own measurement says it fits."""
  ask, finished = asked
  rival = ask(certificate._reference)
  assert (rival.width, rival.predicted_ms, rival.latency_ms) == (4.0, None, 9.9)
  (unscaled,) = capacity.macs(CELLS, [LARGER])
  assert rival.macs > 4 * unscaled
  trained = Accuracies(test_accuracy=0.75)
  finished.folder.network(rival.id).write_accuracies(trained)
  assert ask(certificate._reference).test_accuracy == 0.75
  assert ask(certificate._reference, params=99) is None
  assert ask(certificate._reference, elsewhere(finished)) is None
  # Nor was it measured here where the run's networks were not.
  finished.measured.clear()
  assert ask(certificate._reference) is None
