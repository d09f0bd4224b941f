"""The candidates of a query: their union, their sizes and their places."""

import types

import numpy as np
import pytest

import hwnas_jax as hw
from hwnas_jax.config import problem as problems
from hwnas_jax.derive import capacity, exact
from hwnas_jax.derive.judges import Judged
from hwnas_jax.runs import candidates, scores
from hwnas_jax.runs.candidates import Proposals
from hwnas_jax.spaces.nasbench201 import NasBench201

CELLS = NasBench201(1, 4, (8, 8, 3), 10)
NONE, SKIP, CONV1, CONV3 = range(4)
LIVE = (CONV3, NONE, SKIP, CONV1, CONV3, NONE)
# 0->1 and 1->2 have no way to the output: two forms of one function.
DEAD = (CONV3, CONV1, CONV3, CONV1, NONE, NONE)
BARE = (NONE, NONE, NONE, CONV1, NONE, NONE)
OTHER = (SKIP,) * 6


def by_size(finished, names, genotypes):
  """All judges count; jacov and nwot are left out."""
  sizes = capacity.macs(finished.problem.nets.derived, genotypes)
  left_out = {n: "why" for n in names if n in ("jacov", "nwot")}
  return Judged({n: sizes for n in names if n not in left_out}, left_out)


@pytest.fixture
def proposals(run, monkeypatch):
  monkeypatch.setattr(scores, "judge", by_size)
  return Proposals(run.finished, run.table, {})


def test_the_union_says_who_proposed_each(monkeypatch):
  nets = types.SimpleNamespace(derived=CELLS)
  problem = types.SimpleNamespace(nets=nets)
  proposals = Proposals(types.SimpleNamespace(problem=problem), None, {})
  slow = {DEAD: 2.0}  # a device that runs what does not reach the output
  predicted_ms = lambda self, genotype: slow.get(genotype, 1.0)  # noqa: E731
  monkeypatch.setattr(Proposals, "_predicted_ms", predicted_ms)
  merged = proposals._merged([LIVE, DEAD], [OTHER, BARE])
  assert merged == {LIVE: "controller", BARE: "both", OTHER: "capacity"}
  # Twice from one of the two is not from both.
  assert proposals._merged([BARE, DEAD], []) == {BARE: "controller"}
  assert proposals._merged([], [DEAD, BARE]) == {BARE: "capacity"}


def test_candidates_are_of_both_and_keep_the_limit(proposals):
  net, (low, high) = proposals._net, limits(proposals)
  limit_ms = (low + high) / 2
  ranking = proposals.within(limit_ms)
  timed = proposals._timed(limit_ms)
  assert all(
    exact.spent(timed, c.genotype) <= limit_ms for c in ranking.candidates
  )
  sources = {c.genotype: c.source for c in ranking.candidates}
  largest = capacity.largest(net, proposals._rule, [timed], capacity.COUNT)
  assert {g for g, s in sources.items() if s != "controller"} == set(largest)
  assert set(sources.values()) >= {"controller", "capacity"}
  # The first committee lacks jacov, so the second is asked.
  assert ranking.judged.left_out == {"jacov": "why", "nwot": "why"}
  assert ranking.weights == {"shared_loss": 1.0}


def limits(proposals):
  timed = proposals._timed(0.0)
  return timed.base + timed.cost.min(1).sum(), timed.base + timed.cost.max(
    1
  ).sum()


def test_places_count_what_only_the_latency_excludes(proposals):
  low, high = limits(proposals)
  ranking = proposals.within((low + high) / 2)
  sizes = capacity.macs(proposals._net, ranking.compared)
  first = ranking.candidates[0]
  own = sizes[ranking.compared.index(first.genotype)]
  assert first.place == 1 + (sizes > own).sum() > 1
  places = [c.place for c in ranking.candidates]
  assert places == sorted(places)
  # Equal places, by rising latency.
  rows = [(c.place, c.predicted_ms) for c in ranking.candidates]
  assert rows == sorted(rows)
  assert proposals.within(2 * high).candidates[0].place == 1


def test_what_nothing_keeps_has_no_candidates(proposals):
  ranking = proposals.within(0.5 * limits(proposals)[0])
  assert ranking.candidates == []


def test_without_a_judge_that_applies_there_is_no_answer(
  proposals, monkeypatch
):
  nobody = lambda _, names, __: Judged(  # noqa: E731
    {}, dict.fromkeys(names, "no images")
  )
  monkeypatch.setattr(scores, "judge", nobody)
  with pytest.raises(ValueError, match="no judge applies: jacov: no images"):
    proposals.within(1e3)


def test_a_query_keeps_the_cap_on_skips():
  config = hw.load_config("digits:smoke")
  config.derive.max_skips = 2
  fields = problems.resolve(config)
  nets = problems.make_nets(fields)
  finished = types.SimpleNamespace(
    problem=types.SimpleNamespace(config=fields, nets=nets)
  )
  (cap,) = candidates.Proposals(finished, None, {}).constraints
  assert (cap.name, cap.budget) == ("skip_connect", 2)
  skips = np.zeros(nets.derived.space().shape)
  skips[:, nets.derived.ops.index("skip_connect")] = 1
  np.testing.assert_array_equal(cap.cost, skips)
