"""CIFAR-10 in a reduced size: 10,000 images of 16x16 train.

  python -m experiments.families.reduce --data=npz:PATH --out=reduced.npz

From the repository root. The first 10,000 images of the training split and the
whole test split, each 2x2 pixels averaged.
"""

import argparse
import pathlib

import jax
import numpy as np

from hwnas_jax.data import load

TRAIN, FACTOR = 10_000, 2


def averaged(images: jax.Array) -> np.ndarray:
  """uint8[N, H, W, C] -> uint8[N, H / FACTOR, W / FACTOR, C]."""
  x = np.asarray(images).astype(np.float32)
  n, height, width, channels = x.shape
  shape = n, height // FACTOR, FACTOR, width // FACTOR, FACTOR, channels
  return np.rint(x.reshape(shape).mean((2, 4))).astype(np.uint8)


def main() -> None:
  """Writes the .npz."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--data", default="cifar10")
  parser.add_argument("--out", type=pathlib.Path, required=True)
  args = parser.parse_args()
  full = load.load(args.data)
  np.savez(
    args.out,
    x_train=averaged(full.train.images[:TRAIN]),
    y_train=np.asarray(full.train.labels[:TRAIN]),
    x_test=averaged(full.test.images),
    y_test=np.asarray(full.test.labels),
  )


if __name__ == "__main__":
  main()
