"""Judgements of a run: made once, kept, and fitted to."""

import types

import numpy as np
import pytest
from scipy import stats
from toy_config import config

from hwnas_jax.config import problem
from hwnas_jax.data import embedded
from hwnas_jax.derive import judges
from hwnas_jax.derive.judges import Judged
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.runs import judging, weights
from hwnas_jax.spaces import architecture

DIGITS = embedded.digits()
COUNT = 150


@pytest.fixture(scope="module")
def made():
  """NAS-Bench-201's cells, priced by their multiply-accumulates."""
  fields = config(
    space__name="nasbench201",
    space__num_cells=1,
    space__channels=4,
    derive__rule="argmax",
    cost__name="macs",
    quality__name="surrogate",
    quality__architectures=COUNT,
  )
  return problem.make(fields, problem.make_nets(fields), None)


@pytest.fixture
def asked(monkeypatch):
  """The judges that were asked; each scores by a count of an operation."""
  names = []

  def judge(which, evidence, genotypes):
    (name,) = which
    names.append(name)
    if name == "jacov":
      return Judged({}, {name: "it does not apply here"})
    assert evidence.spec.ops and len(evidence.draws) == judging.DRAWS
    scores = np.asarray([float(g.count(3)) for g in genotypes])
    return Judged({name: np.where(scores > 5, np.nan, scores)}, {})

  monkeypatch.setattr(judges, "judge", judge)
  monkeypatch.setattr(judging, "AT_ONCE", COUNT)
  return names


def test_architectures_are_judged_once_and_the_fit_is_kept(
  made, asked, tmp_path, capsys
):
  folder = RunFolder.at(tmp_path)
  fitted = judging.judge(made, folder, DIGITS, None)
  # Without jacov the second committee is asked.
  assert asked == ["jacov", "nwot", "shared_loss"]
  judged = folder.judgements()
  assert len(set(map(str, judged.architectures))) == COUNT
  assert judged.left_out == {"jacov": "it does not apply here"}
  assert len(judged.scores["nwot"]) == COUNT
  printed = capsys.readouterr().out
  assert "surrogate: jacov is left out: it does not apply here" in printed
  correlation = f"{judged.rank_correlation:.2f}"
  names = "nwot, shared_loss"
  assert f"{COUNT} architectures judged by {names} in" in printed
  assert f"leave-one-out Spearman {correlation}" in printed
  assert judged.rank_correlation > 0.9
  again = judging.judge(made, folder, DIGITS, None)
  assert len(asked) == 3 and capsys.readouterr().out == ""
  np.testing.assert_array_equal(again.pairs, fitted.pairs)
  finished = types.SimpleNamespace(problem=made, folder=folder)
  kind, _ = weights.provide(finished, (3,) * 6, folder.answer("abc"))
  assert kind == "none: the search trained no supernet"


def test_architectures_are_judged_some_at_a_time_with_a_bar(
  made, asked, monkeypatch, tmp_path, capsys
):
  whole = judging.judge(made, RunFolder.at(tmp_path / "a"), DIGITS, None)
  asked.clear()
  monkeypatch.setattr(judging, "AT_ONCE", COUNT - 1)
  parts = judging.judge(made, RunFolder.at(tmp_path / "b"), DIGITS, None)
  assert asked == ["jacov", *2 * ["nwot"], *2 * ["shared_loss"]]
  np.testing.assert_array_equal(parts.pairs, whole.pairs)
  assert f"judge nwot: 100% {COUNT}/{COUNT}" in capsys.readouterr().err


def test_a_run_that_was_stopped_asks_only_the_other_judges(
  made, asked, monkeypatch, tmp_path
):
  folder, judge = RunFolder.at(tmp_path), judges.judge

  def killed(names, evidence, genotypes):
    if names == ["shared_loss"]:
      raise KeyboardInterrupt
    return judge(names, evidence, genotypes)

  monkeypatch.setattr(judges, "judge", killed)
  with pytest.raises(KeyboardInterrupt):
    judging.judge(made, folder, DIGITS, None)
  assert folder.judgements().rank_correlation is None
  monkeypatch.setattr(judges, "judge", judge)
  judging.judge(made, folder, DIGITS, None)
  assert asked[2:] == ["shared_loss"]


def test_a_dead_architecture_has_the_lowest_rank(
  made, asked, tmp_path, monkeypatch
):
  folder = RunFolder.at(tmp_path)
  judging.judge(made, folder, DIGITS, None)
  net, judged = made.nets.supernet, folder.judgements()
  genotypes = [
    architecture.from_json(net.space(), a) for a in judged.architectures
  ]
  dead = np.asarray([not net.alive(g) for g in genotypes])
  assert 0 < dead.sum() < COUNT / 2
  # By the judges, who count an operation, the dead are not the worst.
  scores = np.asarray(judged.scores["nwot"], float)
  assert scores[dead].max() > scores[~dead].min()
  fitted = []
  monkeypatch.setattr(
    judging.surrogates, "fit", lambda mixes, labels: fitted.append(labels)
  )
  judging.fit(net, judged)
  (labels,) = fitted
  assert (labels[dead] == labels.min()).all()
  assert stats.spearmanr(labels[~dead], scores[~dead]).statistic > 0.999
