"""Data sets without any download: the digits, and generated mock images.

`digits.npz` holds the 1,797 test images of "Optical Recognition of Handwritten
Digits" (E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, 1998,
https://doi.org/10.24432/C50P49, CC BY 4.0), as scikit-learn distributes them:
`images` uint8[1797, 8, 8] in 0..16, `labels` uint8[1797] in 0..9.
"""

import io
import os
import pathlib
from collections.abc import Iterator
from importlib import resources

import numpy as np
from PIL import Image

from hwnas_jax.data import array_records, arrays
from hwnas_jax.io import paths

MOCK_SHAPES = {"mock_cifar10": (32, 32, 3), "mock_fashion_mnist": (28, 28, 1)}

_DIGITS_TEST_PER_CLASS = 36
_MOCK_TRAIN, _MOCK_TEST = 512, 256


def digits() -> arrays.Dataset:
  """Returns the digits, uint8[N, 8, 8, 1]: 1,437 training, 360 test images.

  The test split has 36 examples of each class, drawn with a fixed seed.
  """
  with resources.files("hwnas_jax.data").joinpath("digits.npz").open("rb") as f:
    with np.load(f) as data:
      levels, labels = data["images"], data["labels"]
  images = np.round(levels[..., None] * (255 / 16)).astype(np.uint8)
  is_test = np.zeros(len(labels), bool)
  rng = np.random.default_rng(0)
  for label in range(10):
    members = rng.permutation(np.flatnonzero(labels == label))
    is_test[members[:_DIGITS_TEST_PER_CLASS]] = True
  train = ~is_test
  return arrays.make_dataset(
    "digits", images[train], labels[train], images[is_test], labels[is_test]
  )


def mock(name: str) -> arrays.Dataset:
  """Returns generated images in the shape of a real data set.

  Each class is a fixed pattern of coarse blocks with noise added. A network
  that works learns it within seconds; its accuracy says nothing about real
  data.

  Args:
    name: A key of `MOCK_SHAPES`.

  Returns:
    10 classes, 512 training and 256 test examples, the same at every call.
  """
  height, width, channels = MOCK_SHAPES[name]
  rng = np.random.default_rng(0)
  coarse = rng.uniform(64, 192, (10, height // 4, width // 4, channels))
  patterns = coarse.repeat(4, axis=1).repeat(4, axis=2)
  labels = np.arange(_MOCK_TRAIN + _MOCK_TEST) % 10
  noise = rng.normal(0, 32, (len(labels), height, width, channels))
  images = np.clip(patterns[labels] + noise, 0, 255).astype(np.uint8)
  train, test = slice(_MOCK_TRAIN), slice(_MOCK_TRAIN, None)
  return arrays.make_dataset(
    name, images[train], labels[train], images[test], labels[test]
  )


STAND_IN = "mock_imagenet"  # photos of several sizes, in ArrayRecord files
STAND_IN_CLASSES = 10
_STAND_IN = (128, 48)  # training and test images


def stand_in_folder() -> pathlib.Path:
  """The folder of `mock_imagenet`: written at the first call, a second."""
  home = os.environ.get("HWNAS_CACHE_DIR", "~/.cache/hwnas_jax")
  folder = paths.expand(home) / STAND_IN
  try:
    array_records.require(folder)
  except (FileNotFoundError, ValueError):
    write_stand_in(folder, _STAND_IN, side=40)
  return folder


def write_stand_in(
  folder: pathlib.Path, counts: tuple[int, int], side: int
) -> None:
  """Writes JPEG files in the manner of ImageNet, as `records:FOLDER`.

  Each class is a fixed pattern of coarse blocks with noise added. Images are
  `side` to 1.5 times `side` pixels high, and as wide.

  Args:
    folder: Made where it is missing.
    counts: Training and test images.
    side: The smallest height and width.
  """
  splits = zip(("train", "test"), counts, (0, counts[0]), strict=True)
  names = [f"class {label}" for label in range(STAND_IN_CLASSES)]
  array_records.write(
    folder,
    names,
    {split: _photos(count, start, side) for split, count, start in splits},
  )


def _photos(count: int, start: int, side: int) -> Iterator[tuple[bytes, int]]:
  patterns = np.random.default_rng(0).integers(
    64, 192, (STAND_IN_CLASSES, 8, 8, 3), np.uint8
  )
  for index in range(start, start + count):
    rng, label = np.random.default_rng(index), index % STAND_IN_CLASSES
    width, height = rng.integers(side, side * 3 // 2 + 1, 2).tolist()
    image = Image.fromarray(patterns[label]).resize((width, height))
    noise = rng.normal(0, 12, (height, width, 1))
    pixels = np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=90)
    yield stream.getvalue(), label
