"""A user's own data: a folder of images for each class, or one .npz file."""

import dataclasses
import hashlib
import pathlib
import zipfile
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from hwnas_jax.data import arrays, images
from hwnas_jax.data.images import Size
from hwnas_jax.data.streamed import Opened
from hwnas_jax.data.view import Encoded
from hwnas_jax.io import readers

_NPZ_KEYS = ("x_train", "y_train", "x_test", "y_test")


class _Examples(NamedTuple):
  """Images, each uint8[H, W, 1] or uint8[H, W, 3], and labels [N]."""

  images: list[np.ndarray]
  labels: np.ndarray

  def stacked(self, channels: int | None) -> tuple[np.ndarray, np.ndarray]:
    """(images [N, H, W, C], labels); greyscale becomes RGB where C is 3."""
    images = self.images
    if channels:
      images = [np.broadcast_to(x, (*x.shape[:2], channels)) for x in images]
    return np.stack(images), self.labels


def load_folder(
  name: str, path: pathlib.Path, resize: Size | None = None
) -> arrays.Dataset:
  """Reads PATH/train/CLASS/*.png and PATH/test/CLASS/*.png (or .jpg, .jpeg).

  Classes are numbered in the order of their sorted names. Hidden folders, such
  as `.ipynb_checkpoints`, and `__MACOSX` are no classes.

  Args:
    name: Names the data set.
    path: The folder that has the folders `train` and `test`.
    resize: (height, width) to which every image is converted; see
      `images.read`. None takes images as they are, which have to be alike.

  Raises:
    FileNotFoundError: A split or the images of a class are missing.
    ValueError: The classes of the splits differ; or a file is not an image,
      not greyscale or RGB with 8 bits a channel, or of another size or mode
      than the first. The message names the first such file.
  """
  classes = _classes(path)
  train, test = (
    _read_split(path / split, classes, resize) for split in ("train", "test")
  )
  every = [*train.images, *test.images]
  channels = max(image.shape[-1] for image in every) if resize else None
  return arrays.make_dataset(
    name,
    *train.stacked(channels),
    *test.stacked(channels),
    class_names=tuple(classes),
  )


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class FolderReader:
  """The image files of a split, not read.

  Attributes:
    path: The split's folder.
    files: [N] names below it, CLASS/FILE.
    labels: int32[N].
  """

  path: pathlib.Path
  files: list[str]
  labels: np.ndarray

  def __len__(self) -> int:
    """How many images there are."""
    return len(self.files)

  def __getitem__(self, row: int, /) -> Encoded:
    """The content of a file, and its label."""
    file = self.path / self.files[row]
    content = readers.read_bytes(file)
    return Encoded(content, int(self.labels[row]), str(file))


def open_folder(path: pathlib.Path) -> Opened:
  """Lists the files that `load_folder` reads.

  Args:
    path: As for `load_folder`.

  Raises:
    FileNotFoundError, ValueError: See `load_folder`; images are not read, but
      for the first of each split.
  """
  classes = _classes(path)
  readers, sha = [], hashlib.sha256()
  for split in ("train", "test"):
    listed = list(_files(path / split, classes))
    for file, _ in listed:
      name = file.relative_to(path)
      sha.update(f"{name} {file.stat().st_size}\n".encode())
    readers.append(
      FolderReader(
        path / split,
        ["/".join(file.parts[-2:]) for file, _ in listed],
        np.array([label for _, label in listed], np.int32),
      )
    )
    images.read(listed[0][0], images.Size(1, 1))
  train, test = readers
  return Opened(train, test, tuple(classes), None, sha.hexdigest())


def _classes(path: pathlib.Path) -> list[str]:
  """The names of the classes, sorted, the same of train and test."""
  check_folder(path)
  classes = _folders(path / "train")
  if classes != _folders(path / "test"):
    differing = sorted(set(classes) ^ set(_folders(path / "test")))
    raise ValueError(
      f"{path}: train and test must have the same class folders, but "
      f"{differing} are in one of them only."
    )
  return classes


def check_folder(path: pathlib.Path) -> None:
  """Raises FileNotFoundError unless PATH/train and PATH/test are folders."""
  for split in ("train", "test"):
    if not (path / split).is_dir():
      raise FileNotFoundError(
        f"{path / split} is not a folder. Images are expected at "
        f"{path}/train/CLASS/*.png and {path}/test/CLASS/*.png (or .jpg)."
      )


def _folders(path: pathlib.Path) -> list[str]:
  return sorted(
    p.name
    for p in path.iterdir()
    if p.is_dir() and not p.name.startswith((".", "__MACOSX"))
  )


def _read_split(
  path: pathlib.Path, classes: list[str], resize: Size | None
) -> _Examples:
  pixels: list[np.ndarray] = []
  labels: list[int] = []
  for file, label in _files(path, classes):
    pixels.append(images.read(file, resize))
    labels.append(label)
    if not resize and pixels[-1].shape != pixels[0].shape:
      raise ValueError(
        f"{file} is {list(pixels[-1].shape)} (height, width, channels), the "
        f"first image of {path} is {list(pixels[0].shape)}: make all images "
        "one size and mode, or give data.resize=HEIGHTxWIDTH."
      )
  return _Examples(pixels, np.array(labels))


def _files(
  path: pathlib.Path, classes: list[str]
) -> Iterator[tuple[pathlib.Path, int]]:
  """(file, label) of every image of a split, in order."""
  for label, name in enumerate(classes):
    files = sorted(
      f for f in (path / name).iterdir() if not f.name.startswith(".")
    )
    if not files:
      raise FileNotFoundError(
        f"{path / name} has no images: add some or remove the folder."
      )
    for file in files:
      images.require_suffix(file)
    yield from ((file, label) for file in files)
  if not classes:
    raise FileNotFoundError(
      f"{path} has no class folders: put each class's images in a folder of "
      "their own."
    )


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
  data = readers.read_arrays(path)
  if missing := sorted(set(_NPZ_KEYS) - set(data)):
    raise ValueError(
      f"{path} lacks {missing}: it has {sorted(data)}, expected "
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
