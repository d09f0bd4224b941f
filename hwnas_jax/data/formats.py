"""Readers of the original files: CIFAR-10's binary batches, MNIST's idx."""

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
    splits: 'train' and 'test' -> (uint8[N, H, W, C], uint8[N]).
    label_names: Where the original files have them, else None.
  """

  splits: dict[str, tuple[np.ndarray, np.ndarray]]
  label_names: list[str] | None


def read_cifar10(files: Mapping[str, pathlib.Path]) -> Original:
  """Reads cifar-10-binary.tar.gz, without unpacking it to the disk.

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
    raise ValueError(f"{tar.name!r} holds no file {path}.")
  return member.read()


def _cifar_batch(data: bytes) -> tuple[np.ndarray, np.ndarray]:
  """Records of one label byte and 3072 pixels, channels first."""
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

  Raises:
    ValueError: A file is not what its header says.
  """
  splits = {}
  for split, prefix in (("train", "train"), ("test", "t10k")):
    images = _idx(files[f"{prefix}-images-idx3-ubyte.gz"], rank=3)
    labels = _idx(files[f"{prefix}-labels-idx1-ubyte.gz"], rank=1)
    splits[split] = (images[..., None], labels)
  return Original(splits, None)


def _idx(path: pathlib.Path, rank: int) -> np.ndarray:
  """Two zero bytes, type, rank, big-endian sizes, then the elements."""
  data = gzip.decompress(path.read_bytes())
  if data[:4] != bytes([0, 0, _IDX_UINT8, rank]):
    raise ValueError(f"{path} is not an idx file of {rank}-dimensional uint8.")
  start = 4 + 4 * rank
  shape = np.frombuffer(data[4:start], ">u4")
  if len(data) - start != shape.prod():
    raise ValueError(
      f"{path} holds {len(data) - start} elements, its header says "
      f"{shape.tolist()}."
    )
  return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
