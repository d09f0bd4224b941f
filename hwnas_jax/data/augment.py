"""Normalisation and random augmentation of images, inside jit.

Inputs are raw pixels, uint8 in [0, 255]. Outputs are
`(pixel / 255 - mean) / std`, with about zero mean and unit variance, in the
type that the network computes in (`core.precision`).
The crop pads with black (pixel 0, before normalising). Cutout writes 0 after
normalising, which is the mean colour.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np


class Normalise(Protocol):
  """Pixels to a network's input, without anything random."""

  def __call__(self, images: jax.Array, /) -> jax.Array:
    """uint8[B, H, W, C] in [0, 255] -> [B, H, W, C]."""


class Augment(Protocol):
  """Pixels to a network's input in training, with random changes."""

  def __call__(self, key: jax.Array, images: jax.Array, /) -> jax.Array:
    """uint8[B, H, W, C] in [0, 255] -> [B, H, W, C], normalised."""


class Augmentation(NamedTuple):
  """What `augment` changes at random.

  Attributes:
    pad: Pixels of black added on each side before cropping back to H x W; 0
      for no crop.
    flip: Whether to mirror left and right with probability 1/2.
    cutout: Side of the erased square in pixels, 0 for none. Its centre is
      uniform over the image, so a part of it may lie outside (DeVries and
      Taylor 2017).
  """

  pad: int = 0
  flip: bool = False
  cutout: int = 0


def normalise(
  images: jax.Array,
  mean: Sequence[float],
  std: Sequence[float],
  dtype: jax.typing.DTypeLike = "float32",
) -> jax.Array:
  """Maps pixels to zero mean and unit variance.

  Args:
    images: uint8[B, H, W, C].
    mean: Per channel, in units of [0, 1].
    std: Per channel, in units of [0, 1].
    dtype: Of the result; it is computed in float32.

  Returns:
    dtype[B, H, W, C].

  Raises:
    ValueError: images are not uint8, or have another number of channels than
      mean or std.
  """
  if images.dtype != jnp.uint8:
    raise ValueError(f"images must be uint8 in [0, 255], got {images.dtype}.")
  if not images.shape[-1] == len(mean) == len(std):
    raise ValueError(
      f"images have {images.shape[-1]} channels, mean {len(mean)}, "
      f"std {len(std)}."
    )
  # One division here, in float64, instead of one for each pixel on the device.
  scale = 1 / (255 * np.reshape(std, (1, 1, 1, -1)))
  shift = np.reshape(mean, (1, 1, 1, -1)) / np.reshape(std, (1, 1, 1, -1))
  pixels = images.astype(jnp.float32)
  pixels = pixels * scale.astype(np.float32) - shift.astype(np.float32)
  return pixels.astype(dtype)


def augment(
  key: jax.Array,
  images: jax.Array,
  augmentation: Augmentation,
  mean: Sequence[float],
  std: Sequence[float],
  dtype: jax.typing.DTypeLike = "float32",
) -> jax.Array:
  """Random crop, horizontal flip and cutout, drawn for each example.

  Args:
    key: One key for the batch.
    images: uint8[B, H, W, C].
    augmentation: What to change. What is off draws nothing.
    mean: Per channel, in units of [0, 1].
    std: Per channel, in units of [0, 1].
    dtype: Of the result.

  Returns:
    dtype[B, H, W, C], normalised.

  Raises:
    ValueError: pad or cutout is negative, or see `normalise`.
  """
  pad, flip, cutout = augmentation
  if pad < 0 or cutout < 0:
    raise ValueError(f"pad {pad} and cutout {cutout} must not be negative.")
  crop_key, flip_key, cutout_key = jax.random.split(key, 3)
  if pad or flip:
    images = _crop_and_flip(crop_key, flip_key, images, pad, flip)
  pixels = normalise(images, mean, std, dtype)
  if cutout:
    pixels = jnp.where(_square(cutout_key, images.shape, cutout), 0, pixels)
  return pixels


def _crop_and_flip(
  crop_key: jax.Array,
  flip_key: jax.Array,
  images: jax.Array,
  pad: int,
  flip: bool,
) -> jax.Array:
  """Crops and flips by one gather: a flip reverses the order of columns."""
  batch, height, width, _ = images.shape
  corner = jax.random.randint(crop_key, (batch, 2, 1), 0, 2 * pad + 1)
  rows = jnp.arange(height)[None]
  columns = jnp.arange(width)[None]
  if flip:
    mirrored = jax.random.bernoulli(flip_key, shape=(batch, 1))
    columns = jnp.where(mirrored, width - 1 - columns, columns)
  rows, columns = rows + corner[:, 0], columns + corner[:, 1]
  padded = jnp.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
  example = jnp.arange(batch)[:, None, None]
  return padded[example, rows[:, :, None], columns[:, None, :]]


def _square(key: jax.Array, shape: tuple[int, ...], side: int) -> jax.Array:
  """A mask bool[B, H, W, 1], true inside one square of each example."""
  batch, height, width, _ = shape
  limits = jnp.array([height, width])[None]
  start = jax.random.randint(key, (batch, 2), 0, limits) - side // 2

  def inside(start: jax.Array, length: int) -> jax.Array:
    offset = jnp.arange(length)[None] - start[:, None]
    return (offset >= 0) & (offset < side)

  rows, columns = inside(start[:, 0], height), inside(start[:, 1], width)
  return (rows[:, :, None] & columns[:, None, :])[..., None]
