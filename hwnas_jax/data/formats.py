"""Reads original files: CIFAR-10's binary batches and MNIST's idx format."""

import gzip
import pathlib
import tarfile
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

_CIFAR_FOLDER = "cifar-10-batches-bin"
_CIFAR_RECORD_BYTES = 1 + 3 * 32 * 32
_IDX_UINT8 = 8


class Original(NamedTuple):
  """A data set in the order of its original files.

  Attributes:
    splits: (images uint8[N, H, W, C], labels uint8[N]) of 'train' and 'test'.
    label_names: The names of the classes; None where the files have none.
  """

  splits: dict[str, tuple[np.ndarray, np.ndarray]]
  label_names: list[str] | None


def read_cifar10(files: Mapping[str, pathlib.Path]) -> Original:
  """Reads cifar-10-binary.tar.gz without unpacking it to disk.

  Args:
    files: Its path, by its name.

  Raises:
    ValueError: A member of the archive is missing or cut short.
  """
  batches = [f"data_batch_{i}.bin" for i in range(1, 6)]
  with tarfile.open(files["cifar-10-binary.tar.gz"]) as tar:
    parts = [_cifar_batch(_member(tar, name)) for name in batches]
    test = _cifar_batch(_member(tar, "test_batch.bin"))
    names = _member(tar, "batches.meta.txt").decode().split()
  images, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
  return Original({"train": (images, labels), "test": test}, names)


def _member(tar: tarfile.TarFile, name: str) -> bytes:
  path = f"{_CIFAR_FOLDER}/{name}"
  try:
    member = tar.extractfile(path)
  except KeyError:
    member = None
  if member is None:
    raise ValueError(f"{tar.name!r} has no file {path}.")
  return member.read()


def _cifar_batch(data: bytes) -> tuple[np.ndarray, np.ndarray]:
  """(images, labels) of records: a label byte, then 3072 pixels as CHW."""
  if len(data) % _CIFAR_RECORD_BYTES:
    raise ValueError(
      f"A batch of {len(data)} bytes is cut short: records are "
      f"{_CIFAR_RECORD_BYTES} bytes."
    )
  records = np.frombuffer(data, np.uint8).reshape(-1, _CIFAR_RECORD_BYTES)
  pixels = records[:, 1:].reshape(-1, 3, 32, 32)
  return pixels.transpose(0, 2, 3, 1), records[:, 0]


def read_fashion_mnist(files: Mapping[str, pathlib.Path]) -> Original:
  """Reads the four idx files.

  Args:
    files: Their paths, by their names.

  Raises:
    ValueError: A file's contents are not what its header says.
  """
  splits = {}
  for split, prefix in (("train", "train"), ("test", "t10k")):
    images = _idx(files[f"{prefix}-images-idx3-ubyte.gz"], rank=3)
    labels = _idx(files[f"{prefix}-labels-idx1-ubyte.gz"], rank=1)
    splits[split] = (images[..., None], labels)
  return Original(splits, None)


def _idx(path: pathlib.Path, rank: int) -> np.ndarray:
  """An idx file: 2 zero bytes, type, rank, big-endian sizes, the elements."""
  data = gzip.decompress(path.read_bytes())
  if data[:4] != bytes([0, 0, _IDX_UINT8, rank]):
    raise ValueError(f"{path} is not an idx file of {rank}-dimensional uint8.")
  start = 4 + 4 * rank
  shape = np.frombuffer(data[4:start], ">u4")
  if len(data) - start != shape.prod():
    raise ValueError(
      f"{path} has {len(data) - start} elements, its header says "
      f"{shape.tolist()}."
    )
  return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
