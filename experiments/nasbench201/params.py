"""Sizes, strings and indices of all 15,625 cells against the benchmark's.

  python experiments/nasbench201/params.py --data_dir=DIR

DIR holds `nb201_cifar10.npz`: the benchmark's arch_str, cifar10_params and
cifar10_macs in its own order. Nothing is built: sizes are sums over sites.
Published sizes count every operation; a derived network holds what is live.
"""

import argparse
import hashlib
import pathlib

import numpy as np

from experiments.made import begin, made
from hwnas_jax.costs import counts
from hwnas_jax.io import writers
from hwnas_jax.spaces import nasbench201
from hwnas_jax.spaces.nasbench201 import NUM_CELLS, NasBench201

RESULTS = pathlib.Path(__file__).parent / "params.json"
FILE = "nb201_cifar10.npz"
NET = NasBench201(5, 16, (32, 32, 3), 10)  # the benchmark's, on CIFAR-10
COSTS = {"params": counts.params, "macs": counts.macs}


def compare(name: str, genotypes: np.ndarray, published: np.ndarray) -> dict:
  """How many sums of a cost equal the published ones, and those of the live."""
  space = NET.space()
  site_cost = counts.site_costs(space, COSTS[name])
  table = space.cost_array(site_cost).astype(np.int64)
  costs = table[np.arange(len(space.choices)), genotypes]
  live = np.asarray([NET.live(tuple(g)) for g in genotypes.tolist()])
  base = int(space.base_cost(site_cost))
  whole, running = base + costs.sum(1), base + (costs * live).sum(1)
  return {
    "equal": int((whole == published).sum()),
    "largest_difference": int(np.abs(whole - published).max()),
    "smallest": int(whole.min()),
    "largest": int(whole.max()),
    "equal_if_only_live_is_counted": int((running == published).sum()),
  }


def main() -> None:
  """Compares, writes --json, and fails if anything differs."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--data_dir", type=pathlib.Path, required=True)
  parser.add_argument("--json", type=pathlib.Path, default=RESULTS)
  args, start = parser.parse_args(), begin()
  path = args.data_dir / FILE
  with np.load(path) as data:
    texts = [text.decode() for text in data["arch_str"]]
    published = {name: data[f"cifar10_{name}"] for name in COSTS}
  genotypes = [nasbench201.from_string(text) for text in texts]
  indices = [nasbench201.to_index(genotype) for genotype in genotypes]
  live = [NET.live(genotype) for genotype in genotypes]
  result = {
    "cells": len(texts),
    "index_equal": sum(i == row for row, i in enumerate(indices)),
    "string_equal": sum(
      nasbench201.to_string(g) == t
      for g, t in zip(genotypes, texts, strict=True)
    ),
    "with_dead_operations": sum(
      any(op and not runs for op, runs in zip(g, row, strict=True))
      for g, row in zip(genotypes, live, strict=True)
    ),
    "without_a_path": sum(not any(row) for row in live),
    **{
      name: compare(name, np.asarray(genotypes), published[name])
      for name in COSTS
    },
    "data": {
      "file": FILE,
      "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    },
    "made": made(start),
  }
  writers.write_json(args.json, result)
  equal = [result["index_equal"], result["string_equal"]]
  equal += [result[name]["equal"] for name in COSTS]
  print(f"equal indices, strings, {', '.join(COSTS)}: {equal} of {len(texts)}")
  if equal != [NUM_CELLS] * len(equal):
    raise SystemExit(f"not all equal: see {args.json}")


if __name__ == "__main__":
  main()
