"""CIFAR-10 in a reduced size: 10,000 images of 16x16 train.

  python -m experiments.families.reduce --data=npz:PATH --out=reduced.npz

From the repository root. The first 10,000 images of the training split and the
whole test split, each 2x2 pixels averaged.
"""

import argparse
import pathlib

import numpy as np

from experiments.nasbench201.supernet import averaged
from hwnas_jax.data import load

TRAIN, FACTOR = 10_000, 2


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
    x_train=averaged(full.train.images[:TRAIN], FACTOR),
    y_train=np.asarray(full.train.labels[:TRAIN]),
    x_test=averaged(full.test.images, FACTOR),
    y_test=np.asarray(full.test.labels),
  )


if __name__ == "__main__":
  main()
