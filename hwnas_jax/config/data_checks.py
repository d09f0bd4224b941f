"""Checks a config against its data: sizes of batches, crops and squares."""

from collections.abc import Iterator

from hwnas_jax.config import method, streaming
from hwnas_jax.config.fields import Config
from hwnas_jax.data import arrays
from hwnas_jax.data.arrays import Dataset

KEPT = 0.9  # share of the training split to train on, if the rest is held out


def require(config: Config, dataset: Dataset) -> None:
  """Raises ValueError whose message names every field that does not fit.

  Args:
    config: checked.
    dataset: its data set.
  """
  faults = [
    *_batches(config, dataset),
    *_images(config, dataset),
    *streaming.data_faults(config, dataset),
  ]
  if faults:
    raise ValueError("the config is wrong: " + "; ".join(faults))


def _batches(config: Config, dataset: Dataset) -> Iterator[str]:
  count, part = arrays.size(dataset.train), config.search
  try:
    halves = arrays.halves(count, part.weights_fraction, config.seed)
  except ValueError as error:
    yield f"search.weights_fraction: {error}"
    return
  for user, rows, reads in zip(
    ("weights", "controller"), halves, method.levels_read(config), strict=True
  ):
    size = len(rows)
    if reads and size < part.batch_size:
      yield (
        f"search.batch_size must be <= {size}, got {part.batch_size}:"
        f" search.weights_fraction={part.weights_fraction:g} of {count}"
        f" training images of {dataset.name} leaves so many to the {user}"
      )
  if config.train.num_steps:
    yield from training_faults(config, dataset, bool(config.derive.num_samples))


def training_faults(
  config: Config, dataset: Dataset, held_out: bool
) -> Iterator[str]:
  """Faults of the batches of a training.

  Args:
    config: checked.
    dataset: its data set.
    held_out: whether the training holds some examples out, to compare networks.
  """
  count, batch_size = arrays.size(dataset.train), config.train.batch_size
  size = round(count * KEPT) if held_out else count
  if batch_size > size:
    yield (
      f"train.batch_size must be <= {size}, got {batch_size}: {dataset.name}"
      " has so many images to train on"
      + (f", {KEPT:.0%} of its training split" if held_out else "")
    )


def _images(config: Config, dataset: Dataset) -> Iterator[str]:
  height, width, _ = dataset.image
  cutout = config.train.cutout if config.train.num_steps else 0
  for field, pixels, what in (
    ("data.pad", config.data.pad, "crop to black alone"),
    ("train.cutout", cutout, "blank a whole image"),
  ):
    if pixels >= min(height, width):
      yield (
        f"{field} must be < {min(height, width)}, got {pixels}: it could"
        f" {what}, for images of {dataset.name} are {height}x{width}"
      )
