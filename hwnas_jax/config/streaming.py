"""Which fields say how data are streamed, and whether they fit."""

from collections.abc import Iterator

from hwnas_jax.config.fields import Config
from hwnas_jax.data.arrays import Dataset
from hwnas_jax.data.streamed import Streamed, Streaming


def streaming(config: Config) -> Streaming:
  """When the data of a config are streamed, and how."""
  part = config.data
  return Streaming(
    in_memory_gib=part.in_memory_gib,
    crop_area=part.crop_area,
    jitter=part.jitter,
    workers=part.workers,
  )


def faults(config: Config) -> list[str]:
  """Faults of a config alone: a crop has to be resized to something."""
  part = config.data
  if 0 < part.crop_area < 1 and not part.resize:
    return [
      "data.crop_area below 1 needs data.resize=HEIGHTxWIDTH, the size of the"
      f" crops, got {part.crop_area:g} without it"
    ]
  return []


def data_faults(config: Config, dataset: Dataset) -> Iterator[str]:
  """Faults of fields that only streamed data read.

  Args:
    config: checked.
    dataset: its data set.
  """
  if isinstance(dataset.train, Streamed):
    return
  part = config.data
  for field, off in (("crop_area", 1.0), ("jitter", 0.0)):
    if (value := getattr(part, field)) != off:
      yield (
        f"data.{field} changes images while they are read, and {dataset.name}"
        f" is kept on the device: leave it at {off:g}, got {value:g}, or stream"
        " files (folder:, records:, tfds:) by data.in_memory_gib=0"
      )


def place(dataset: Dataset) -> str:
  """A sentence: where the examples of a data set are."""
  train, (height, width, _) = dataset.train, dataset.image
  if not isinstance(train, Streamed):
    return f"{dataset.name}: {len(train.labels)} training images on the device"
  readers = f"{train.workers} workers" if train.workers else "the main process"
  return (
    f"{dataset.name}: {len(train)} training images of {height}x{width},"
    f" streamed from files by {readers}"
  )
