"""Small data sets of images in files, all of the same examples."""

import io
import pathlib

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from hwnas_jax.data import array_records

CLASSES = ("ant", "bee", "cat")
COUNTS = {"train": 72, "test": 21}
SIDE = 12
F = tfds.features


def pixels(index, shape=(SIDE, SIDE, 3)):
  """An image of its class, with noise."""
  level = 60 + 60 * (index % 3)
  noise = np.random.default_rng(index).integers(-50, 50, shape)
  return np.clip(level + noise, 0, 255).astype(np.uint8)


def encoded(index, shape=(SIDE, SIDE, 3), form="PNG"):
  """A file of `pixels`."""
  stream = io.BytesIO()
  Image.fromarray(pixels(index, shape)).save(stream, form)
  return stream.getvalue()


def examples(split, image=encoded):
  """(file, label) of each example of a split."""
  start = 0 if split == "train" else 1000
  return [(image(start + i), i % 3) for i in range(COUNTS[split])]


def as_records(path, image=encoded, per_file=50):
  """Writes ArrayRecord files; returns the data set's name."""
  splits = {split: examples(split, image) for split in COUNTS}
  array_records.write(path, CLASSES, splits, per_file)
  return f"records:{path}"


def as_folder(path, image=encoded):
  """Writes a folder of classes; returns the data set's name."""
  for split in COUNTS:
    for index, (content, label) in enumerate(examples(split, image)):
      folder = path / split / CLASSES[label]
      folder.mkdir(parents=True, exist_ok=True)
      (folder / f"{index:03d}.png").write_bytes(content)
  return f"folder:{path}"


def as_tfds(path):
  """Writes by TFDS's own writer; returns the data set's name."""
  features = F.FeaturesDict(
    {
      "image": F.Image(shape=(SIDE, SIDE, 3)),
      "label": F.ClassLabel(names=CLASSES),
    }
  )

  def info(self):
    return tfds.core.DatasetInfo(builder=self, features=features)

  def split_generators(self, download_manager):
    del self, download_manager
    return {
      split: [
        (i, {"image": io.BytesIO(content), "label": label})
        for i, (content, label) in enumerate(examples(split))
      ]
      for split in COUNTS
    }

  members = {
    "__module__": __name__,
    "name": "streamed",
    "VERSION": tfds.core.Version("1.0.0"),
    "_info": info,
    "_split_generators": split_generators,
    "_generate_examples": None,
  }
  with tfds.core.registered.skip_registration():
    builder = type("Streamed", (tfds.core.GeneratorBasedBuilder,), members)
  made = builder(data_dir=str(path), file_format="array_record")
  made.download_and_prepare()
  return f"tfds:{pathlib.Path(made.data_dir)}"
