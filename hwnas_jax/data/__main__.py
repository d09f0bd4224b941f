"""Prepares a stock data set: python -m hwnas_jax.data cifar10."""

import argparse
import sys
from collections.abc import Sequence

from absl import logging

from hwnas_jax.data import originals, prepare


def main(argv: Sequence[str] | None = None) -> None:
  """Parses the flags and prepares; says what is wrong in one line."""
  parser = argparse.ArgumentParser(
    prog="python -m hwnas_jax.data",
    description="Prepares a TFDS data set without TensorFlow.",
  )
  parser.add_argument("name", choices=sorted(originals.CHECKSUMS))
  parser.add_argument(
    "--archive",
    help="cifar-10-binary.tar.gz, or the folder of the original files; without "
    "it they are looked for in DATA_DIR/downloads, then downloaded",
  )
  parser.add_argument(
    "--data_dir", help="default: TFDS_DATA_DIR, or ~/tensorflow_datasets"
  )
  args = parser.parse_args(argv)
  try:
    folder = prepare.prepare(args.name, args.data_dir, args.archive)
  except (OSError, ValueError) as error:
    sys.exit(f"{args.name}: {error}")
  print(f"{args.name} is prepared in {folder}")


if __name__ == "__main__":
  logging.set_verbosity(logging.INFO)
  main()
