"""Data sets: arrays on the device, or streamed from files.

Images stay uint8 until `augment.normalise`. The order of the examples is a pure
function of (key, step), so a checkpoint need not store it. It does not depend
on where the examples are.
"""

import dataclasses
import hashlib
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.data import streamed, validate
from hwnas_jax.data.streamed import SAMPLED, Opened, Streamed, spread
from hwnas_jax.data.view import View

_ROUNDS = 8


class Split(NamedTuple):
  """The examples of one split, on the device.

  Attributes:
    images: uint8[N, H, W, C] in [0, 255].
    labels: int32[N] in [0, num_classes).
  """

  images: jax.Array
  labels: jax.Array


class Window(NamedTuple):
  """The examples of the steps of one dispatch, on the device.

  Attributes:
    images: uint8[S, B, H, W, C]; step number t uses those of t % S.
    labels: int32[S, B].
  """

  images: jax.Array
  labels: jax.Array

  def batch(self, step: jax.Array) -> Split:
    """The B examples of a step."""
    at = step % self.labels.shape[0]
    return Split(self.images[at], self.labels[at])


Examples = Split | Streamed


def size(examples: Examples) -> int:
  """How many examples there are."""
  if isinstance(examples, Streamed):
    return len(examples)
  return examples.labels.shape[0]


def take(examples: Examples, rows: np.ndarray) -> Split:
  """The examples of rows int[M], on the device and without anything random.

  Raises:
    ValueError: See `Streamed.read`.
  """
  if isinstance(examples, Streamed):
    images, labels = examples.read(rows)
  else:  # by NumPy: JAX would compile a gather for each shape
    images, labels = (np.asarray(array)[rows] for array in examples)
  return Split(jnp.asarray(images), jnp.asarray(labels))


def on_device(examples: Examples, limit: int) -> Split:
  """All examples, or of streamed ones at most `limit`, evenly spread."""
  if isinstance(examples, Streamed):
    return take(examples, spread(len(examples), limit))
  return examples


def subset(examples: Examples, rows: np.ndarray) -> Examples:
  """The examples of some rows; streamed ones stay in their files."""
  if isinstance(examples, Streamed):
    return examples.subset(rows)
  return Split(examples.images[rows], examples.labels[rows])


@dataclasses.dataclass(frozen=True)
class Dataset:
  """A data set and its statistics.

  Attributes:
    name: The name it was loaded by.
    train: The training split.
    test: The test split; a search does not use it.
    num_classes: K, labels are 0..K-1.
    mean: Of each channel over the training split, in units of [0, 1]; where it
      is streamed, over SAMPLED evenly spread images of it.
    std: Of each channel, as the mean.
    digest: SHA-256 of all four arrays, as hexadecimal digits; of streamed data
      see `streamed.digest`.
    class_names: The K names in the order of the labels; None without names.
  """

  name: str
  train: Examples
  test: Examples
  num_classes: int
  mean: tuple[float, ...]
  std: tuple[float, ...]
  digest: str
  class_names: tuple[str, ...] | None = None

  @property
  def image(self) -> tuple[int, int, int]:
    """(height, width, channels) of an image."""
    if isinstance(self.train, Streamed):
      return self.train.image
    height, width, channels = self.train.images.shape[1:]
    return height, width, channels


def digest(*arrays: np.ndarray) -> str:
  """Returns the SHA-256 of the arrays' dtypes, shapes and bytes."""
  sha = hashlib.sha256()
  for array in arrays:
    sha.update(f"{array.dtype.str}{array.shape}".encode())
    sha.update(np.ascontiguousarray(array).data)
  return sha.hexdigest()


def make_dataset(
  name: str,
  train_images: np.ndarray,
  train_labels: np.ndarray,
  test_images: np.ndarray,
  test_labels: np.ndarray,
  class_names: tuple[str, ...] | None = None,
) -> Dataset:
  """Checks the arrays and puts them on the default device.

  Args:
    name: Names the data set, also in errors.
    train_images: uint8[N, H, W, C], or uint8[N, H, W] of one channel.
    train_labels: Integers [N]; every class 0..K-1 occurs.
    test_images: Of the same size and channels as the training images.
    test_labels: Integers [M] in [0, K).
    class_names: K different names, or None.

  Returns:
    The data set with its statistics.

  Raises:
    ValueError: An argument is not as above, or a channel is constant over the
      training split.
  """
  num_classes = validate.require(
    name, train_images, train_labels, test_images, test_labels, class_names
  )
  train_images, test_images = map(
    validate.with_channels, (train_images, test_images)
  )
  mean, std = _statistics(name, train_images)
  train_labels = train_labels.astype(np.int32)
  test_labels = test_labels.astype(np.int32)
  return Dataset(
    name=name,
    train=Split(jnp.asarray(train_images), jnp.asarray(train_labels)),
    test=Split(jnp.asarray(test_images), jnp.asarray(test_labels)),
    num_classes=num_classes,
    mean=mean,
    std=std,
    digest=digest(train_images, train_labels, test_images, test_labels),
    class_names=class_names,
  )


def stream_dataset(
  name: str, opened: Opened, view: View, workers: int
) -> Dataset:
  """A data set that stays in files; SAMPLED images of it are read.

  Args:
    name: Names the data set, also in errors.
    opened: Its files.
    view: What is made of an image.
    workers: Processes that read in training.

  Raises:
    ValueError: A sampled image is not as expected; or one channel of them is
      constant; or there is only one class.
  """
  if len(opened.class_names) < 2:
    raise ValueError(f"{name}: there is only one class, but at least 2 needed.")
  train, test = (
    Streamed(reader, np.arange(len(reader), dtype=np.int32), view, workers)
    for reader in (opened.train, opened.test)
  )
  sample = train.read(spread(len(train), SAMPLED))
  mean, std = _statistics(name, sample[0])
  return Dataset(
    name=name,
    train=train,
    test=test,
    num_classes=len(opened.class_names),
    mean=mean,
    std=std,
    digest=streamed.digest(opened, view, sample),
    class_names=opened.class_names,
  )


def _statistics(
  name: str, images: np.ndarray
) -> tuple[tuple[float, ...], tuple[float, ...]]:
  """Exact mean and std per channel, from the counts of the 256 values."""
  channels = images.shape[-1]
  counts = [
    np.bincount(images[..., c].ravel(), minlength=256) for c in range(channels)
  ]
  frequency = np.stack(counts) / images[..., 0].size
  values = np.arange(256) / 255
  mean = frequency @ values
  std = np.sqrt((frequency * (values - mean[:, None]) ** 2).sum(1))
  if not std.all():
    raise ValueError(
      f"{name}: channel {int(np.argmin(std))} of the train images is "
      "constant, so that it cannot be normalised: remove it."
    )
  return tuple(mean.tolist()), tuple(std.tolist())


def batch_indices(
  key: jax.Array, step: jax.Array | int, num_examples: int, batch_size: int
) -> jax.Array:
  """Returns which examples step number `step` uses.

  An epoch is `num_examples // batch_size` steps. Each epoch has its own random
  order, uses no example twice, and leaves the remainder out.

  The permutation is not stored. The map position -> example is a keyed
  bijection: a Feistel network on pairs (left, right) of Z_a x Z_a with
  a = ceil(sqrt(N)), repeated until the result is below N ("cycle walking",
  Black and Rogaway 2002). It takes microseconds; `jax.random.permutation`
  would sort all N.

  Args:
    key: The same for the whole run; the epoch is folded in.
    step: Scalar integer >= 0, may be traced.
    num_examples: N, at most 2**31 - 1.
    batch_size: B, at most N.

  Returns:
    int32[B] in [0, N), distinct.

  Raises:
    ValueError: batch_size is not in [1, num_examples].
  """
  if not 1 <= batch_size <= num_examples:
    raise ValueError(
      f"batch_size must be in 1..{num_examples} (the number of examples), "
      f"got {batch_size}."
    )
  steps_per_epoch = num_examples // batch_size
  epoch, batch = jnp.divmod(jnp.asarray(step, jnp.int32), steps_per_epoch)
  position = batch * batch_size + jnp.arange(batch_size, dtype=jnp.int32)
  return _permute(round_keys(key, epoch), position, num_examples)


def round_keys(key: jax.Array, epoch: jax.Array | int) -> jax.Array:
  """What the order of an epoch is made of: uint32[8]."""
  return jax.random.bits(jax.random.fold_in(key, epoch), (_ROUNDS,))


def _permute(keys: jax.Array, position: jax.Array, n: int) -> jax.Array:
  side = math.isqrt(n - 1) + 1

  def walk(x: jax.Array) -> jax.Array:
    return jnp.where(x < n, x, _feistel(keys, x, side))

  first = _feistel(keys, position.astype(jnp.uint32), side)
  inside = jax.lax.while_loop(lambda x: (x >= n).any(), walk, first)
  return inside.astype(jnp.int32)


def _feistel(keys: jax.Array, x: jax.Array, side: int) -> jax.Array:
  """A keyed bijection of [0, side**2): uint32 -> uint32."""

  def body(index: jax.Array, pair: tuple) -> tuple:
    left, right = pair
    # `% side` before adding, so that the sum cannot overflow.
    mixed = (left + _hash(right ^ keys[index]) % side) % side
    return right, mixed

  left, right = jax.lax.fori_loop(0, _ROUNDS, body, (x // side, x % side))
  return left * side + right


def _hash(x: jax.Array) -> jax.Array:
  """The 32-bit finaliser of MurmurHash3 (Appleby, public domain)."""
  x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
  x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
  return x ^ (x >> 16)


def halves(
  dataset_size: int, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
  """Splits the training examples for a bilevel search.

  Args:
    dataset_size: N, the number of training examples.
    fraction: Share of the examples that train the weights, in (0, 1]. The
      rest trains the architecture; at 1 there is no rest.
    seed: The split is a function of the three arguments alone.

  Returns:
    (train_index, val_index): int32, sorted and disjoint, together 0..N-1. A
    run records `digest(train_index, val_index)`.

  Raises:
    ValueError: A part would be empty though fraction < 1.
  """
  size = round(dataset_size * fraction)
  if not 0 < size < dataset_size + (fraction == 1):
    raise ValueError(
      f"fraction {fraction} of {dataset_size} examples leaves one part of the "
      "split empty: each needs at least one example."
    )
  order = np.random.default_rng(seed).permutation(dataset_size)
  order = order.astype(np.int32)
  return np.sort(order[:size]), np.sort(order[size:])
