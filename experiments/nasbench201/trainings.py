"""Ways to train the reduced supernet, by how well its weights rank cells.

  python -m experiments.nasbench201.trainings --data_dir=DIR --nb201=NB201 \
    --way=uniform --seed=0

DIR is TFDS's folder with cifar10 in it, or a .npz; NB201 is the folder of the
published files (`protocol.data.FILES`). The supernet, the images and the judge
are those of `supernet.py`; what differs is the way of training:

- `fair`: five paths a step, in which every operation of a choice occurs once.
- `uniform`: one random path a step, five times as many steps: as many paths.
- `scaled`: fair, and each path's gradient is divided by the path's loss, so
  that paths which are still bad do not decide for the shared weights.
- `longer`: fair, three times as many steps.

Then `shared_loss` scores the cells of the half on which choices are made, over
--examples held-out examples. Rows are added to --json: rank correlation
with validation accuracy over the half, over the largest fifth, and within the
shortlists of 40, and the hypervolume of two committees with the shared loss. A
killed run goes on; a row that is there is not made again. With --scores, a .npz
of `supernet.py`, nothing is trained, and the row is of its `shared_loss`.
--smoke is a tiny size that shows that it runs.
"""

import argparse
import functools
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy import stats

from experiments.made import begin, made
from experiments.nasbench201 import supernet
from experiments.nasbench201.protocol import data, pickers
from experiments.nasbench201.protocol.choices import SHARED
from experiments.nasbench201.protocol.data import Cells
from experiments.nasbench201.protocol.score import make_problem, score
from hwnas_jax.core.types import Array, Genotype, Mix, Params
from hwnas_jax.io import readers, writers
from hwnas_jax.method import samplers
from hwnas_jax.method.estimators import Estimator, LossOfMix, Metrics
from hwnas_jax.method.path_estimators import ordered

HERE = pathlib.Path(__file__).parent
FULL = HERE / "supernets" / "full.npz"  # jacov of the benchmark's size
STEPS = 3000
SHORTLIST, SHUFFLES = 40, 20
COMMITTEES: dict[str, dict[str, float]] = {
  "jacov + MACs + shared loss": {"jacov": 2, "macs": 1, SHARED: 1},
  "MACs + shared loss": {"macs": 1, SHARED: 1},
}


def scaled() -> Estimator:
  """`ordered` with the loss's logarithm in place of the loss."""
  fair = ordered()

  def logarithm(loss: LossOfMix) -> LossOfMix:
    def log_loss(weights: Params, mix: Mix) -> tuple[Array, Metrics]:
      value, metrics = loss(weights, mix)
      return jax.numpy.log(value), metrics

    return log_loss

  def grads(loss: LossOfMix, *rest: Any) -> Any:
    return fair.grads(logarithm(loss), *rest)

  return fair._replace(grads=grads)


class Way(NamedTuple):
  """A way of training: sampler, and steps as a multiple of STEPS."""

  sampler: str = "ordered"
  times: int = 1


WAYS = {
  "fair": Way(),
  "uniform": Way(sampler="gdas", times=5),
  "scaled": Way(sampler="scaled"),
  "longer": Way(times=3),
}


def make_config(args: argparse.Namespace) -> Any:
  """The config of `supernet.py` with the way's sampler."""
  way = WAYS[args.way]
  config = supernet.make_config(args)
  config.sampler.update(name="ordered", warmup=way.sampler)
  return config


def spearman(x: np.ndarray, y: np.ndarray) -> float:
  """Rank correlation."""
  return float(stats.spearmanr(x, y).statistic)


def spread(rows: list[list[float]]) -> dict[str, list[float]]:
  """Of [mean of the settings, worst setting] by shuffle."""
  return {
    "mean": np.mean(rows, 0).round(5).tolist(),
    "sd": np.std(rows, 0, ddof=1).round(5).tolist(),
  }


def ranks(cells: Cells, scores: np.ndarray) -> dict[str, Any]:
  """What a supernet's scores [N] of the half's cells are worth."""
  judges = cells.judges | {SHARED: scores}
  large = cells.macs >= np.quantile(cells.macs, 0.8)
  problem = make_problem(cells)
  within, committees = [], {name: [] for name in COMMITTEES}
  for seed in range(SHUFFLES):
    tie = pickers.shuffle(cells, seed)
    lists = pickers.first_that_fit(problem, cells.macs, tie, SHORTLIST)
    for rows in lists.reshape(-1, SHORTLIST):
      rows = rows[rows != pickers.ABSENT]
      if len(rows) == SHORTLIST:
        within.append(spearman(scores[rows], cells.val_200[rows]))
    for name, weights in COMMITTEES.items():
      total = pickers.rank_sum(lists, judges, weights)
      ratios = score(problem, pickers.keep(lists, total, tie, 1)[..., 0])
      committees[name].append([float(ratios.mean()), float(ratios.min())])
  return {
    "all": spearman(scores, cells.val_200),
    "largest_fifth": spearman(scores[large], cells.val_200[large]),
    "within_shortlists": float(np.mean(within)),
    "committees": {n: spread(rows) for n, rows in committees.items()},
  }


def score_half(args: argparse.Namespace, cells: Cells) -> dict[int, np.ndarray]:
  """Trains, then scores [N] by the number of held-out examples."""
  if args.scores:
    stored = data.part_of(data.load(args.nb201, args.scores), "half")
    return {supernet.HELD_OUT: stored.judges[SHARED]}
  dataset = supernet.load_dataset(args.data_dir)
  by_count = {}
  for count in args.examples:
    evidence = supernet.train(args, dataset, make_config(args), count)
    path = args.work / args.name / f"scores{count}.npz"
    columns = readers.read_sealed(path) if path.exists() else {}
    genotypes: list[Genotype] = [
      tuple(int(op) for op in row) for row in cells.genotypes[~cells.dead]
    ]
    supernet.fill(evidence, SHARED, genotypes, columns, SHARED, path)
    by_count[count] = np.full(len(cells.dead), -np.inf)
    by_count[count][~cells.dead] = columns[SHARED]
  return by_count


def parse() -> argparse.Namespace:
  """The command line."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--data_dir", type=pathlib.Path)
  parser.add_argument("--nb201", type=pathlib.Path, required=True)
  parser.add_argument("--way", choices=WAYS, default="fair")
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument(
    "--work", type=pathlib.Path, default=HERE / "runs", help="of checkpoints"
  )
  parser.add_argument(
    "--json", type=pathlib.Path, default=HERE / "trainings.json"
  )
  parser.add_argument(
    "--examples", type=int, nargs="+", default=[supernet.HELD_OUT]
  )
  parser.add_argument("--scores", type=pathlib.Path, help="of fair, stored")
  parser.add_argument("--smoke", action="store_true")
  args = parser.parse_args()
  if not (args.data_dir or args.scores):
    parser.error("--data_dir is missing")
  args.name = f"{args.way}_seed{args.seed}"
  if args.scores:
    args.name = f"stored_{args.scores.stem}"
  args.steps = 20 if args.smoke else STEPS * WAYS[args.way].times
  if args.smoke:
    args.examples = [32]
  return args


def main() -> None:
  """Trains one supernet and adds its row."""
  args, start = parse(), begin()
  samplers.SAMPLERS["scaled"] = samplers.Sampler(
    one_hot=True,
    path=True,
    estimator=functools.update_wrapper(lambda samples: scaled(), scaled),
  )
  rows = readers.read_json(args.json) if args.json.exists() else {}
  if args.name in rows:
    print(f"{args.json} has {args.name}")
    return
  cells = data.part_of(data.load(args.nb201, FULL), "half")
  if args.smoke:
    cells = cells.take(np.argsort(-cells.macs, kind="stable")[:60])
  by_count = score_half(args, cells)
  rows[args.name] = {
    "way": WAYS[args.way]._asdict(),
    "steps": args.steps,
    "ranks": {str(n): ranks(cells, x) for n, x in by_count.items()},
    # The time of the process that ended: one that went on took less.
    "made": made(start, training=args.seed, shuffles=SHUFFLES),
    "cells": len(cells.indices),
    "smoke": args.smoke,
  }
  print(rows[args.name]["ranks"])
  writers.write_json(args.json, rows)


if __name__ == "__main__":
  main()
