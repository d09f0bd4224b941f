"""A split that stays in files, for data sets larger than memory."""

import concurrent.futures
import dataclasses
import hashlib
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from hwnas_jax.data import view
from hwnas_jax.data.images import Size
from hwnas_jax.data.view import Encoded, Seen, View

SAMPLED = 512  # training images that are read when a data set is opened


class Streaming(NamedTuple):
  """When a data set is streamed, and how.

  in_memory_gib: A data set that is larger, decoded, is streamed; GiB.
  crop_area, jitter: See `View`; of streamed data alone.
  workers: Processes that read; 0: the main process reads.
  """

  in_memory_gib: float = 4.0
  crop_area: float = 1.0
  jitter: float = 0.0
  workers: int = 2


class Reader(Protocol):
  """Random access to the examples of a split; it can be pickled."""

  def __len__(self) -> int:
    """How many examples there are."""

  def __getitem__(self, row: int, /) -> Encoded:
    """The example of a row."""


class Opened(NamedTuple):
  """A data set in files, none of them decoded.

  train, test: Its splits.
  class_names: In the order of the labels.
  channels: Of every image, where the data set says so.
  digest: SHA-256 of the names and sizes of its files.
  """

  train: Reader
  test: Reader
  class_names: tuple[str, ...]
  channels: int | None
  digest: str


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Streamed:
  """Examples in files; what `arrays.Split` is on the device.

  Attributes:
    reader: The files.
    rows: int32[N], the reader's rows that these examples are.
    view: What is made of an image.
    workers: Processes that read in training.
  """

  reader: Reader
  rows: np.ndarray
  view: View
  workers: int

  def __len__(self) -> int:
    """N."""
    return len(self.rows)

  @property
  def image(self) -> tuple[int, int, int]:
    """(height, width, channels) of an image."""
    return (*self.view.size, self.view.channels)

  def subset(self, rows: np.ndarray) -> "Streamed":
    """The examples of some rows of these."""
    return dataclasses.replace(self, rows=self.rows[rows])

  def read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8[M, H, W, C] and labels int32[M] of rows int[M].

    Nothing is random; all of them are in memory at once.

    Raises:
      ValueError: An image is not as expected; the message names it.
    """
    read = Seen(self.view)
    with concurrent.futures.ThreadPoolExecutor(max(1, self.workers)) as pool:
      made = list(
        pool.map(lambda row: read(self.reader[row]), self.rows[rows].tolist())
      )
    images, labels = zip(*made, strict=True)
    return np.stack(images), np.asarray(labels, np.int32)


def spread(count: int, limit: int) -> np.ndarray:
  """At most `limit` rows of `count`, evenly spread: int32, sorted, distinct."""
  return np.unique(
    np.linspace(0, count - 1, min(count, limit)).astype(np.int32)
  )


def find_view(name: str, opened: Opened, size: Size | None) -> View:
  """What the images of a data set are: of the first one, or converted.

  Args:
    name: Names the data set in errors.
    opened: Its files.
    size: To which all are converted; None takes them as they are.

  Raises:
    ValueError: A split is empty, or the first image cannot be read.
  """
  for split, reader in (("train", opened.train), ("test", opened.test)):
    if not len(reader):
      raise ValueError(f"{name}: the split {split} has no images.")
  example = opened.train[0]
  if size is None:
    height, width, channels = view.shape(example)
    return View(Size(height, width), channels, convert=False)
  channels = opened.channels or _channels(opened.train)
  return View(size, channels, convert=True)


def _channels(reader: Reader) -> int:
  """The most channels of some images: greyscale becomes RGB among RGB."""
  rows = spread(len(reader), SAMPLED // 8)
  return max(view.shape(reader[int(row)], True)[-1] for row in rows)


def gibibytes(opened: Opened, seen: View) -> float:
  """How large a data set is, decoded."""
  count = len(opened.train) + len(opened.test)
  return count * seen.size.height * seen.size.width * seen.channels / 2**30


def digest(opened: Opened, seen: View, sample: Sequence[np.ndarray]) -> str:
  """SHA-256 of what can be compared without reading all of a data set.

  That is names and sizes of files, numbers of examples, class names, what is
  made of an image, and sampled images and labels. A change inside of a file
  that keeps its size and is not sampled is not seen.
  """
  sha = hashlib.sha256(opened.digest.encode())
  counts = len(opened.train), len(opened.test)
  shape = seen.size, seen.channels, seen.convert, seen.crop_area < 1
  sha.update(repr((counts, opened.class_names, shape)).encode())
  for array in sample:
    sha.update(np.ascontiguousarray(array).data)
  return sha.hexdigest()
