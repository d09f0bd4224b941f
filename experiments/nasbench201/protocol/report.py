"""Every picker's score on one part of the cells, and picks.json."""

import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from experiments.nasbench201.protocol import choices, controller, pickers
from experiments.nasbench201.protocol.choices import (
  CANDIDATES,
  FINALISTS,
  NUM_LABELS,
  SHARED,
  Committee,
  Frozen,
)
from experiments.nasbench201.protocol.data import Cells
from experiments.nasbench201.protocol.score import (
  NUM_BUDGETS,
  Problem,
  make_problem,
  score,
)
from experiments.nasbench201.protocol.tune import chosen

CONTROLLER_SEEDS = 3
DATASETS = ("cifar10", "cifar100", "imagenet16")
CAPACITY = "most MACs"
PUBLISHED = (
  {"synflow": 1, "jacov": 1, "nwot": 1},
  {"synflow": 1, "jacov": 1},
  {"synflow": 1, "jacov": 2},
)
CHOOSERS = ("oracle", "committee", f"best of {FINALISTS} short trainings")
# What the supernet's weights add: the same committee without them, and the best
# committee without them.
WITHOUT_SHARED = ("committee without shared loss", "best without shared loss")


class Picker(NamedTuple):
  """Who picks.

  source: where the candidates come from. chooser: who chooses among them.
  candidates: a budget; 0 is every cell that fits.
  short: trainings of 12 epochs a budget, before the full one.
  """

  source: str
  chooser: str
  candidates: int
  short: float = 0.0


Picked = Iterator[tuple[Picker, np.ndarray]]


def named(weights: dict[str, float]) -> str:
  """A committee in words, such as `synflow + 2 jacov`."""
  return " + ".join(n if w == 1 else f"{w} {n}" for n, w in weights.items())


def baselines(problem: Problem, frozen: Frozen, seed: int) -> Picked:
  """Pickers without a controller; seed: of the tie shuffle and of chance."""
  cells, committee = problem.cells, frozen.committee
  tie = pickers.shuffle(cells, seed)
  every = lambda x: pickers.first_that_fit(problem, x, tie, 1)[..., 0]  # noqa: E731
  yield Picker("all that fit", "oracle", 0), every(cells.val_200)
  everyone = Picker("all that fit", "12 epochs of every cell", 0, np.inf)
  yield everyone, every(cells.val_12)

  def finalists(
    lists: np.ndarray, weights: dict, counts: tuple[int, ...]
  ) -> Picked:
    total = pickers.rank_sum(lists, cells.judges, weights)
    for count in counts:
      best = pickers.keep(lists, total, tie, count)
      ending = f", best of {count} short trainings" * (count > 1)
      chooser, size = named(weights) + ending, lists.shape[-1]
      picker = Picker(CAPACITY, chooser, size, count * (count > 1))
      yield picker, pickers.choose(best, cells.val_12, tie)

  largest = pickers.first_that_fit(problem, cells.macs, tie, committee.k)
  few = largest[..., :CANDIDATES]
  yield Picker(CAPACITY, "MACs", 1), largest[..., 0]
  for count in (5, 10, 16):
    short = Picker(CAPACITY, f"best of {count} short trainings", count, count)
    yield short, pickers.choose(largest[..., :count], cells.val_12, tie)
  for weights in PUBLISHED:
    yield from finalists(few, weights, (1, 3, FINALISTS))
  yield from finalists(largest, dict(committee.weights), (3,))
  yield from choosers(problem, frozen, CAPACITY, largest, tie)
  yield from choosers(problem, frozen, CAPACITY, few, tie)
  yield from _without_shared(problem, frozen, tie)
  drawn = pickers.random_that_fit(problem, seed, CANDIDATES)
  yield Picker("random", "chance", 1), drawn[..., 0]
  yield from choosers(problem, frozen, "random", drawn, tie)


def _without_shared(
  problem: Problem, frozen: Frozen, tie: np.ndarray
) -> Picked:
  """Committees without the supernet's weights; none without a supernet."""
  if frozen.without_shared is None:
    return
  weights = {n: w for n, w in frozen.committee.weights.items() if n != SHARED}
  same = Committee(weights, frozen.committee.k)
  for who, committee in zip(
    WITHOUT_SHARED, (same, frozen.without_shared), strict=True
  ):
    lists = pickers.first_that_fit(
      problem, problem.cells.macs, tie, committee.k
    )
    _, none, five = chosen(problem, lists, committee, tie)
    yield Picker(CAPACITY, who, committee.k), none
    best = f"{who}, best of {FINALISTS} short trainings"
    yield Picker(CAPACITY, best, committee.k, FINALISTS), five


def choosers(
  problem: Problem,
  frozen: Frozen,
  source: str,
  lists: np.ndarray,
  tie: np.ndarray,
  labels: float = 0.0,
) -> Picked:
  """Oracle, committee and best of FINALISTS among candidates.

  labels: short trainings a budget that the candidates took.
  """
  shorts = (labels, labels, labels + FINALISTS)
  picks = chosen(problem, lists, frozen.committee, tie)
  for who, short, picked in zip(CHOOSERS, shorts, picks, strict=True):
    yield Picker(source, who, lists.shape[-1], short), picked


def controllers(
  problem: Problem, frozen: Frozen, *, labels: str, seed: int
) -> Picked:
  """The controller alone, and what it adds; seed: of everything random."""
  cells, settings = problem.cells, frozen.controllers[labels]
  tie = pickers.shuffle(cells, seed)
  fitted = choices.fit_surrogate(cells, labels, frozen.committee.weights, seed)
  trained = controller.train(fitted, settings.entropy, seed)
  devices = len(cells.settings)
  each = NUM_LABELS[labels] / (NUM_BUDGETS * devices) * (labels == "short")
  mixes = jnp.asarray(controller.one_hot(cells.genotypes))
  quality = np.asarray(fitted.quality(mixes))

  def of_surrogate(source: str, lists: np.ndarray) -> Picked:
    picker = Picker(source, "surrogate", lists.shape[-1], each)
    yield picker, pickers.choose(lists, quality, tie)

  def candidates(timed: int | None) -> np.ndarray:
    likelihoods = controller.log_likelihoods(
      trained, choices.prices(cells, seed, timed), cells.genotypes
    )
    return controller.candidates(problem, likelihoods, settings, CANDIDATES)

  name = f"controller ({labels} labels)"
  lists = candidates(choices.NUM_PRICED)
  yield from choosers(problem, frozen, name, lists, tie, each)
  yield from of_surrogate(name, lists)
  exact = f"{name}, prices of all cells"
  yield from choosers(problem, frozen, exact, candidates(None), tie, each)
  largest = pickers.first_that_fit(problem, cells.macs, tie, frozen.committee.k)
  half = CANDIDATES // 2
  for many, few in ((largest, lists), (largest[..., :half], lists[..., :half])):
    both = pickers.union(many, few)
    yield from choosers(
      problem, frozen, f"{CAPACITY} and {name}", both, tie, each
    )
  yield from of_surrogate(f"{CAPACITY} ({labels} labels)", largest)
  top = pickers.first_that_fit(problem, quality, tie, CANDIDATES)
  ranked = f"surrogate over all cells ({labels} labels)"
  yield from choosers(problem, frozen, ranked, top, tie, each)
  yield from of_surrogate(ranked, top)


def report(
  supernets: Sequence[Cells], frozen: Frozen, shuffles: int
) -> list[dict[str, Any]]:
  """A row for each picker: mean and deviation over shuffles or seeds.

  Args:
    supernets: a part of the cells, with the scores of each supernet. Repeat i
      reads those of supernet i modulo their number.
    frozen: the choices.
    shuffles: seeds of the tie shuffle of pickers without a controller.
  """
  problems = [make_problem(cells) for cells in supernets]
  ratios: dict[Picker, list[np.ndarray]] = {}
  jobs = [(baselines, seed) for seed in range(shuffles)]
  jobs += [
    (functools.partial(controllers, labels=labels), seed)
    for labels in NUM_LABELS
    for seed in range(CONTROLLER_SEEDS)
  ]
  for picked, seed in jobs:
    problem = problems[seed % len(problems)]
    for picker, picks in picked(problem, frozen, seed=seed):
      ratios.setdefault(picker, []).append(score(problem, picks))
  settings = supernets[0].settings
  return [_row(p, np.stack(r), settings) for p, r in ratios.items()]


def _row(
  picker: Picker, ratios: np.ndarray, settings: tuple[str, ...]
) -> dict[str, Any]:
  """Of ratios [repeats, D]; repeat i has the tie shuffle of seed i."""
  means, worsts = ratios.mean(1), ratios.min(1)
  row = picker._asdict()
  row["short"] = None if np.isinf(picker.short) else round(picker.short, 3)
  return row | {
    "repeats": len(ratios),
    "mean": round(float(means.mean()), 4),
    "sd": round(float(means.std(ddof=1)), 4),
    "worst": round(float(worsts.mean()), 4),
    "worst_sd": round(float(worsts.std(ddof=1)), 4),
    "worst_setting": settings[int(ratios.mean(0).argmin())],
    "means": means.round(5),
    "worsts": worsts.round(5),
  }


def picks(cells: Cells, frozen: Frozen, seed: int) -> dict[str, Any]:
  """Official indices by setting: without and with short trainings.

  Args:
    cells: all.
    frozen: the committee.
    seed: of the tie shuffle.
  """
  problem = make_problem(cells)
  tie = pickers.shuffle(cells, seed)
  lists = pickers.first_that_fit(problem, cells.macs, tie, frozen.committee.k)
  _, none, five = chosen(problem, lists, frozen.committee, tie)
  return {
    name: dict(zip(cells.settings, cells.indices[rows].tolist(), strict=True))
    for name, rows in (("none", none), ("five", five))
  }


def add_picks(
  found: dict[str, Any], cells: Cells, frozen: Frozen, seed: int
) -> None:
  """Adds the picks of a supernet's seed; they are the same for all data sets.

  Args:
    found: {none or five: {data set: {setting: {seed: indices}}}}, changed.
    cells: all.
    frozen: the committee.
    seed: of the supernet, and of the tie shuffle.
  """
  for name, by_setting in picks(cells, frozen, seed).items():
    for dataset, (setting, indices) in itertools.product(
      DATASETS, by_setting.items()
    ):
      of_setting = found.setdefault(name, {}).setdefault(dataset, {})
      of_setting.setdefault(setting, {})[str(seed)] = indices
