"""Finds TFDS's data sets: in DATA_DIR/NAME/VERSION or NAME/CONFIG/VERSION."""

import os
import pathlib

from hwnas_jax.data import originals
from hwnas_jax.io import paths

_INFO = "dataset_info.json"


def resolve_data_dir(data_dir: str | os.PathLike[str] | None) -> pathlib.Path:
  """Returns data_dir, or TFDS's default where it is None or empty."""
  default = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
  return paths.expand(data_dir or default)


def find(name: str, data_dir: pathlib.Path) -> pathlib.Path | None:
  """Returns the folder of the newest prepared version; None if there is none.

  Args:
    name: `NAME` or `NAME/CONFIG`, with or without `/VERSION`; or the full path
      of such a folder. `tfds:` may come before it.
    data_dir: The folder of TFDS's data sets.
  """
  folder = _place(name, data_dir)
  if (folder / _INFO).is_file():
    return folder
  versions = [
    p.parent for p in folder.glob(f"*.*.*/{_INFO}") if _version(p.parent)
  ]
  return max(versions, key=_version, default=None)


def _place(name: str, data_dir: pathlib.Path) -> pathlib.Path:
  # Joined to a full path, data_dir is ignored.
  return data_dir / paths.expand(name.removeprefix("tfds:"))


def _version(folder: pathlib.Path) -> tuple[int, ...]:
  """(3, 0, 2) of '3.0.2'; () of other names, such as unfinished ones."""
  parts = folder.name.split(".")
  return tuple(map(int, parts)) if all(p.isdecimal() for p in parts) else ()


def absent(name: str, data_dir: pathlib.Path) -> str:
  """Returns the error's text for a data set that is not prepared.

  Args:
    name: As for `find`, which found nothing.
    data_dir: As for `find`.
  """
  folder = _place(name, data_dir)
  infos = folder.glob(f"*/*.*.*/{_INFO}")
  if configs := sorted({path.parents[1].name for path in infos}):
    names = [f"{name}/{config}" for config in configs]
    return f"{name} has configs; name one of them: {', '.join(names)}."
  ways = [f"{name} is not prepared: there is no {folder}/VERSION/{_INFO}."]
  where = name.removeprefix("tfds:")
  if not paths.expand(where).is_absolute():
    ways += ["Ways to get it:"]
    if where in originals.CHECKSUMS:
      command = f"  python -m hwnas_jax.data {where} --data_dir={data_dir}"
      ways += [
        command,
        "    downloads the original files and prepares them",
        f"{command} --archive=PATH",
        "    prepares them from original files you have",
      ]
    ways += [
      '  python -c "import tensorflow_datasets as tfds; tfds.builder('
      f"'{where}', data_dir='{data_dir}').download_and_prepare("
      f"file_format='array_record')\"",
      "    where TensorFlow is installed",
    ]
  ways += [
    "Or name another data_dir (TFDS_DATA_DIR sets the default), or your own "
    "images: 'folder:PATH' or 'npz:PATH'. 'digits' needs nothing."
  ]
  return "\n".join(ways)
