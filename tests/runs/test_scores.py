"""What judges said is kept in the run folder."""

import dataclasses
import itertools
import json
import threading
import time

import numpy as np
import pytest
from msgspec.structs import replace

import hwnas_jax as hw
from hwnas_jax.derive import capacity, judges
from hwnas_jax.derive.judges import Judged
from hwnas_jax.io import lock, records
from hwnas_jax.io.certificates import Scores
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.runs import judging
from hwnas_jax.runs import run as runs
from hwnas_jax.runs import scores as run_scores
from hwnas_jax.runs.candidates import Proposals
from hwnas_jax.runs.finished import HELD_OUT, Finished
from hwnas_jax.spaces import architecture

POOLS, SKIPS, CONVS = (0,) * 5, (1,) * 5, (2,) * 5


@pytest.fixture
def finished(run, tmp_path):
  """The run in an empty folder, where nothing was asked yet."""
  return dataclasses.replace(run.finished, folder=RunFolder(tmp_path))


@pytest.fixture
def asked(monkeypatch):
  """Judges that compile nothing: ('macs', [genotypes]) of each call."""
  calls = []

  def judge(names, evidence, genotypes):
    (name,) = names
    calls.append((name, list(genotypes)))
    if name == "jacov":
      return Judged({}, {name: "no gradients"})
    scores = [np.nan if g == POOLS else float(sum(g)) for g in genotypes]
    return Judged({name: np.asarray(scores)}, {})

  monkeypatch.setattr(judges, "judge", judge)
  monkeypatch.setattr(Finished, "evidence", None)
  return calls


@pytest.fixture(autouse=True)
def _five_choices(run):
  assert len(run.nets.derived.space().choices) == len(SKIPS)


def test_nobody_is_asked_twice(finished, asked):
  names = ["nwot", "jacov"]
  scores, left_out = run_scores.judge(finished, names, [SKIPS, POOLS, SKIPS])
  np.testing.assert_array_equal(scores["nwot"], [5, np.nan, 5])
  assert left_out == {"jacov": "no gradients"} and list(scores) == ["nwot"]
  # Each in a thread of its own.
  assert sorted(asked) == [("jacov", [SKIPS, POOLS]), ("nwot", [SKIPS, POOLS])]
  again = run_scores.judge(finished, names, [POOLS, SKIPS])
  np.testing.assert_array_equal(again.scores["nwot"], [np.nan, 5])
  assert again.left_out == left_out and len(asked) == 2
  run_scores.judge(finished, names, [CONVS, SKIPS])
  assert asked[2:] == [("nwot", [CONVS])]
  # A judge that was left out is not named to who did not ask for it.
  assert run_scores.judge(finished, ["nwot"], [SKIPS]).left_out == {}


def test_what_was_judged_is_kept_when_a_query_is_stopped(
  finished, asked, monkeypatch, capsys
):
  monkeypatch.setattr(judging, "AT_ONCE", 1)
  judge = judges.judge

  def stopped(names, evidence, genotypes):
    if genotypes == [POOLS]:
      while len(asked) < 2:  # the other judge's thread may begin later
        time.sleep(0.001)
      raise InterruptedError
    return judge(names, evidence, genotypes)

  monkeypatch.setattr(judges, "judge", stopped)
  wanted = [SKIPS, POOLS, CONVS]
  with pytest.raises(InterruptedError):
    run_scores.judge(finished, ["nwot", "jacov"], wanted)
  assert sorted(asked) == [("jacov", [SKIPS]), ("nwot", [SKIPS])]
  assert "judge: 100%" not in capsys.readouterr().err
  monkeypatch.setattr(judges, "judge", judge)
  scores, left_out = run_scores.judge(finished, ["nwot", "jacov"], wanted)
  np.testing.assert_array_equal(scores["nwot"], [5, np.nan, 10])
  assert left_out == {"jacov": "no gradients"}
  assert asked[2:] == [("nwot", [POOLS]), ("nwot", [CONVS])]
  assert "judge: 100%" in capsys.readouterr().err


def test_who_stops_a_query_waits_for_no_other_judge(
  finished, asked, monkeypatch
):
  monkeypatch.setattr(judging, "AT_ONCE", 1)
  judge, failed = judges.judge, threading.Event()

  def stopped(names, evidence, genotypes):
    if names == ["nwot"]:
      failed.set()
      raise KeyboardInterrupt
    failed.wait()
    time.sleep(0.05)
    return judge(names, evidence, genotypes)

  monkeypatch.setattr(judges, "judge", stopped)
  wanted = list(itertools.product(range(3), repeat=len(SKIPS)))
  with pytest.raises(KeyboardInterrupt):
    run_scores.judge(finished, ["nwot", "macs"], wanted)
  assert len(asked) < len(wanted) / 2  # of 12 s


def test_scores_are_of_what_was_read(finished, asked):
  run_scores.judge(finished, ["nwot"], [SKIPS])
  judged = json.loads(finished.folder.scores.read_text())
  assert list(judged["scores"]["nwot"].values()) == [5.0]
  scores = records.read(finished.folder.scores, Scores)
  records.write(finished.folder.scores, replace(scores, digest="x"))
  run_scores.judge(finished, ["nwot"], [SKIPS])
  assert len(asked) == 2
  state = finished.searched.state
  other = dataclasses.replace(
    state, weights={**state.weights, "more": np.zeros(1)}
  )
  searched = finished.searched._replace(state=other)
  changed = dataclasses.replace(finished, searched=searched)
  assert run_scores._digest(changed) != run_scores._digest(finished)


def test_an_unknown_judge_is_refused_before_anything_is_read(finished, asked):
  with pytest.raises(ValueError, match="no judge is called 'zen'"):
    run_scores.judge(finished, ["nwot", "zen"], [SKIPS])
  assert asked == []


def test_a_run_has_what_judges_read(finished):
  evidence = finished.evidence
  # Judges are compiled for its supernet: another would be compiled again.
  assert finished.evidence is evidence
  assert len(evidence.draws) == judging.DRAWS
  images = evidence.draws[0].images
  assert images.shape == (judging.BATCH, 8, 8, 1)
  assert len(evidence.shared.images) == HELD_OUT
  names = ["macs", "jacov"]
  scores, left_out = run_scores.judge(finished, names, [SKIPS, CONVS])
  sizes = capacity.macs(finished.problem.nets.derived, [SKIPS, CONVS])
  np.testing.assert_array_equal(scores["macs"], sizes)
  assert "averages batch-normalised features" in left_out["jacov"]


def test_only_the_trained_supernet_computes_in_the_runs_precision(run):
  """Judges of untrained networks compute in float32."""
  made = run.finished.problem
  half = dataclasses.replace(
    made, config=replace(made.config, precision="bfloat16")
  )
  evidence = dataclasses.replace(run.finished, problem=half).evidence
  assert evidence.shared.images.dtype == "bfloat16"
  assert {draw.images.dtype.name for draw in evidence.draws} == {"float32"}
  assert run.finished.evidence.shared.images.dtype == "float32"


def test_a_finished_search_was_judged_ahead(finished_run, run, monkeypatch):
  """Before its first query, what every budget compares has its scores."""
  folder = RunFolder(finished_run / "runs/digits")
  ahead = records.read(folder.scores, Scores)
  monkeypatch.setattr(judges, "judge", None)  # nobody is asked again
  searched = dataclasses.replace(run.finished, folder=folder)
  assert Proposals(searched, run.table, {}).judge_ahead() > 1
  assert {"nwot", "shared_loss"} <= set(ahead.scores)
  assert records.read(folder.scores, Scores) == ahead


def test_the_main_job_judges_ahead_what_is_missing(
  finished, run, monkeypatch, asked
):
  begun = hw.Run(finished.folder)
  vars(begun).update(config=run.config, finished=finished, table=run.table)
  with lock.alone(finished.folder.path):
    with pytest.raises(ValueError, match="is in use"):
      runs._judge_ahead(begun)
  assert asked == []
  runs._judge_ahead(begun)
  scores = records.read(finished.folder.scores, Scores)
  first, *_, last = scores.scores["nwot"]
  less = {k: v for k, v in scores.scores["nwot"].items() if k != last}
  stopped = replace(scores, scores={**scores.scores, "nwot": less})
  records.write(finished.folder.scores, stopped)
  asked.clear()
  runs._judge_ahead(begun)
  ((name, (genotype,)),) = asked
  space = run.nets.derived.space()
  assert (name, architecture.identity(space, genotype)) == ("nwot", last)
