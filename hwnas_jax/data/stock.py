"""CIFAR-10 and Fashion-MNIST as TFDS prepares them, without TensorFlow."""

import json
import os
import pathlib
from typing import Any

import numpy as np
from absl import logging

from hwnas_jax.data import arrays

NAMES = ("cifar10", "fashion_mnist")

_CHUNK = 10_000


def resolve_data_dir(data_dir: str | os.PathLike[str] | None) -> pathlib.Path:
  """Returns data_dir, or where TFDS keeps its data by default."""
  default = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
  return pathlib.Path(data_dir or default).expanduser()


def find(name: str, data_dir: pathlib.Path) -> pathlib.Path | None:
  """Returns the folder of the newest prepared version, None without one."""
  found = (data_dir / name).glob("*.*.*/dataset_info.json")
  versions = [p.parent for p in found if _version(p.parent)]
  return max(versions, key=_version, default=None)


def _version(folder: pathlib.Path) -> tuple[int, ...]:
  """Numbers of '3.0.2'; empty for others, as an unfinished preparation."""
  parts = folder.name.split(".")
  return tuple(map(int, parts)) if all(p.isdecimal() for p in parts) else ()


def check(name: str, data_dir: pathlib.Path) -> pathlib.Path:
  """Returns the prepared folder, or refuses with the ways to get one.

  Raises:
    FileNotFoundError: The data set is not prepared in data_dir.
    ValueError: It is, in a format that only TensorFlow reads.
  """
  folder = find(name, data_dir)
  if folder is None:
    raise FileNotFoundError(
      f"{name} is not prepared: there is no {data_dir / name}/VERSION/"
      f"dataset_info.json.\n{_ways(name, data_dir)}"
    )
  info = json.loads((folder / "dataset_info.json").read_text())
  if (file_format := info.get("fileFormat")) != "array_record":
    raise ValueError(
      f"{folder} is in the format {file_format}, which only TensorFlow reads; "
      f"array_record is needed. Move it away, or take another data_dir.\n"
      f"{_ways(name, data_dir)}"
    )
  return folder


def _ways(name: str, data_dir: pathlib.Path) -> str:
  command = f"python -m hwnas_jax.data {name} --data_dir={data_dir}"
  return (
    "Ways to get it:\n"
    f"  {command}\n"
    "    downloads the original files and prepares them\n"
    f"  {command} --archive=PATH\n"
    "    prepares them from original files you have\n"
    f"  tfds.builder('{name}', data_dir='{data_dir}').download_and_prepare("
    "file_format='array_record')\n"
    "    in Python, where TensorFlow is installed\n"
    "Or name another data_dir (TFDS_DATA_DIR sets the default), or your own "
    "images: 'folder:PATH' or 'npz:PATH'. 'digits' needs nothing."
  )


def load(name: str, data_dir: pathlib.Path) -> arrays.Dataset:
  """Decodes a prepared data set, about 10 s; the order is that of TFDS.

  Raises:
    FileNotFoundError, ValueError: As `check`.
  """
  folder = check(name, data_dir)
  # Slow to import, and of no use to who brings other data.
  import tensorflow_datasets as tfds

  train, test = (
    tfds.data_source(
      f"{name}:{folder.name}", split=split, data_dir=data_dir, download=False
    )
    for split in ("train", "test")
  )
  return arrays.make_dataset(name, *_decode(train), *_decode(test))


def _decode(source: Any) -> tuple[np.ndarray, np.ndarray]:
  images, labels = [], []
  for start in range(0, len(source), _CHUNK):
    stop = min(start + _CHUNK, len(source))
    logging.info("Decoding images: %d of %d", start, len(source))
    examples = source.__getitems__(list(range(start, stop)))
    images += [example["image"] for example in examples]
    labels += [example["label"] for example in examples]
  return np.stack(images), np.array(labels)
