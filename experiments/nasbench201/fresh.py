"""Judges of untrained networks on all cells of NAS-Bench-201, at its own size.

  python -m experiments.nasbench201.fresh score --images=PATH --work=DIR
  python -m experiments.nasbench201.fresh merge --work=DIR
  python -m experiments.nasbench201.fresh join --work=DIR

PATH is a .npz as `hwnas_jax.data.load` reads it, of CIFAR-10 or a part of it;
the training split's first images are judged. The networks are the benchmark's:
5 cells a stage, 16 channels, 32x32 images. `jacov` is scored by three draws of
fresh weights and 64 images each, one column a draw; `synflow` and `nwot` by the
first draw. Nothing is trained.

It is meant for a GPU, where several processes share the work: `--part=0/4`
scores every fourth cell. Each writes DIR/part<i>of<n>.npz as it goes, and a
killed one goes on; at its end it adds its device and time to a .json of that
name. `merge` writes full.npz and full.json, whose `jacov` is the
mean of the complete draws. `join` writes DIR/full_seed<i>.npz, the scores of
each supernet with this jacov, for `protocol.run --scores`. --smoke is a tiny
size that shows that it runs.
"""

import argparse
import pathlib
from typing import Any

import jax
import numpy as np

from experiments import part
from experiments.made import begin, made
from experiments.nasbench201.supernet import (
  BATCH,
  DRAWS,
  HERE,
  fill,
  living_cells,
)
from hwnas_jax.core.rng import stream
from hwnas_jax.data import augment
from hwnas_jax.data import load as data
from hwnas_jax.derive import judges
from hwnas_jax.derive.judges import Evidence
from hwnas_jax.io import readers, records, versions, writers
from hwnas_jax.nets.models import make_supernet
from hwnas_jax.spaces.nasbench201 import NasBench201

# Column: (judge, draw). What matters most comes first.
COLUMNS = {
  "jacov0": ("jacov", 0),
  "jacov1": ("jacov", 1),
  "jacov2": ("jacov", 2),
  "synflow": ("synflow", 0),
  "nwot": ("nwot", 0),
}
SEED = 0


def gather(args: argparse.Namespace) -> Evidence:
  """The supernet, and DRAWS of fresh weights and images."""
  dataset = data.load(f"npz:{args.images}")
  size = (1, 4) if args.smoke else (5, 16)
  spec = NasBench201(*size, dataset.image, dataset.num_classes)
  net = make_supernet(spec)
  images = augment.normalise(
    dataset.train.images[: DRAWS * args.batch], dataset.mean, dataset.std
  )
  # The same weights on every platform.
  with jax.default_device(jax.devices("cpu")[0]):
    draws = judges.fresh(net, stream(SEED, "judges"), np.asarray(images), DRAWS)
  return Evidence(spec, net, jax.device_put(draws, jax.devices()[0]))


def score(args: argparse.Namespace) -> None:
  """Scores the part's cells by every column; what is on disk is not redone."""
  start = begin()
  evidence = gather(args)
  cells = args.part.of(living_cells(evidence.spec).items())
  if args.smoke:
    cells = cells[:3]
  path = args.work / f"{args.part}.npz"
  columns: dict[str, np.ndarray] = {}
  if path.exists():
    columns = readers.read_sealed(path)
  columns["index"] = np.asarray([index for index, _ in cells])
  for name in args.columns.split(","):
    judge, draw = COLUMNS[name]
    one = evidence._replace(draws=[evidence.draws[draw]])
    fill(one, judge, [cell for _, cell in cells], columns, name, path)
  about = path.with_suffix(".json")
  processes = readers.read_json(about) if about.exists() else []
  device = records.to_json(versions.device_fingerprint())
  processes.append(made(start, judges=SEED) | {"device": device})
  writers.write_json(about, processes)


def merge(args: argparse.Namespace) -> None:
  """One file of all parts; a column that a part lacks is left out."""
  parts = [readers.read_sealed(p) for p in sorted(args.work.glob("part*.npz"))]
  index = np.concatenate([part["index"] for part in parts])
  order = np.argsort(index)
  columns: dict[str, np.ndarray] = {"index": index[order]}
  for name in COLUMNS:
    if all(len(p.get(name, ())) == len(p["index"]) for p in parts):
      columns[name] = np.concatenate([p[name] for p in parts])[order]
  draws = [name for name in columns if name.startswith("jacov")]
  columns["jacov"] = np.mean([columns.pop(name) for name in draws], 0)
  args.out.mkdir(parents=True, exist_ok=True)
  writers.write_arrays(args.out / "full.npz", columns)
  about: dict[str, Any] = {
    "cells": len(index),
    "columns": list(columns),
    "draws": len(draws),
    "batch": args.batch,
    # Of every process that scored to its end.
    "made": {
      p.stem: readers.read_json(p) for p in args.work.glob("part*.json")
    },
  }
  writers.write_json(args.out / "full.json", about)


def join(args: argparse.Namespace) -> None:
  """The scores of each supernet, with full.npz's jacov."""
  full = readers.read_sealed(args.out / "full.npz")
  jacov = dict(zip(full["index"], full["jacov"], strict=True))
  for path in args.out.glob("seed?.npz"):
    with np.load(path) as file:
      scores = {name: file[name] for name in file.files if name != "seal"}
    scores["jacov"] = np.asarray([jacov[index] for index in scores["index"]])
    writers.write_arrays(args.work / f"full_{path.name}", scores)


def parse() -> argparse.Namespace:
  """The command line."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("command", choices=("score", "merge", "join"))
  parser.add_argument("--images", type=pathlib.Path)
  parser.add_argument("--work", type=pathlib.Path, required=True)
  parser.add_argument("--out", type=pathlib.Path, default=HERE)
  part.add_flag(parser, "cells")
  parser.add_argument("--columns", default=",".join(COLUMNS))
  parser.add_argument("--smoke", action="store_true")
  args = parser.parse_args()
  if args.command == "score" and args.images is None:
    parser.error("score needs --images")
  args.batch = 8 if args.smoke else BATCH
  return args


def main() -> None:
  """Runs the command."""
  args = parse()
  # TF32 would change the small eigenvalues that jacov reads.
  jax.config.update("jax_default_matmul_precision", "highest")
  args.work.mkdir(parents=True, exist_ok=True)
  commands = {"score": score, "merge": merge, "join": join}
  commands[args.command](args)


if __name__ == "__main__":
  main()
