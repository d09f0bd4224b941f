"""Every data set by its name.

| name | what |
|---|---|
| `digits` | 8x8x1, 10 classes, in the package |
| `cifar10`, `fashion_mnist` | as prepared by TFDS or by `hwnas_jax.data` |
| `mock_cifar10`, `mock_fashion_mnist` | learnable noise of that shape |
| `folder:PATH` | PATH/train/CLASS/*.png, PATH/test/CLASS/*.png |
| `npz:PATH` | x_train, y_train, x_test, y_test |
"""

import difflib
import os
import pathlib

from hwnas_jax.data import arrays, embedded, folder, stock

_NAMES = ("digits", *stock.NAMES, *embedded.MOCK_SHAPES)


def check(name: str, data_dir: str | os.PathLike[str] | None = None) -> None:
  """Refuses what `load` could not read, within a second.

  Args:
    name: As for `load`.
    data_dir: As for `load`.

  Raises:
    FileNotFoundError: The data is absent; says where it was looked for and
      the ways to get it.
    ValueError: The name is unknown, or the data is not readable here.
  """
  kind, _, path = name.partition(":")
  if kind == "folder" and path:
    folder.check_folder(pathlib.Path(path).expanduser())
  elif kind == "npz" and path:
    folder.check_npz(pathlib.Path(path).expanduser())
  elif name in stock.NAMES:
    stock.check(name, stock.resolve_data_dir(data_dir))
  elif name not in _NAMES:
    near = difflib.get_close_matches(name, _NAMES, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(
      f"Unknown data set {name!r}.{hint} Known: {', '.join(_NAMES)}, "
      "folder:PATH, npz:PATH."
    )


def load(
  name: str, data_dir: str | os.PathLike[str] | None = None
) -> arrays.Dataset:
  """Loads a data set onto the default device.

  Args:
    name: One of the names above.
    data_dir: Where TFDS data sets lie; by default TFDS_DATA_DIR of the
      environment, or ~/tensorflow_datasets.

  Raises:
    FileNotFoundError: The data is absent, see `check`.
    ValueError: The name is unknown or the data is not valid.
  """
  check(name, data_dir)
  kind, _, path = name.partition(":")
  if kind == "folder":
    return folder.load_folder(name, pathlib.Path(path).expanduser())
  if kind == "npz":
    return folder.load_npz(name, pathlib.Path(path).expanduser())
  if name in stock.NAMES:
    return stock.load(name, stock.resolve_data_dir(data_dir))
  return embedded.digits() if name == "digits" else embedded.mock(name)
