"""Finalists: short trainings, each made once a run."""

import dataclasses

import numpy as np
import pytest
from msgspec.structs import replace

from hwnas_jax.io import loop, readers, writers
from hwnas_jax.io.records import Accuracies, Measurement
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.runs import finalists, training
from hwnas_jax.runs.finalists import Finalists, Round, Trained
from hwnas_jax.runs.run import Run
from hwnas_jax.spaces import architecture

STEPS = 20  # a dispatch of the run


@pytest.fixture
def finished(run, tmp_path):
  """The run in an empty folder, where nothing was trained yet."""
  return dataclasses.replace(run.finished, folder=RunFolder(tmp_path))


@pytest.fixture
def trained(monkeypatch):
  """Trainings that only write down what they would be: (steps, genotype).

  The accuracy is the sum of an architecture's columns, in per cent.
  """
  calls = []

  def compile_none(setting, sized):
    assert setting.config.train.num_seeds == 1
    return setting.config.train.num_steps, sized.genotype

  def train(setting, home, programs, shared):
    if len(calls) == stop_at[0]:
      stop_at[0] = -1
      raise loop.Stopped("stopped")
    assert shared is None
    _, genotype = programs
    calls.append(programs)
    rows = [f'{{"step": {i}, "unix_time_s": {t}}}\n' for i, t in LOG]
    home.metrics.write_text("".join(rows))
    writers.write_arrays(home.weights, {"w": np.zeros(1)})
    accuracy = sum(genotype) / 100
    home.write_accuracies(Accuracies(0.0, (0.0,), accuracy))

  stop_at = [-1]
  monkeypatch.setattr(training, "_compile", compile_none)
  monkeypatch.setattr(training, "_train", train)
  return calls, stop_at


# Two seconds a dispatch, with a pause of an hour.
LOG = [(20, 0.0), (40, 2.0), (60, 3602.0), (80, 3604.0)]


@pytest.mark.parametrize(
  ("times_s", "seconds"),
  [
    ((0.0, 2.0, 3602.0, 3604.0), 8.0),
    ((9000.0, 2.0, 4.0, 6.0), 8.0),
    ((9000.0, 2.0), None),
    ((9000.0,), None),  # one dispatch: nothing says how long it took
  ],
)
def test_seconds_leave_out_pauses_and_a_clock_that_is_set_back(
  tmp_path, times_s, seconds
):
  home = RunFolder(tmp_path).network("a")
  home.path.mkdir(parents=True)
  rows = [f'{{"step": {i}, "unix_time_s": {t}}}' for i, t in enumerate(times_s)]
  home.metrics.write_text("\n".join(rows) + "\n")
  assert finalists._seconds(home) == seconds


def genotypes(finished, *sums):
  """An architecture of each sum of columns."""
  count = len(finished.problem.nets.derived.space().choices)
  full = [(2,) * (n // 2) + (1,) * (n % 2) for n in sums]
  return [columns + (0,) * (count - len(columns)) for columns in full]


def test_rounds_halve_the_finalists_and_double_their_steps():
  assert finalists.rounds(Finalists(3, 200), 20) == [Round(3, 200)]
  assert finalists.rounds(Finalists(8, 200), 20) == [Round(8, 200)]
  assert finalists.rounds(Finalists(9, 200), 20) == [Round(9, 100), (5, 200)]
  assert finalists.rounds(Finalists(32, 200), 20) == [
    Round(32, 40),  # a quarter is 50, and a dispatch 20 steps
    Round(16, 100),
    Round(8, 200),
  ]
  assert finalists.rounds(Finalists(16, 20), 20) == [Round(16, 20), (8, 20)]


def test_the_most_accurate_is_first_and_is_trained_once(finished, trained):
  calls, _ = trained
  given = genotypes(finished, 1, 5, 3)
  asked = Finalists(3, STEPS)
  rows = finalists.train(finished, asked, given)
  assert [row.genotype for row in rows] == [given[1], given[2], given[0]]
  assert rows[0] == Trained(given[1], STEPS, 8.0, 0.05)
  assert calls == [(STEPS, genotype) for genotype in given]
  # Another query: two that are known, and a new one.
  more = [given[2], *genotypes(finished, 4), given[0]]
  finalists.train(finished, asked, more)
  assert calls[3:] == [(STEPS, more[1])]
  # Other steps are other trainings.
  finalists.train(finished, Finalists(2, 2 * STEPS), given[:2])
  assert len(calls) == 6


def test_a_recipe_of_its_own_has_trainings_of_its_own(finished, trained):
  calls, _ = trained
  given = genotypes(finished, 1, 2)
  config = finished.problem.config
  slower = replace(config.train, lr=config.train.lr / 2)
  changes = replace(config, seed=1), replace(config, train=slower)
  for changed in (config, *changes):
    problem = dataclasses.replace(finished.problem, config=changed)
    other = dataclasses.replace(finished, problem=problem)
    finalists.train(other, Finalists(2, STEPS), given)
  assert len(calls) == 6
  data = dataclasses.replace(finished.dataset, digest="other")
  other = dataclasses.replace(finished, dataset=data)
  finalists.train(other, Finalists(2, STEPS), given)
  assert len(calls) == 8


def test_a_killed_query_resumes(finished, trained):
  calls, stop_at = trained
  stop_at[0] = 1
  given, asked = genotypes(finished, 1, 2, 3), Finalists(3, STEPS)
  with pytest.raises(loop.Stopped):
    finalists.train(finished, asked, given)
  assert calls == [(STEPS, given[0])]
  assert finalists.train(finished, asked, given)[0].genotype == given[2]
  assert calls == [(STEPS, genotype) for genotype in given]


def test_halving_drops_the_worse(finished, trained):
  calls, _ = trained
  given = genotypes(finished, *range(9))
  rows = finalists.train(finished, Finalists(9, 2 * STEPS), given)
  assert calls[:9] == [(STEPS, genotype) for genotype in given]
  best = list(reversed(given))
  assert calls[9:] == [(2 * STEPS, genotype) for genotype in best[:5]]
  assert [row.genotype for row in rows] == best
  assert [row.steps for row in rows] == [2 * STEPS] * 5 + [STEPS] * 4
  assert [row.seconds for row in rows] == [16.0] * 5 + [8.0] * 4


def test_what_cannot_be_trained_is_refused(run):
  with pytest.raises(ValueError, match="finalists must be 2 or more, got 1"):
    Finalists(1, STEPS)
  with pytest.raises(ValueError, match="finalist_steps must be 1 or more"):
    Finalists(2, 0)
  # Before the search is even read.
  begun = Run(run.folder)
  message = r"finalist_steps \(30\) must be a multiple of .*dispatch \(20\)"
  with pytest.raises(ValueError, match=message):
    begun.query("1ms", finalists=Finalists(3, 30))
  assert "finished" not in vars(begun)


@pytest.mark.slow
def test_a_query_takes_the_most_accurate_finalist(run):
  """Trained for real, once: the second query reads what the first has made."""
  measure = lambda genotype: Measurement(1e-3, 0.0)  # noqa: E731
  asked = Finalists(2, STEPS)
  answer = run.query("100%", measure=measure, finalists=asked, judges=("macs",))
  rows = answer.certificate.finalists
  assert len(rows) == 2 and rows[0].id == answer.network.id
  assert rows[0].held_out_accuracy >= rows[1].held_out_accuracy
  assert {row.steps for row in rows} == {STEPS}
  (folder,) = (run.folder.path / "finalists").iterdir()
  homes = [RunFolder(folder).network(row.id) for row in rows]
  before = [readers.read_jsonl(home.metrics) for home in homes]
  again = run.query("0.9x", measure=measure, finalists=asked, judges=("macs",))
  assert [row.id for row in again.certificate.finalists] == [r.id for r in rows]
  assert [readers.read_jsonl(home.metrics) for home in homes] == before
  space = run.nets.derived.space()
  assert architecture.identity(space, answer.network.genotype) == rows[0].id
