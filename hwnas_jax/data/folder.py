"""A user's own data: a folder of images for each class, or one .npz file."""

import pathlib
import zipfile

import numpy as np
from PIL import Image

from hwnas_jax.data import arrays

_SUFFIXES = (".png", ".jpg", ".jpeg")
_NPZ_KEYS = ("x_train", "y_train", "x_test", "y_test")


def load_folder(name: str, path: pathlib.Path) -> arrays.Dataset:
  """Reads PATH/train/CLASS/*.png and PATH/test/CLASS/*.png (or .jpg, .jpeg).

  Classes are numbered in the order of their sorted names.

  Args:
    name: Names the data set.
    path: The folder that has the folders `train` and `test`.

  Raises:
    FileNotFoundError: A split or the images of a class are missing.
    ValueError: The classes of the splits differ; or a file is not an image,
      not greyscale or RGB with 8 bits a channel, or of another size or mode
      than the first. The message names the first such file.
  """
  check_folder(path)
  classes = _folders(path / "train")
  if classes != _folders(path / "test"):
    differing = sorted(set(classes) ^ set(_folders(path / "test")))
    raise ValueError(
      f"{path}: train and test must have the same class folders, but "
      f"{differing} are in one of them only."
    )
  train = _read_split(path / "train", classes)
  test = _read_split(path / "test", classes)
  return arrays.make_dataset(name, *train, *test, class_names=tuple(classes))


def check_folder(path: pathlib.Path) -> None:
  """Raises FileNotFoundError unless PATH/train and PATH/test are folders."""
  for split in ("train", "test"):
    if not (path / split).is_dir():
      raise FileNotFoundError(
        f"{path / split} is not a folder. Images are expected at "
        f"{path}/train/CLASS/*.png and {path}/test/CLASS/*.png (or .jpg)."
      )


def _folders(path: pathlib.Path) -> list[str]:
  return sorted(p.name for p in path.iterdir() if p.is_dir())


def _read_split(
  path: pathlib.Path, classes: list[str]
) -> tuple[np.ndarray, np.ndarray]:
  images: list[np.ndarray] = []
  labels: list[int] = []
  for label, name in enumerate(classes):
    files = sorted(
      f for f in (path / name).iterdir() if not f.name.startswith(".")
    )
    if not files:
      raise FileNotFoundError(
        f"{path / name} has no images: add some or remove the folder."
      )
    for file in files:
      images.append(_read_image(file))
      labels.append(label)
      if images[-1].shape != images[0].shape:
        raise ValueError(
          f"{file} is {list(images[-1].shape)} (height, width, channels), the "
          f"first image of {path} is {list(images[0].shape)}: make all images "
          "one size and mode."
        )
  if not images:
    raise FileNotFoundError(
      f"{path} has no class folders: put each class's images in a folder of "
      "their own."
    )
  return np.stack(images), np.array(labels)


def _read_image(file: pathlib.Path) -> np.ndarray:
  if file.suffix.lower() not in _SUFFIXES:
    raise ValueError(
      f"{file} does not end in one of {_SUFFIXES}: convert or remove it."
    )
  try:
    with Image.open(file) as image:
      mode, pixels = image.mode, np.asarray(image)
  except OSError as error:
    raise ValueError(f"{file} cannot be read as an image: {error}") from error
  if mode not in ("L", "RGB"):
    raise ValueError(
      f"{file} has mode {mode}: convert it to 8-bit greyscale (L) or RGB."
    )
  return pixels[..., None] if pixels.ndim == 2 else pixels


def load_npz(name: str, path: pathlib.Path) -> arrays.Dataset:
  """Reads an .npz file of x_train, y_train, x_test and y_test.

  Args:
    name: Names the data set.
    path: The file; x are uint8[N, H, W, C] or uint8[N, H, W], y integers [N].

  Raises:
    FileNotFoundError: There is no such file.
    ValueError: An array is missing or is not as above.
  """
  check_npz(path)
  with np.load(path) as data:
    if missing := sorted(set(_NPZ_KEYS) - set(data.files)):
      raise ValueError(
        f"{path} lacks {missing}: it has {sorted(data.files)}, expected "
        f"{list(_NPZ_KEYS)}."
      )
    x_train, y_train, x_test, y_test = (data[key] for key in _NPZ_KEYS)
  return arrays.make_dataset(name, x_train, y_train, x_test, y_test)


def check_npz(path: pathlib.Path) -> None:
  """Raises an error unless the path is an .npz file.

  Raises:
    FileNotFoundError: There is no such file.
    ValueError: It is another kind of file, such as .npy.
  """
  if not path.is_file():
    raise FileNotFoundError(
      f"{path} is not a file. Make it by numpy.savez(path, x_train=..., "
      "y_train=..., x_test=..., y_test=...): x are uint8[N, H, W, C], y are "
      "integers [N] from 0."
    )
  if not zipfile.is_zipfile(path):
    raise ValueError(f"{path} is not an .npz file: write it by numpy.savez.")
