"""Loads a data set by its name.

| name | data set |
|---|---|
| `digits` | 8x8x1, 10 classes; a part of the package |
| `cifar10`, `fashion_mnist` | of TFDS; prepared by `python -m hwnas_jax.data` |
| `mock_cifar10`, `mock_fashion_mnist` | generated images of that shape |
| `folder:PATH` | PATH/train/CLASS/*.png, PATH/test/CLASS/*.png |
| `npz:PATH` | x_train, y_train, x_test, y_test |
| `tfds:NAME`, `tfds:NAME/CONFIG` | any image classification prepared by TFDS |
| `tfds:PATH` | the same, by the full path of its folder |

For arrays in memory see `hwnas_jax.data.user`.
"""

import difflib
import os

from hwnas_jax.data import (
  arrays,
  embedded,
  folder,
  images,
  locate,
  originals,
  prepared,
  user,
)
from hwnas_jax.io import paths

# (image, classes) of data sets whose shape is known without loading them.
_SHAPES = {
  "digits": ((8, 8, 1), 10),
  "cifar10": ((32, 32, 3), 10),
  "fashion_mnist": ((28, 28, 1), 10),
}
_NAMES = ("digits", *originals.CHECKSUMS, *embedded.MOCK_SHAPES)


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
      "tfds:NAME, folder:PATH, npz:PATH."
    )


def is_resizable(name: str) -> bool:
  """Whether `load` can convert the images of this data set to another size."""
  return name.startswith("folder:") or _is_prepared(name)


def _is_prepared(name: str) -> bool:
  kind, _, path = name.partition(":")
  return name in originals.CHECKSUMS or (kind == "tfds" and bool(path))


def load(
  name: str,
  data_dir: str | os.PathLike[str] | None = None,
  resize: str = "",
) -> arrays.Dataset:
  """Loads a data set onto the default device.

  Args:
    name: One of this module's table.
    data_dir: The folder of TFDS's data sets; by default TFDS_DATA_DIR of the
      environment, or ~/tensorflow_datasets.
    resize: `HxW`: images of folder:PATH and tfds:NAME are converted to this
      size, see `images.read`; "" takes them as they are.

  Raises:
    FileNotFoundError: The data is absent; see `require`.
    ValueError: The name is unknown or the data is not valid.
  """
  require(name, data_dir)
  size = images.parse_size(resize)
  kind, _, path = name.partition(":")
  if kind == "folder":
    return folder.load_folder(name, paths.expand(path), size)
  if kind == "npz":
    return folder.load_npz(name, paths.expand(path))
  if _is_prepared(name):
    return prepared.load(name, locate.resolve_data_dir(data_dir), size)
  return embedded.digits() if name == "digits" else embedded.mock(name)


def shape(
  name: str,
  data_dir: str | os.PathLike[str] | None = None,
  resize: str = "",
) -> tuple[tuple[int, int, int], int]:
  """((height, width, channels) of an image, number of classes).

  The shapes of the common data sets are known without their data, so that a
  latency table for CIFAR-10 can be measured on a machine that does not have
  it. Other data sets are loaded.

  Args:
    name: As for `load`.
    data_dir: As for `load`.
    resize: As for `load`.

  Raises:
    FileNotFoundError, ValueError: See `load`.
  """
  if name.removeprefix("mock_") in _SHAPES:
    (height, width, channels), num_classes = _SHAPES[name.removeprefix("mock_")]
    height, width = images.parse_size(resize) or (height, width)
    return (height, width, channels), num_classes
  dataset = load(name, data_dir, resize)
  return dataset.image, dataset.num_classes
