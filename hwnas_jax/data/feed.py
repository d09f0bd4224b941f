"""Feeds the steps with streamed examples: grain's workers and prefetching.

    position -> row -> file -> pixels, changed at random -> batches of a step
    -> the window of a dispatch -> the device

Which examples a step sees, and how they are changed, is a function of (key,
step): a feed can begin at any step, and the number of workers changes nothing.
"""

import dataclasses
import gc
import multiprocessing
import os
import threading
import time
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.core import devices
from hwnas_jax.core.devices import Where
from hwnas_jax.data.arrays import Split, Window, round_keys
from hwnas_jax.data.order import Order
from hwnas_jax.data.streamed import Reader, Streamed
from hwnas_jax.data.view import Changed, Encoded, Seen


class Length(NamedTuple):
  """How much is fed.

  num_steps: Of the whole run.
  steps_per_dispatch: Steps in one window.
  batch_size: Examples a step.
  """

  num_steps: int
  steps_per_dispatch: int
  batch_size: int


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Drawn:
  """The examples of a run in the order of their use; grain reads it by index.

  Attributes:
    reader: The files.
    rows: int32[N], rows of the reader.
    order: Which of the N is used where.
    length: Positions: steps times batch size.
    seed: Of the random changes.
  """

  reader: Reader
  rows: np.ndarray
  order: Order
  length: int
  seed: int

  def __len__(self) -> int:
    """The number of positions."""
    return self.length

  def __getitem__(self, position: int) -> Encoded:
    """The example at a position."""
    return self.reader[int(self.rows[self.order[int(position)]])]


def draw(key: jax.Array, split: Streamed, length: Length) -> Drawn:
  """The examples that a run of so many steps uses, in order.

  Args:
    key: Typed; with `arrays.batch_indices` it draws the same examples.
    split: To draw from; it has a batch at least.
    length: Of the run.
  """
  count, batch_size = len(split), length.batch_size
  epochs = -(-length.num_steps // (count // batch_size))
  keys = jax.vmap(round_keys, (None, 0))(key, jnp.arange(epochs))
  # An epoch that is never reached.
  seed = int(round_keys(key, 2**31 - 1)[0])
  order = Order(np.asarray(keys).tolist(), count, batch_size)
  positions = length.num_steps * batch_size
  return Drawn(split.reader, split.rows, order, positions, seed)


class Feed:
  """Gives each dispatch its window, and reads the next ones meanwhile.

  Up to three windows are on the device: the one in use, the next one, and one
  that is copied. Of several devices each has its part of every batch, and a
  process reads the parts of its own. Close it when all is done, or its workers
  stay.

  Attributes:
    wait_share: Of the time between the last two windows, or since the feed was
      made, the share that was spent waiting for the last one.
  """

  def __init__(
    self,
    keys: tuple[jax.Array, ...],
    splits: tuple[Streamed, ...],
    of: Length,
    where: Where = None,
  ) -> None:
    """Reads nothing yet.

    Args:
      keys: Of the order of each level.
      splits: The examples of each level.
      of: Length of the run; the devices divide its batch.
      where: The devices of the steps.
    """
    self._where = where
    self._levels = tuple(
      (draw(key, split, of), split)
      for key, split in zip(keys, splits, strict=True)
    )
    self._length = of
    self._open: Any = None
    self._at: tuple[int, tuple[int, ...]] | None = None
    self._last = time.monotonic()
    self.wait_share = 0.0

  def windows(
    self, step: int, levels: tuple[int, ...] = (0,)
  ) -> tuple[Window, ...]:
    """The windows of the dispatch that begins at a step, one a level.

    In order it waits only where reading is slower than the steps. For another
    step or other levels than come next it starts again, which takes seconds.

    Raises:
      ValueError: An image cannot be read; the message names it.
    """
    start = time.monotonic()
    if self._at != (step, levels):
      self.close()
      self._open = iter(self._pipeline(step, levels))
    windows = next(self._open)
    self._at = step + self._length.steps_per_dispatch, levels
    now = time.monotonic()
    self.wait_share = (now - start) / max(now - self._last, 1e-9)
    self._last = now
    return windows

  def close(self) -> None:
    """Ends the workers."""
    if self._open is not None:
      self._open.close()
    self._open = self._at = None
    # Exceptions that ended threads refer to the last batches, which are in
    # shared memory. At exit it would be too late to free that.
    gc.collect()

  def _pipeline(self, step: int, levels: tuple[int, ...]) -> Any:
    import grain

    batch_size = self._length.batch_size
    parts = [
      part
      for level in levels
      for part in _own_parts(self._changed(level), batch_size, self._where)
    ]
    steps = grain.experimental.ZipMapDataset(parts).slice(
      slice(step, self._length.num_steps)
    )
    workers = self._levels[0][1].workers
    read = _in_workers(steps, workers).batch(self._length.steps_per_dispatch)
    ready = grain.experimental.ThreadPrefetchIterDataset
    # One window is read, one copied, and one used at any time.
    copied = ready(read, prefetch_buffer_size=1).map(self._join)
    return ready(copied, prefetch_buffer_size=1)

  def _changed(self, level: int) -> Any:
    """A level's examples in the order of their use, changed at random."""
    import grain

    drawn, split = self._levels[level]
    return grain.MapDataset.source(drawn).random_map(
      Changed(split.view), seed=drawn.seed
    )

  def _join(self, read: tuple[Any, ...]) -> tuple[Window, ...]:
    """Windows on the devices, of what was read of each level and part."""
    count = len(devices.own_parts(self._where))
    levels = [read[i : i + count] for i in range(0, len(read), count)]
    # Where no device is named, none is here either: arrays that are bound to
    # one would make the steps compile again when their state is bound to it.
    return tuple(Window(*_joined(parts, self._where, 1)) for parts in levels)


def _own_parts(examples: Any, batch_size: int, where: Where) -> list[Any]:
  """The parts of all batches for each of this process's devices."""
  total = devices.count(where)
  parts = examples.batch(batch_size // total)
  own = devices.own_parts(where)
  return [parts.slice(slice(part, None, total)) for part in own]


def _in_workers(batches: Any, workers: int) -> Any:
  """Batches, made by processes that have two ready each; 0: by threads."""
  import grain
  from absl import flags

  if not flags.FLAGS.is_parsed():  # grain's own, in a notebook or a script
    flags.FLAGS.mark_as_parsed()
  options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=1)
  made = batches.to_iter_dataset(options)
  if not workers:
    return made
  return made.mp_prefetch(
    grain.MultiprocessingOptions(num_workers=workers),
    worker_init_fn=_end_with_parent,
  )


def _end_with_parent(worker: int, workers: int) -> None:
  """Ends a worker when the main process was killed and could not end it."""
  del worker, workers
  parent = multiprocessing.parent_process()

  def watch() -> None:
    if parent is not None:
      parent.join()
      os._exit(1)

  threading.Thread(target=watch, daemon=True).start()


def _joined(parts: Sequence[Any], where: Where, axis: int) -> list[jax.Array]:
  """Images and labels on the devices, of (images, labels) of each part."""
  return [devices.join(x, where, axis) for x in zip(*parts, strict=True)]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class _Rows:
  """(image, label) of each example, in order, and as many more as fill up."""

  split: Streamed
  batch_size: int

  def __len__(self) -> int:
    return -(-len(self.split) // self.batch_size) * self.batch_size

  def __getitem__(self, row: int) -> tuple[np.ndarray, Any]:
    split = self.split
    if row >= len(split):
      return np.zeros(split.image, np.uint8), np.int32(-1)
    return Seen(split.view)(split.reader[int(split.rows[row])])


def in_order(
  split: Streamed, batch_size: int, where: Where = None
) -> Generator[Split]:
  """Every example of a split once, without anything random.

  All batches have one size: the last one is filled up with black images of the
  label -1, which no network predicts.

  Args:
    split: To read.
    batch_size: Examples at once; the devices divide it.
    where: The devices; each gets its part of a batch, and a process reads the
      parts of its own.

  Yields:
    Images uint8[batch_size, H, W, C] and labels int32[batch_size], on the
    devices.
  """
  import grain

  rows = grain.MapDataset.source(_Rows(split, batch_size))
  batches = grain.experimental.ZipMapDataset(
    _own_parts(rows, batch_size, where)
  )
  # Fewer workers than batches: to start one takes longer than to read a batch.
  workers = min(split.workers, len(batches) // 4)
  iterator = iter(_in_workers(batches, workers))
  try:
    for parts in iterator:
      yield Split(*_joined(parts, where, 0))
  finally:
    iterator.close()
    del iterator
    gc.collect()  # as in `Feed.close`
