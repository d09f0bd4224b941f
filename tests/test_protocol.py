"""The protocol of experiments/nasbench201/protocol, on cells made here."""

import importlib
import itertools
import pathlib
import sys

import numpy as np
import pytest

from hwnas_jax.derive import committee

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
NAME = "experiments.nasbench201.protocol"
controller, data, pickers, report, score, tune = (
  importlib.import_module(f"{NAME}.{module}")
  for module in (
    "controller",
    "data",
    "pickers",
    "report",
    "score",
    "tune",
  )
)


def make_cells(latency_ms, accuracy, macs=None, **judges):
  count = len(accuracy)
  accuracy = np.asarray(accuracy, float)
  macs = np.arange(count, dtype=float) if macs is None else np.asarray(macs)
  return data.Cells(
    indices=10 * np.arange(count),
    genotypes=np.arange(count)[:, None] % 5 * np.ones((1, 6), int),
    macs=macs,
    judges={name: np.asarray(x, float) for name, x in judges.items()},
    val_12=accuracy,
    val_200=accuracy,
    test_200=accuracy,
    latency_ms=np.asarray([latency_ms], float),
    settings=("device",),
  )


def test_hypervolume_by_hand():
  # From 2 ms to 5 ms 90 %, from 5 ms to 10 ms 94 %: 3 * 5 + 5 * 9. The slower
  # and worse cell at 7 ms adds nothing, nor does one beyond the end.
  latency_ms, accuracy = np.asarray([[7, 2, 12, 5], [93, 90, 99, 94]], float)
  area = score.hypervolume(latency_ms, accuracy, np.asarray(10.0))
  assert area == pytest.approx(60)


def test_accuracy_below_the_floor_is_worth_nothing():
  area = score.hypervolume(
    np.asarray([1.0]), np.asarray([84.0]), np.asarray(9.0)
  )
  assert area == 0


def test_budgets_are_even_and_leave_the_fastest_out():
  latency_ms = np.linspace(1, 201, 1001)[None]
  found = score.budgets(latency_ms)[0]
  assert len(found) == 24
  np.testing.assert_allclose(np.diff(found), (200 - 1) / 24)
  assert found[0] > 1 and found[-1] == pytest.approx(200)


def test_the_front_itself_scores_less_than_one_and_slow_picks_are_refused():
  cells = make_cells(np.arange(1, 101), np.linspace(86, 94, 100))
  problem = score.make_problem(cells)
  tie = pickers.shuffle(cells, 0)
  best = pickers.first_that_fit(problem, cells.test_200, tie, 1)[..., 0]
  assert 0.9 < score.score(problem, best)[0] < 1
  with pytest.raises(ValueError, match="longer than its budget"):
    score.score(problem, np.full_like(best, 99))
  with pytest.raises(ValueError, match="missing"):
    score.score(problem, np.full_like(best, pickers.ABSENT))


def test_a_list_has_the_cells_that_fit_and_no_others():
  cells = make_cells([1, 2, 3, 4, 25], [90] * 5)
  problem = score.make_problem(cells)
  tie = pickers.shuffle(cells, 0)
  lists = pickers.first_that_fit(problem, cells.macs, tie, 3)
  for budget_ms, found in zip(problem.budgets_ms[0], lists[0], strict=True):
    fits = [row for row in (3, 2, 1, 0) if row + 1 <= budget_ms][:3]
    assert found.tolist() == fits + [pickers.ABSENT] * (3 - len(fits))


def test_random_cells_fit_and_are_alive():
  # The fastest is the cell of `none` alone.
  cells = make_cells([1, 2, 3, 4, 25], [90] * 5)
  assert cells.dead.tolist() == [True] + 4 * [False]
  problem = score.make_problem(cells)
  drawn = pickers.random_that_fit(problem, 0, 4)
  for budget_ms, rows in zip(problem.budgets_ms[0], drawn[0], strict=True):
    fits = {row for row in (1, 2, 3) if row + 1 <= budget_ms}
    assert set(rows.tolist()) - {pickers.ABSENT} == fits


def test_ties_are_broken_by_the_seed():
  cells = make_cells([1.0] * 19 + [2.0], [90] * 20, macs=[5] * 20)
  problem = score.make_problem(cells)
  largest = [
    pickers.first_that_fit(
      problem, cells.macs, pickers.shuffle(cells, seed), 1
    )[0, 0, 0]
    for seed in (0, 0, 1, 2, 3)
  ]
  assert largest[0] == largest[1]
  assert len(set(largest)) > 1


def test_a_list_is_judged_as_a_query_judges_its_candidates():
  lists = np.asarray([[[4, 1, 2, pickers.ABSENT], [0, 3, 2, 1]]])
  judges = {
    "macs": np.asarray([7.0, 5, 7, 9, 5]),
    "jacov": np.asarray([30.0, -np.inf, 20, 20, 9]),
    "unused": np.full(5, np.nan),
  }
  weights = {"macs": 1.0, "jacov": 2.0}
  found = pickers.rank_sum(lists, judges, weights)[0]
  for ranked, rows in zip(found, ([4, 1, 2], [0, 3, 2, 1]), strict=True):
    scores = {name: judges[name][rows] for name in weights}
    verdict = committee.committee(scores, weights)
    np.testing.assert_allclose(ranked[: len(rows)], verdict.total)
  # By hand: MACs' ranks 1.5, 1.5, 3; jacov's 2, 1, 3.
  np.testing.assert_allclose(found[0, :3] * 3, [5.5, 3.5, 9])
  kept = pickers.keep(lists, found[None], np.linspace(0, 1, 5), 2)
  assert kept.tolist() == [[[2, 4], [0, 3]]]
  judges["jacov"][1] = np.nan
  with pytest.raises(ValueError, match="judge jacov has no score"):
    pickers.rank_sum(lists, judges, weights)


def test_a_union_has_each_cell_once():
  first, second = np.asarray([[[3, 1, -1]]]), np.asarray([[[1, 2, -1]]])
  found = pickers.union(first, second)[0, 0]
  assert sorted(found[found >= 0].tolist()) == [1, 2, 3]


def test_parts_share_no_cell_and_make_all():
  cells = make_cells(np.arange(1, 12), np.full(11, 90))
  half, other, every = (data.part_of(cells, part) for part in data.PARTS)
  assert not set(half.indices) & set(other.indices)
  assert sorted([*half.indices, *other.indices]) == every.indices.tolist()
  with pytest.raises(ValueError, match="half, other, all"):
    data.part_of(cells, "rest")


def test_a_file_of_scores_is_read_by_official_index(tmp_path):
  path = tmp_path / "scores.npz"
  np.savez(path, index=[4, 2], loss=[-1.0, -2.0])
  column = data._read_scores(path)["loss"]
  assert column[4] == -1 and column[2] == -2 and np.isnan(column).sum() == 15623
  np.savez(path, index=[4, 2], loss=[-1.0])
  with pytest.raises(ValueError, match="one score"):
    data._read_scores(path)


def test_prices_are_those_of_the_counts():
  genotypes = np.random.default_rng(0).integers(0, 5, (30, 6))
  ms = np.asarray([1.0, 0.5, 2.0, 4.0, 1.5])
  latency_ms = ms[genotypes].sum(1) + 3.0
  prices = controller.device_prices(genotypes, latency_ms)
  np.testing.assert_allclose(prices, (ms - 0.5) / (ms - 0.5).sum(), atol=1e-8)


@pytest.mark.parametrize("spread", ["scales", "mixture"])
def test_candidates_are_the_likeliest_of_the_band(spread):
  cells = make_cells(np.arange(1, 101), np.full(100, 90))
  problem = score.make_problem(cells)
  likelihoods = -np.abs(np.arange(100) - 95.0)[None, None]
  settings = controller.Settings(0.0, 0.1, spread)
  last = controller.candidates(problem, likelihoods, settings, 3)[0, -1]
  assert sorted(last.tolist()) == [94, 95, 96]
  first = controller.candidates(problem, likelihoods, settings, 9)[0, 0]
  fits = cells.latency_ms[0] <= problem.budgets_ms[0, 0]
  assert sorted(first[first >= 0].tolist()) == np.flatnonzero(fits).tolist()


def test_weightings_have_no_multiples():
  found = list(tune.weightings(["a", "b"]))
  assert len(found) == 5 and {"a": 2, "b": 2} not in found


def test_picks_have_the_form_of_the_record():
  rng = np.random.default_rng(0)
  cells = make_cells(
    rng.uniform(1, 9, 60), rng.uniform(86, 94, 60), macs=rng.integers(3, 9, 60)
  )
  cells.judges["macs"] = cells.macs
  frozen = report.Frozen(report.choices.Committee({"macs": 1}, 9), {})
  picks: dict = {}
  for seed in (0, 1):
    report.add_picks(picks, cells, frozen, seed)
  for name, dataset in itertools.product(("none", "five"), report.DATASETS):
    by_seed = picks[name][dataset]["device"]
    assert set(by_seed) == {"0", "1"}
    assert all(len(row) == 24 for row in by_seed.values())
    assert set(by_seed["0"]) <= set(cells.indices.tolist())
