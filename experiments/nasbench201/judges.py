"""Judges of untrained networks against published scores of the same judges.

  python experiments/nasbench201/judges.py --data_dir=DIR --zero_cost=PATH

DIR is TFDS's folder with cifar10 in it, or a .npz (`hwnas_jax.data.load`). PATH
is zero_cost.csv, published with GRAF (Kadlecova et al. 2024, MIT): arch_str,
synflow, nwot, jacov and flops_m of NAS-Bench-201's cells without unreachable
operations, computed by NASLib on CIFAR-10.

Cells are drawn by --seed, and judged at the benchmark's size: 5 cells a stage,
16 channels, 32x32 images, batches of 64. Ranks are what has to agree: initial
weights and images are others. Cells that --json already has are skipped, and a
killed run goes on. --smoke is a reduced size that shows that it runs.
"""

import argparse
import csv
import pathlib
import time
from typing import Any

import jax
import numpy as np
from scipy import stats

from experiments.made import begin, made
from hwnas_jax.core.types import Genotype
from hwnas_jax.data import augment
from hwnas_jax.data import load as data
from hwnas_jax.derive import judges
from hwnas_jax.derive.judges import Evidence
from hwnas_jax.io import readers, records, versions, writers
from hwnas_jax.nets.models import make_supernet
from hwnas_jax.spaces import nasbench201
from hwnas_jax.spaces.nasbench201 import NasBench201

RESULTS = pathlib.Path(__file__).parent / "judges.json"
# Our name: (the file's name, the least Spearman that is asked).
PUBLISHED = {
  "synflow": ("synflow", 0.9),
  "nwot": ("nwot", 0.9),
  "jacov": ("jacov", 0.7),
  "macs": ("flops_m", None),
}
AT_ONCE = 10  # cells between two writes


def read_published(path: pathlib.Path) -> dict[str, dict[str, float]]:
  """{cell: {judge: published score}}."""
  with path.open(newline="") as file:
    return {
      row["arch_str"]: {
        j: float(row[name]) for j, (name, _) in PUBLISHED.items()
      }
      for row in csv.DictReader(file)
    }


def gather(args: argparse.Namespace) -> Evidence:
  """The supernet, fresh weights and images of the training split."""
  path = args.data_dir
  is_file = path.suffix == ".npz"
  dataset = data.load(f"npz:{path}" if is_file else "cifar10", path)
  spec = NasBench201(5, 16, dataset.image, dataset.num_classes)
  if args.smoke:
    spec = NasBench201(1, 4, dataset.image, dataset.num_classes)
  count = args.draws * args.batch
  rng = np.random.default_rng(args.seed)
  chosen = rng.choice(len(dataset.train.images), count, replace=False)
  images = augment.normalise(
    dataset.train.images[chosen], dataset.mean, dataset.std
  )
  net = make_supernet(spec)
  key = jax.random.key(args.seed)
  return Evidence(spec, net, judges.fresh(net, key, images, args.draws))


def score(
  evidence: Evidence, cells: dict[str, Genotype], results: dict[str, Any]
) -> None:
  """Adds scores and seconds of the cells to the results."""
  genotypes = list(cells.values())
  seconds = {}
  scores = {}
  for name in PUBLISHED:
    start = time.perf_counter()
    scores[name] = judges.judge([name], evidence, genotypes).scores[name]
    seconds[name] = (time.perf_counter() - start) / len(cells)
  for i, cell in enumerate(cells):
    results["cells"][cell] = {n: float(v[i]) for n, v in scores.items()}
  results["seconds_a_cell"].append(seconds)


def warm(evidence: Evidence, genotype: Genotype) -> float:
  """Compiles every judge; the seconds that takes."""
  start = time.perf_counter()
  judges.judge(list(PUBLISHED), evidence, [genotype])
  return time.perf_counter() - start


def summarise(
  results: dict[str, Any], published: dict[str, dict[str, float]]
) -> dict[str, Any]:
  """Agreement of ranks, and time, by judge."""
  scored = results["cells"]
  summary = {}
  for name, (_, least) in PUBLISHED.items():
    pairs = [(row[name], published[cell][name]) for cell, row in scored.items()]
    ours, theirs = np.asarray(pairs).T
    seconds = [part[name] for part in results["seconds_a_cell"]]
    summary[name] = {
      "spearman": float(stats.spearmanr(ours, theirs).statistic),
      "asked": least,
      "kendall": float(stats.kendalltau(ours, theirs).statistic),
      "median_seconds_a_cell": float(np.median(seconds)),
    }
  return summary


def parse() -> argparse.Namespace:
  """The command line."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--data_dir", type=pathlib.Path, required=True)
  parser.add_argument("--zero_cost", type=pathlib.Path, required=True)
  parser.add_argument("--cells", type=int, default=500)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--batch", type=int, default=64)
  parser.add_argument(
    "--draws", type=int, default=1, help="weights and batches of jacov"
  )
  parser.add_argument("--json", type=pathlib.Path, default=RESULTS)
  parser.add_argument("--smoke", action="store_true", help="8 small networks")
  args = parser.parse_args()
  if args.smoke:
    if args.json == RESULTS:
      parser.error("--smoke needs a --json of its own")
    args.cells, args.batch = 8, 8
  return args


def main() -> None:
  """Scores what --json lacks, and prints how the ranks agree."""
  args, begun = parse(), begin()
  published = read_published(args.zero_cost)
  rng = np.random.default_rng(args.seed)
  order = rng.permutation(len(published))[: args.cells]
  strings = list(published)
  drawn = {strings[i]: nasbench201.from_string(strings[i]) for i in order}
  evidence = gather(args)
  about = {
    "space": repr(evidence.spec),
    "seed": args.seed,
    "batch": args.batch,
    "draws": args.draws,
    "smoke": args.smoke,
  }
  results = {"about": about, "cells": {}, "seconds_a_cell": []}
  if args.json.exists():
    results = readers.read_json(args.json)
    if results["about"] != about:
      raise SystemExit(f"{args.json} is of {results['about']}: name another")
  processes = results.get("made", [])
  left = [cell for cell in drawn if cell not in results["cells"]]
  if left:
    results["compile_seconds"] = warm(evidence, drawn[left[0]])
  for start in range(0, len(left), AT_ONCE):
    part = {cell: drawn[cell] for cell in left[start : start + AT_ONCE]}
    score(evidence, part, results)
    results["made"] = [*processes, made(begun, cells=args.seed)]
    results["device"] = records.to_json(versions.device_fingerprint())
    results["summary"] = summarise(results, published)
    writers.write_json(args.json, results)
    print(len(results["cells"]), "cells", flush=True)
  for name, row in results["summary"].items():
    print(name, {k: v if v is None else round(v, 3) for k, v in row.items()})


if __name__ == "__main__":
  main()
