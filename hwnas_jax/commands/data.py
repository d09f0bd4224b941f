"""Prepares CIFAR-10 or Fashion-MNIST for TFDS, without TensorFlow.

python -m hwnas_jax.data cifar10
python -m hwnas_jax.data fashion_mnist --archive=FOLDER
"""

from collections.abc import Sequence

from absl import app, flags, logging

flags.disclaim_key_flags()


def define_flags() -> None:
  """Defines the command's flags; call it once a process."""
  flags.DEFINE_string(
    "archive",
    None,
    "cifar-10-binary.tar.gz, or the folder of the original files; by default"
    " they are searched in DATA_DIR/downloads, else downloaded",
  )
  flags.DEFINE_string(
    "data_dir",
    None,
    "folder of prepared data sets; by default the environment variable"
    " TFDS_DATA_DIR, or ~/tensorflow_datasets",
  )


def main(argv: Sequence[str]) -> None:
  """Prepares the data set and prints its folder."""
  from hwnas_jax.data import originals, prepare

  if len(argv) != 2 or argv[1] not in originals.CHECKSUMS:
    raise app.UsageError(
      f"give one data set: {' or '.join(sorted(originals.CHECKSUMS))}"
    )
  logging.set_verbosity(logging.INFO)
  values = flags.FLAGS
  folder = prepare.prepare(argv[1], values.data_dir, values.archive)
  print(f"{argv[1]} is prepared in {folder}")
