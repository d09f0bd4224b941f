"""What the frozen controller proposes: how many cells, and of what.

  python -m experiments.nasbench201.own_full_size.candidates \
    --data_dir=NB201 --scores DIR/full_seed{0,1,2}.npz

From the repository root; the arguments are those of `protocol.run`. On all
cells, as `protocol.run report` asks it: 27 settings with 24 budgets are 648
queries of 20 candidates each. Seed i has supernet i's scores. Beside it as many
of most MACs and random ones. Writes candidates.json:

- different: cells in all queries. dead: queries with the cell of `none` alone.
- listed: mean share of an operation in the candidates.
- smallest, middle, largest: mean probability of an operation at these scales.
- surrogate: Spearman of what the controller is trained against with the
  validation accuracy after 200 epochs, all cells. score: the same of the
  controller's log-likelihood at the smallest scale, mean over the settings, or
  of the count of MACs.
"""

import argparse
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from experiments.made import begin, made
from experiments.nasbench201.protocol import (
  choices,
  controller,
  data,
  pickers,
)
from experiments.nasbench201.protocol.choices import CANDIDATES, Frozen
from experiments.nasbench201.protocol.data import Cells
from experiments.nasbench201.protocol.report import CONTROLLER_SEEDS
from experiments.nasbench201.protocol.score import Problem, make_problem
from hwnas_jax.io import readers, writers
from hwnas_jax.spaces.nasbench201 import OPS

HERE = pathlib.Path(__file__).parent
SHOWN = ("none", "skip_connect")
SCALES = {
  "smallest": controller.LOW,
  "middle": (controller.LOW * controller.HIGH) ** 0.5,
  "largest": controller.HIGH,
}


def shares(probabilities: np.ndarray) -> dict[str, float]:
  """Means [O] of the SHOWN operations."""
  return {op: round(float(probabilities[OPS.index(op)]), 4) for op in SHOWN}


def describe(cells: Cells, lists: np.ndarray) -> dict[str, Any]:
  """What is in lists [D, B, k]."""
  rows = lists[lists != pickers.ABSENT]
  operations = controller.one_hot(cells.genotypes[rows]).mean((0, 1))
  return {
    "queries": lists[..., 0].size,
    "candidates_a_query": round(len(rows) / lists[..., 0].size, 2),
    "different": len(np.unique(rows)),
    "dead": int(cells.dead[rows].sum()),
    "listed": shares(operations),
  }


def spearman(x: np.ndarray, y: np.ndarray) -> float:
  """Rank correlation."""
  return round(float(stats.spearmanr(x, y).statistic), 4)


def of_controller(
  problem: Problem, frozen: Frozen, labels: str, seed: int
) -> dict[str, Any]:
  """The controller of some labels, as `report.controllers` trains it."""
  cells, settings = problem.cells, frozen.controllers[labels]
  weights = frozen.committee.weights
  fitted = choices.fit_surrogate(cells, labels, weights, seed)
  trained = controller.train(fitted, settings.entropy, seed)
  prices = choices.prices(cells, seed)
  likelihoods = controller.log_likelihoods(trained, prices, cells.genotypes)
  lists = controller.candidates(problem, likelihoods, settings, CANDIDATES)
  scales = jnp.asarray([*SCALES.values()])
  logits = controller.logits_at(*trained[:2], jnp.asarray(prices), scales)
  by_scale = np.asarray(jax.nn.softmax(logits).mean((0, 2)))
  quality = fitted.quality(jnp.asarray(controller.one_hot(cells.genotypes)))
  scores = [spearman(x[0], cells.val_200) for x in likelihoods]
  return {
    **describe(cells, lists),
    **{s: shares(row) for s, row in zip(SCALES, by_scale, strict=True)},
    "surrogate": spearman(np.asarray(quality), cells.val_200),
    "score": round(float(np.mean(scores)), 4),
  }


def parse() -> argparse.Namespace:
  """The command line."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--data_dir", type=pathlib.Path, required=True)
  parser.add_argument("--scores", type=pathlib.Path, nargs="+", required=True)
  return parser.parse_args()


def main() -> None:
  """Every label and seed, one row each."""
  args, start = parse(), begin()
  frozen = choices.read(readers.read_json(HERE / "frozen.json"))
  supernets = [data.load(args.data_dir, path) for path in args.scores]
  rows: dict[str, list[Any]] = {}
  for seed in range(CONTROLLER_SEEDS):
    problem = make_problem(supernets[seed % len(supernets)])
    cells, tie = problem.cells, pickers.shuffle(problem.cells, seed)
    largest = pickers.first_that_fit(problem, cells.macs, tie, CANDIDATES)
    drawn = pickers.random_that_fit(problem, seed, CANDIDATES)
    found = {
      "most MACs": describe(cells, largest)
      | {"score": spearman(cells.macs, cells.val_200)},
      "random": describe(cells, drawn),
    }
    for labels in choices.NUM_LABELS:
      row = of_controller(problem, frozen, labels, seed)
      found[f"controller ({labels} labels)"] = row
    for name, row in found.items():
      rows.setdefault(name, []).append(row)
      print(seed, name, row, flush=True)
  digests = data.digests(args.data_dir, args.scores)
  about = made(start, controllers=[*range(CONTROLLER_SEEDS)])
  writers.write_json(
    HERE / "candidates.json",
    {"rows": rows, "made": about | {"data_sha256": digests}},
  )


if __name__ == "__main__":
  main()
