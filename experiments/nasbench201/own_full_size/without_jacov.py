"""Committees where jacov does not apply, with and without a supernet.

  python -m experiments.nasbench201.own_full_size.without_jacov \
    --data_dir=NB201 --scores DIR/full_seed{0,1,2}.npz

From the repository root; the arguments are those of `protocol.run`. A DARTS
space has no jacov. From tune.json, whose rows were made on one half of the
cells, it takes the best committee without jacov, the best of two judges, and
the best that does not read the shared weights either, and judges them on every
part. Writes without_jacov.json: by part and committee, [mean of the settings,
worst setting] by supernet and shuffle.
"""

import argparse
import pathlib
from typing import Any

import numpy as np

from experiments.made import begin, made
from experiments.nasbench201.own import ideas
from experiments.nasbench201.protocol import data
from experiments.nasbench201.protocol.choices import SHARED, Committee
from hwnas_jax.io import readers, writers

HERE = pathlib.Path(__file__).parent


def main() -> None:
  """Judges the committees; prints means over shuffles and supernets."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--data_dir", type=pathlib.Path, required=True)
  parser.add_argument("--scores", type=pathlib.Path, nargs="+", required=True)
  args, start = parser.parse_args(), begin()
  supernets = [data.load(args.data_dir, path) for path in args.scores]
  rows = readers.read_json(HERE / "tune.json")["committee"]  # best first
  without = [row for row in rows if "jacov" not in row["weights"]]
  pairs = [row for row in without if len(row["weights"]) == 2]
  unshared = [row for row in without if SHARED not in row["weights"]]
  best = [without[0], pairs[0], unshared[0]]
  results: dict[str, Any] = {}
  for row in best:
    committee = Committee(row["weights"], row["k"])
    name = " + ".join(f"{w} {judge}" for judge, w in row["weights"].items())
    for part in data.PARTS:
      scores = [s for c in supernets for s in ideas.judge(c, part, committee)]
      mean, worst = np.mean(scores, 0)
      spread = np.std([s[0] for s in scores])
      results.setdefault(part, {})[name] = scores
      print(f"{part} {name}: {mean:.3f} ({spread:.3f}) / {worst:.3f}")
  about = made(start, split=data.SPLIT_SEED, shuffles=ideas.SHUFFLES)
  about["data_sha256"] = data.digests(args.data_dir, args.scores)
  writers.write_json(HERE / "without_jacov.json", results | {"made": about})


if __name__ == "__main__":
  main()
