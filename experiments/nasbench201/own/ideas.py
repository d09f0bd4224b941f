"""What a better shared loss, and a better jacov, would give the committee.

  python -m experiments.nasbench201.own.ideas --data_dir=DIR

From the repository root; DIR as for `protocol.run`. The frozen committee and
list stay; what changes is one judge's scores:

- ensemble: the mean rank of the three supernets' shared losses;
- own jacov of the benchmark's size: one draw by `fresh.py`;
- published jacov: of the benchmark's size, one draw, in place of ours.

The first was chosen on the half (it is the better there); nothing of the second
was chosen; the third only shows what a better jacov would give. Writes
ideas.json.
"""

import argparse
import pathlib
from typing import Any

import numpy as np
from scipy.stats import rankdata

from experiments.made import begin, made
from experiments.nasbench201.protocol import choices, data, pickers
from experiments.nasbench201.protocol.choices import SHARED, Committee
from experiments.nasbench201.protocol.data import Cells
from experiments.nasbench201.protocol.score import make_problem, score
from hwnas_jax.io import readers, writers

HERE = pathlib.Path(__file__).parent
SUPERNETS, SHUFFLES = 3, 7


def judge(cells: Cells, part: str, committee: Committee) -> list[list[float]]:
  """[mean of the settings, worst setting] of what it picks, by shuffle."""
  cells = data.part_of(cells, part)
  problem, rows = make_problem(cells), []
  for seed in range(SHUFFLES):
    tie = pickers.shuffle(cells, seed)
    lists = pickers.first_that_fit(problem, cells.macs, tie, committee.k)
    total = pickers.rank_sum(lists, cells.judges, committee.weights)
    ratios = score(problem, pickers.keep(lists, total, tie, 1)[..., 0])
    rows.append([float(ratios.mean()), float(ratios.min())])
  return rows


def main() -> None:
  """Runs both ideas on every part; prints means over shuffles and supernets."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--data_dir", type=pathlib.Path, required=True)
  parser.add_argument("--json", type=pathlib.Path, default=HERE / "ideas.json")
  args, start = parser.parse_args(), begin()
  frozen = choices.read(readers.read_json(HERE / "frozen.json"))
  folder = HERE.parent / "supernets"
  ours = [
    data.load(args.data_dir, folder / f"seed{i}.npz") for i in range(SUPERNETS)
  ]
  losses = sum(rankdata(cells.judges[SHARED]) for cells in ours)
  jacov = data.load(args.data_dir).judges["jacov"]
  full = data.load(args.data_dir, folder / "full.npz").judges["jacov"]
  variants = {
    "as frozen": ours,
    "own jacov, full size": [
      c._replace(judges=c.judges | {"jacov": full}) for c in ours
    ],
    "ensemble": [ours[0]._replace(judges=ours[0].judges | {SHARED: losses})],
    "published jacov": [
      c._replace(judges=c.judges | {"jacov": jacov}) for c in ours
    ],
  }
  results: dict[str, Any] = {}
  for part in data.PARTS:
    for name, supernets in variants.items():
      rows = [r for c in supernets for r in judge(c, part, frozen.committee)]
      mean, worst = np.mean(rows, 0)
      spread = np.std([row[0] for row in rows])
      results.setdefault(part, {})[name] = rows
      print(f"{part} {name}: {mean:.3f} ({spread:.3f}) / {worst:.3f}")
  about = made(start, split=data.SPLIT_SEED, shuffles=SHUFFLES)
  writers.write_json(args.json, results | {"made": about})


if __name__ == "__main__":
  main()
