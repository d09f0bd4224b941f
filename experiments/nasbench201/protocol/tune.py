"""Choices on one half of the cells, by one rule.

The objective is what the score asks for: the mean over settings plus the worst
setting, averaged over the ways to pick that the choice serves.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.nasbench201.protocol import (
  choices,
  controller,
  data,
  pickers,
)
from experiments.nasbench201.protocol.choices import (
  SHARED,
  Committee,
  Frozen,
)
from experiments.nasbench201.protocol.controller import Settings
from experiments.nasbench201.protocol.data import Cells
from experiments.nasbench201.protocol.score import Problem, make_problem, score

RESAMPLES, SEEDS = 6, 3
SHARE = 0.75  # of the cells in a resample
# A committee has the shortest list whose objective is this near the best: to
# judge costs time.
TOLERANCE = 0.001
SIZES = (20, 40, 60, 100)  # of the shortlist
ENTROPIES = (0.0, 0.2, 0.8, 1.6, 3.2)
BANDS = (0.05, 0.1, 0.2)
SPREADS = ("scales", "mixture")


class Tuned(NamedTuple):
  """The best, and every alternative with its objective."""

  frozen: Frozen
  grids: dict[str, list[dict[str, Any]]]


def tune(supernets: Sequence[Cells]) -> Tuned:
  """Chooses the committees, then the controller's settings for each label.

  Args:
    supernets: the cells with the scores of each supernet; one where they are
      published ones.
  """
  rows = _committees(supernets)
  grids = {"committee": rows}
  committee = _shortest(rows)
  settings = {}
  for labels in choices.NUM_LABELS:
    rows = _controllers(supernets, labels, committee)
    grids[f"controller_{labels}"] = rows
    settings[labels] = Settings(**rows[0]["settings"])
  without = None
  if SHARED in supernets[0].judges:
    committees = grids["committee"]
    without = _shortest([r for r in committees if SHARED not in r["weights"]])
  return Tuned(Frozen(committee, settings, without), grids)


def _shortest(rows: list[dict[str, Any]]) -> Committee:
  """The best of least k among rows near the best, which is the first."""
  near = [row for row in rows if row["worth"] >= rows[0]["worth"] - TOLERANCE]
  best = min(near, key=lambda row: row["k"])
  return Committee(best["weights"], best["k"])


def worth(problem: Problem, picks: np.ndarray) -> float:
  """Mean over settings plus the worst setting, halved."""
  ratios = score(problem, picks)
  return float(ratios.mean() + ratios.min()) / 2


def weightings(names: list[str]) -> Iterator[dict[str, float]]:
  """Weights 0, 1 or 2 of at most three judges, without multiples."""
  for weights in itertools.product((0, 1, 2), repeat=len(names)):
    if math.gcd(*weights) == 1 and np.count_nonzero(weights) <= 3:
      yield {n: w for n, w in zip(names, weights, strict=True) if w}


def _committees(supernets: Sequence[Cells]) -> list[dict[str, Any]]:
  """Every committee with its objective, best first.

  The objective is the mean over RESAMPLES random parts of the cells, each with
  its own budgets, true front and order of ties: the worst setting of one part
  is a matter of few cells.
  """
  found: dict[tuple[int, str], dict[str, Any]] = {}
  for seed in range(RESAMPLES):
    cells = data.subset_of(supernets[seed % len(supernets)], SHARE, seed)
    problem, tie = make_problem(cells), pickers.shuffle(cells, seed)
    for k in SIZES:
      lists = pickers.first_that_fit(problem, cells.macs, tie, k)
      ranks = {
        n: pickers.rank_sum(lists, cells.judges, {n: 1}) for n in cells.judges
      }
      for weights in weightings(sorted(cells.judges)):
        total = np.sum([w * ranks[n] for n, w in weights.items()], 0)
        best = pickers.keep(lists, total, tie, choices.FINALISTS)
        pair = best[..., 0], pickers.choose(best, cells.val_12, tie)
        row = found.setdefault(
          (k, str(weights)), {"k": k, "weights": weights, "worth": 0.0}
        )
        row["worth"] += sum(worth(problem, p) for p in pair) / 2 / RESAMPLES
  return _sorted(found)


def _controllers(
  supernets: Sequence[Cells], labels: str, committee: Committee
) -> list[dict[str, Any]]:
  """Every setting of the controller with its objective, best first."""
  problems = [make_problem(cells) for cells in supernets]
  found: dict[Settings, dict[str, Any]] = {}
  for entropy, seed in itertools.product(ENTROPIES, range(SEEDS)):
    problem = problems[seed % len(problems)]
    cells = problem.cells
    fitted = choices.fit_surrogate(cells, labels, committee.weights, seed)
    trained = controller.train(fitted, entropy, seed)
    likelihoods = controller.log_likelihoods(
      trained, choices.prices(cells, seed), cells.genotypes
    )
    for band, spread in itertools.product(BANDS, SPREADS):
      settings = Settings(entropy, band, spread)
      lists = controller.candidates(
        problem, likelihoods, settings, choices.CANDIDATES
      )
      picks = chosen(problem, lists, committee, pickers.shuffle(cells, seed))
      row = found.setdefault(
        settings, {"settings": settings.__dict__, "worth": 0.0}
      )
      row["worth"] += np.mean([worth(problem, p) for p in picks]) / SEEDS
  return _sorted(found)


def chosen(
  problem: Problem, lists: np.ndarray, committee: Committee, tie: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Who chooses among candidates: oracle, committee, best of FINALISTS."""
  cells = problem.cells
  total = pickers.rank_sum(lists, cells.judges, committee.weights)
  best = pickers.keep(lists, total, tie, choices.FINALISTS)
  return (
    pickers.choose(lists, cells.val_200, tie),
    best[..., 0],
    pickers.choose(best, cells.val_12, tie),
  )


def _sorted(found: Mapping[Any, dict[str, Any]]) -> list[dict[str, Any]]:
  rows = [row | {"worth": round(row["worth"], 5)} for row in found.values()]
  return sorted(rows, key=lambda row: -row["worth"])
