"""Loads a data set by its name.

| name | data set |
|---|---|
| `digits` | 8x8x1, 10 classes; a part of the package |
| `cifar10`, `fashion_mnist` | of TFDS; prepared by `python -m hwnas_jax.data` |
| `mock_cifar10`, `mock_fashion_mnist` | generated images of that shape |
| `mock_imagenet` | 128 generated photos, written as ArrayRecord files |
| `folder:PATH` | PATH/train/CLASS/*.png, PATH/test/CLASS/*.png |
| `npz:PATH` | x_train, y_train, x_test, y_test |
| `records:PATH` | ArrayRecord files: see `hwnas_jax.data.array_records` |
| `tfds:NAME`, `tfds:NAME/CONFIG` | any image classification prepared by TFDS |
| `tfds:PATH` | the same, by the full path of its folder |

For arrays in memory see `hwnas_jax.data.user`. What is in files may be larger
than memory: see `hwnas_jax.data.streamed`.
"""

import dataclasses
import difflib
import importlib.util
import math
import os
import pathlib

import numpy as np

from hwnas_jax.data import (
  array_records,
  arrays,
  embedded,
  folder,
  images,
  locate,
  originals,
  prepared,
  streamed,
  user,
)
from hwnas_jax.data.streamed import Opened, Streaming
from hwnas_jax.data.view import View
from hwnas_jax.io import paths

# (image, classes) of data sets whose shape is known without loading them.
_SHAPES = {
  "digits": ((8, 8, 1), 10),
  "cifar10": ((32, 32, 3), 10),
  "fashion_mnist": ((28, 28, 1), 10),
}
_NAMES = (
  *("digits", *originals.CHECKSUMS),
  *(*embedded.MOCK_SHAPES, embedded.STAND_IN),
)


def require(name: str, data_dir: str | os.PathLike[str] | None = None) -> None:
  """Raises an error, within a second, where `load` could not read the data.

  Args:
    name: As for `load`.
    data_dir: As for `load`.

  Raises:
    FileNotFoundError: The data is absent; the message says where it was
      looked for and how to get it.
    ValueError: The name is unknown, or the data cannot be read.
  """
  kind, _, path = name.partition(":")
  if kind == "folder" and path:
    folder.check_folder(paths.expand(path))
  elif kind == "npz" and path:
    folder.check_npz(paths.expand(path))
  elif kind == "records" and path:
    array_records.require(paths.expand(path))
  elif _is_prepared(name):
    prepared.require(name, locate.resolve_data_dir(data_dir))
  elif name == user.NAME:
    raise ValueError(
      "The data of this run were arrays given in Python, which are in no file: "
      "give the same arrays again, as data=Data(...)."
    )
  elif name not in _NAMES:
    near = difflib.get_close_matches(name, _NAMES, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(
      f"Unknown data set {name!r}.{hint} Known: {', '.join(_NAMES)}, "
      "tfds:NAME, folder:PATH, npz:PATH, records:PATH."
    )


def is_resizable(name: str) -> bool:
  """Whether images of this data set are in files: converted, or streamed."""
  in_files = name.startswith(("folder:", "records:"))
  return in_files or _is_prepared(name) or name == embedded.STAND_IN


def _is_prepared(name: str) -> bool:
  kind, _, path = name.partition(":")
  return name in originals.CHECKSUMS or (kind == "tfds" and bool(path))


def _kind(name: str) -> tuple[str, str]:
  """What comes before a colon, and after it."""
  if name == embedded.STAND_IN:
    return "records", str(embedded.stand_in_folder())
  kind, _, path = name.partition(":")
  return kind, path


# Everything is kept in memory.
NEVER = Streaming(in_memory_gib=math.inf)


def load(
  name: str,
  data_dir: str | os.PathLike[str] | None = None,
  resize: str = "",
  streaming: Streaming = NEVER,
) -> arrays.Dataset:
  """Loads a data set onto the default device, or opens it to be streamed.

  Args:
    name: One of this module's table.
    data_dir: The folder of TFDS's data sets; by default TFDS_DATA_DIR of the
      environment, or ~/tensorflow_datasets.
    resize: `HxW`: images of folder:PATH, records:PATH and tfds:NAME are
      converted to this size, see `images.read`; "" takes them as they are.
    streaming: When such a data set is streamed, and how.

  Raises:
    FileNotFoundError: The data is absent; see `require`.
    ValueError: The name is unknown or the data is not valid; or grain, which
      streams, is not installed.
  """
  require(name, data_dir)
  size = images.parse_size(resize)
  kind, path = _kind(name)
  opened = _to_stream(name, data_dir, size, streaming)
  if opened is not None:
    _require_grain(name, opened[0], opened[1])
    return arrays.stream_dataset(name, *opened, streaming.workers)
  if kind == "folder":
    return folder.load_folder(name, paths.expand(path), size)
  if kind == "npz":
    return folder.load_npz(name, paths.expand(path))
  if kind == "records":
    return _load_records(name, paths.expand(path), size)
  if _is_prepared(name):
    return prepared.load(name, locate.resolve_data_dir(data_dir), size)
  return embedded.digits() if name == "digits" else embedded.mock(name)


def _to_stream(
  name: str,
  data_dir: str | os.PathLike[str] | None,
  size: images.Size | None,
  streaming: Streaming,
) -> tuple[Opened, View] | None:
  """The opened files of a data set that is to be streamed, and their view."""
  if streaming.in_memory_gib == math.inf or not is_resizable(name):
    return None
  kind, path = _kind(name)
  if kind == "folder":
    opened = folder.open_folder(paths.expand(path))
  elif kind == "records":
    opened = array_records.open_records(paths.expand(path))
  else:
    opened = prepared.open_prepared(name, locate.resolve_data_dir(data_dir))
  view = streamed.find_view(name, opened, size)
  if streamed.gibibytes(opened, view) <= streaming.in_memory_gib:
    return None
  crop_area, jitter = streaming.crop_area, streaming.jitter
  return opened, dataclasses.replace(view, crop_area=crop_area, jitter=jitter)


def _require_grain(name: str, opened: Opened, view: View) -> None:
  if importlib.util.find_spec("grain") is None:
    gib = streamed.gibibytes(opened, view)
    raise ValueError(
      f"{name} has {gib:.1f} GiB of images, decoded, and is streamed by grain:"
      " pip install grain, or raise data.in_memory_gib"
    )


def _load_records(
  name: str, path: pathlib.Path, size: images.Size | None
) -> arrays.Dataset:
  opened = array_records.open_records(path)
  view = streamed.find_view(name, opened, size)
  train, test = (
    streamed.Streamed(reader, np.arange(len(reader)), view, 2).read(
      np.arange(len(reader))
    )
    for reader in (opened.train, opened.test)
  )
  return arrays.make_dataset(name, *train, *test, opened.class_names)


def shape(
  name: str,
  data_dir: str | os.PathLike[str] | None = None,
  resize: str = "",
  streaming: Streaming = NEVER,
) -> tuple[tuple[int, int, int], int]:
  """((height, width, channels) of an image, number of classes).

  The shapes of the common data sets are known without their data, so that a
  latency table for CIFAR-10 can be measured on a machine that does not have
  it. Data sets that are streamed are opened, others are loaded.

  Args:
    name: As for `load`.
    data_dir: As for `load`.
    resize: As for `load`.
    streaming: As for `load`.

  Raises:
    FileNotFoundError, ValueError: See `load`.
  """
  if name.removeprefix("mock_") in _SHAPES:
    (height, width, channels), num_classes = _SHAPES[name.removeprefix("mock_")]
    height, width = images.parse_size(resize) or (height, width)
    return (height, width, channels), num_classes
  require(name, data_dir)
  size = images.parse_size(resize)
  if (opened := _to_stream(name, data_dir, size, streaming)) is not None:
    files, view = opened
    return (*view.size, view.channels), len(files.class_names)
  dataset = load(name, data_dir, resize)
  return dataset.image, dataset.num_classes
