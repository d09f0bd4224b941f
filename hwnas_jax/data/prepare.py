"""Prepares CIFAR-10 and Fashion-MNIST for TFDS without TensorFlow.

TFDS reads the format array_record without TensorFlow, but its builders of
`cifar10` and `fashion_mnist` need TensorFlow to write it, and without a network
they try for minutes. This module writes the same data sets (name, version,
features, order) from the same original files by TFDS's own writer.
"""

import io
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from absl import logging
from PIL import Image

from hwnas_jax.data import formats, locate, originals, prepared
from hwnas_jax.io import paths

_READERS = {
  "cifar10": formats.read_cifar10,
  "fashion_mnist": formats.read_fashion_mnist,
}


def prepare(
  name: str,
  data_dir: str | os.PathLike[str] | None = None,
  archive: str | os.PathLike[str] | None = None,
  checksums: Mapping[str, str] | None = None,
) -> pathlib.Path:
  """Writes a data set for `tfds.data_source(name)`, unless it is there.

  Args:
    name: 'cifar10' or 'fashion_mnist'.
    data_dir: The folder of TFDS's data sets; by default as in `load.load`.
    archive: The original file, or the folder of the original files. Without
      it they are looked for in `data_dir/downloads`, then downloaded.
    checksums: SHA-256 of the original files by URL; by default those that TFDS
      registers.

  Returns:
    The folder of the prepared data set.

  Raises:
    FileNotFoundError: A file is not at `archive`.
    ConnectionError: A file is missing, and its server does not answer.
    ValueError: A file is not the original one, or the data set is prepared
      in a format that cannot be read without TensorFlow.
  """
  root = locate.resolve_data_dir(data_dir)
  if folder := locate.find(name, root):
    prepared.require(name, root)
    logging.info("%s is already prepared in %s", name, folder)
    return folder
  files = originals.collect(
    name,
    root,
    paths.expand(archive) if archive else None,
    checksums or originals.CHECKSUMS[name],
  )
  return _write(name, root, _READERS[name](files))


def _write(
  name: str, root: pathlib.Path, original: formats.Original
) -> pathlib.Path:
  """Writes by TFDS's builder, which gets arrays instead of a download."""
  import tensorflow_datasets as tfds

  base: Any = tfds.builder_cls(name)

  def split_generators(self: Any, download_manager: Any) -> dict[str, Any]:
    del download_manager
    if original.label_names:
      self.info.features["label"].names = original.label_names
    has_id = "id" in self.info.features
    return {
      split: _examples(*data, f"{split}_" if has_id else None)
      for split, data in original.splits.items()
    }

  members = {
    "__module__": base.__module__,
    "name": name,
    "_split_generators": split_generators,
  }
  with tfds.core.registered.skip_registration():
    builder: Any = type(base.__name__, (base,), members)
  made = builder(data_dir=str(root), file_format="array_record")
  made.download_and_prepare()
  return pathlib.Path(made.data_dir)


def _examples(
  images: np.ndarray, labels: np.ndarray, id_prefix: str | None
) -> Iterator[tuple[int, dict[str, Any]]]:
  for index, (pixels, label) in enumerate(
    zip(images, labels.tolist(), strict=True)
  ):
    example = {"image": _png(pixels), "label": label}
    if id_prefix is not None:
      example["id"] = f"{id_prefix}{index:05d}"
    yield index, example


def _png(pixels: np.ndarray) -> io.BytesIO:
  """A PNG file. TFDS needs TensorFlow to encode pixels, but not for files."""
  stream = io.BytesIO()
  squeezed = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
  Image.fromarray(squeezed).save(stream, "PNG")
  stream.seek(0)
  return stream
