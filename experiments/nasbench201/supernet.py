"""A reduced supernet of NAS-Bench-201, and its judges' scores of all cells.

  python -m experiments.nasbench201.supernet --data_dir=DIR --seed=0

DIR is TFDS's folder with cifar10 in it, or a .npz (`hwnas_jax.data.load`). The
size is reduced: images are averaged to 16x16, the supernet has one cell a stage
of 16 channels. It is trained on 90 % of the training split by sampled paths,
all architectures equally likely, with the package's own search (a warm-up for
the whole length: the controller never moves). Then every cell without
unreachable operations is scored by the package's judges: `shared_loss` on
examples that the supernet was not trained on, `synflow`, `jacov` (mean of three
draws) and `nwot` on fresh weights of the same reduced size.

Writes NAME.npz (for `protocol.run --scores`) and NAME.json to --out. A killed
run goes on where it was. --smoke is a tiny size that shows that it runs.
"""

import argparse
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

import hwnas_jax as hw
from experiments.made import begin, made
from hwnas_jax.config import method
from hwnas_jax.config import problem as problems
from hwnas_jax.core.rng import stream
from hwnas_jax.core.types import Genotype
from hwnas_jax.data import arrays, augment
from hwnas_jax.data import load as data
from hwnas_jax.derive import judges
from hwnas_jax.derive.judges import Evidence
from hwnas_jax.derive.shared import SharedWeights
from hwnas_jax.io import readers, records, versions, writers
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.nets.supernet import Net
from hwnas_jax.runs import pipeline, searching
from hwnas_jax.spaces import nasbench201
from hwnas_jax.spaces.nasbench201 import NasBench201

HERE = pathlib.Path(__file__).parent / "supernets"
CELLS, CHANNELS, SIDE, BATCH = 1, 16, 16, 64  # a stage; of images and steps
DRAWS = 3  # of fresh weights, with BATCH images each
HELD_OUT = 256  # examples of `shared_loss`
FRESH = ("synflow", "jacov", "nwot")
AT_ONCE = 50  # cells between two writes
SMOKE_CELLS = 4


def averaged(images: jax.Array, factor: int) -> np.ndarray:
  """uint8[N, H, W, C] -> uint8[N, H / factor, W / factor, C], by means."""
  x = np.asarray(images).astype(np.float32)
  n, height, width, channels = x.shape
  shape = n, height // factor, factor, width // factor, factor, channels
  return np.rint(x.reshape(shape).mean((2, 4))).astype(np.uint8)


def load_dataset(path: pathlib.Path) -> arrays.Dataset:
  """CIFAR-10 with images averaged to SIDE x SIDE."""
  name = f"npz:{path}" if path.suffix == ".npz" else "cifar10"
  full = data.load(name, str(path))
  factor = full.image[0] // SIDE
  return arrays.make_dataset(
    f"cifar10 {SIDE}x{SIDE}",
    averaged(full.train.images, factor),
    np.asarray(full.train.labels),
    averaged(full.test.images, factor),
    np.asarray(full.test.labels),
    full.class_names,
  )


def make_config(args: argparse.Namespace) -> Any:
  """The package's config of NAS-Bench-201, reduced, its controller idle."""
  config = hw.load_config("nasbench201")
  config.seed = args.seed
  config.data.update(name="arrays", pad=SIDE // 8)
  config.space.update(num_cells=CELLS, channels=CHANNELS)
  config.cost.name = "macs"  # read by the controller alone, which is idle
  config.controller.reference_std = 1e-6
  config.sampler.update(name="ordered", warmup="ordered", per_example=False)
  config.search.update(
    num_steps=args.steps,
    warmup_steps=args.steps - config.search.steps_per_dispatch,
    batch_size=BATCH,
    bilevel=False,
    weights_fraction=0.9,
    weights_lr=0.05,
    checkpoint_every=500,
  )
  if args.smoke:
    config.space.channels = 4
    config.search.update(batch_size=8, checkpoint_every=10)
  return config


def living_cells(spec: NasBench201) -> dict[int, Genotype]:
  """The 9,444 living cells that run every operation they have, by index."""
  none = spec.ops.index("none")
  cells = {}
  for index in range(nasbench201.NUM_CELLS):
    cell = nasbench201.from_index(index)
    live = spec.live(cell)
    if any(live) and all(
      runs or op == none for op, runs in zip(cell, live, strict=True)
    ):
      cells[index] = cell
  return cells


def train(
  args: argparse.Namespace,
  dataset: arrays.Dataset,
  config: Any,
  examples: int = HELD_OUT,
) -> Evidence:
  """Trains the supernet, or goes on; returns what the judges read."""
  config = problems.resolve(config)
  nets = problems.make_nets(config, dataset)
  problem = problems.make(config, nets, None)
  folder = RunFolder.at(args.work / args.name)
  pipeline.begin(folder, config, "", dataset, nets)
  searched = searching.search(problem, folder, dataset)
  images, labels = method.held_out(config, dataset, examples)
  shared = SharedWeights(
    searched.parts.net, searched.state.weights, images, labels
  )
  net = searched.parts.net
  spec = nets.supernet
  assert isinstance(spec, NasBench201)
  return Evidence(spec, net, draw(args.seed, dataset, net), shared)


def draw(
  seed: int, dataset: arrays.Dataset, net: Net
) -> tuple[judges.Draw, ...]:
  """DRAWS of fresh weights and images."""
  rows = np.random.default_rng(seed).permutation(len(dataset.train.labels))
  images = dataset.train.images[rows[: DRAWS * BATCH]]
  normalised = augment.normalise(images, dataset.mean, dataset.std)
  return judges.fresh(net, stream(seed, "judges"), normalised, DRAWS)


def fill(
  evidence: Evidence,
  judge: str,
  genotypes: Sequence[Genotype],
  columns: dict[str, np.ndarray],
  name: str,
  path: pathlib.Path,
) -> None:
  """Adds a judge's column `name`, and writes all every AT_ONCE cells."""
  column = columns.get(name, np.zeros(0))
  for start in range(len(column), len(genotypes), AT_ONCE):
    part = genotypes[start : start + AT_ONCE]
    began = time.monotonic()
    scores = judges.judge([judge], evidence, part).scores[judge]
    column = columns[name] = np.concatenate([column, scores])
    writers.write_arrays(path, columns)
    rate = len(part) / (time.monotonic() - began)
    print(f"{name}: {len(column)} cells, {rate:.1f} a second", flush=True)


def score(
  evidence: Evidence, cells: dict[int, Genotype], args: argparse.Namespace
) -> dict[str, np.ndarray]:
  """Scores of every cell by each judge, [N]; what is on disk is not redone."""
  path = args.work / args.name / "scores.npz"
  columns: dict[str, np.ndarray] = {}
  if path.exists():
    columns = readers.read_sealed(path)
  genotypes = list(cells.values())
  names = ("shared_loss",) if args.fresh else ("shared_loss", *FRESH)
  for name in names:
    fill(evidence, name, genotypes, columns, name, path)
  if args.fresh:
    with np.load(args.fresh) as file:
      columns |= {name: file[name] for name in FRESH}
  return columns


def parse() -> argparse.Namespace:
  """The command line."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--data_dir", type=pathlib.Path, required=True)
  parser.add_argument("--out", type=pathlib.Path, default=HERE)
  parser.add_argument(
    "--work", type=pathlib.Path, help="of checkpoints; default: OUT/runs"
  )
  parser.add_argument("--name", help="default: seed<SEED>")
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--steps", type=int, default=3000)
  parser.add_argument(
    "--fresh",
    type=pathlib.Path,
    help="another seed's .npz, whose scores of fresh weights are taken",
  )
  parser.add_argument("--smoke", action="store_true")
  args = parser.parse_args()
  if args.smoke:
    args.steps = 20
  args.name = args.name or f"seed{args.seed}"
  args.work = args.work or args.out / "runs"
  return args


def main() -> None:
  """Trains, scores, and writes both files."""
  args, start = parse(), begin()
  dataset = load_dataset(args.data_dir)
  evidence = train(args, dataset, make_config(args))
  train_s = time.monotonic() - start.seconds
  cells = living_cells(evidence.spec)
  if args.smoke:
    cells = dict(list(cells.items())[:SMOKE_CELLS])
  scores = score(evidence, cells, args)
  args.out.mkdir(parents=True, exist_ok=True)
  writers.write_arrays(
    args.out / f"{args.name}.npz", {"index": np.asarray(list(cells)), **scores}
  )
  writers.write_json(
    args.out / f"{args.name}.json",
    {
      "config": make_config(args).to_dict(),
      "fresh": str(args.fresh) if args.fresh else None,
      "data": dataset.name,
      "space": repr(evidence.spec),
      "cells": len(cells),
      # Both times are of the process that ended: one that went on took less.
      "train_s": round(train_s, 1),
      "made": made(start, training=args.seed, judges=args.seed),
      "device": records.to_json(versions.device_fingerprint()),
    },
  )


if __name__ == "__main__":
  main()
