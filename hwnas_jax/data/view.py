"""How an encoded image becomes pixels on the host: as it is, or at random."""

import dataclasses
import io
import math
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageEnhance

from hwnas_jax.data import images
from hwnas_jax.data.images import Size

CENTRE = 0.875  # share of a side that is seen where training crops: 224 of 256
_RATIO = 4 / 3  # largest ratio of a random crop's sides
_TRIES = 10
_JITTERED = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


class Encoded(NamedTuple):
  """An example as it is stored.

  image: A PNG or JPEG file.
  label: Its class.
  where: Names it in errors.
  """

  image: bytes
  label: int
  where: str


@dataclasses.dataclass(frozen=True)
class View:
  """What is made of every image.

  Attributes:
    size: Height and width in pixels.
    channels: 1 or 3.
    convert: Whether images are converted to that; otherwise they have to be so.
    crop_area: Smallest share of an image that a random crop covers; at 1 there
      is no crop. Where there is one, an image that is not changed at random is
      the centre of the same shape, CENTRE of its largest height and width.
    jitter: Largest change of brightness, contrast and saturation, as a share.
  """

  size: Size
  channels: int
  convert: bool
  crop_area: float = 1.0
  jitter: float = 0.0


class Changed(NamedTuple):
  """Pixels and label of an example, changed at random; grain calls it."""

  view: View

  def __call__(
    self, example: Encoded, rng: np.random.Generator
  ) -> tuple[np.ndarray, np.int32]:
    """(uint8[H, W, C], label); all draws are of `rng`."""
    return changed(self.view, example, rng), np.int32(example.label)


class Seen(NamedTuple):
  """Pixels and label of an example without anything random."""

  view: View

  def __call__(self, example: Encoded) -> tuple[np.ndarray, np.int32]:
    """(uint8[H, W, C], label)."""
    return seen(self.view, example), np.int32(example.label)


def shape(example: Encoded, convert: bool = False) -> tuple[int, int, int]:
  """(height, width, channels) of an image as it is stored.

  Raises:
    ValueError: See `images.decode`.
  """
  source = io.BytesIO(example.image)
  height, width, channels = images.to_pixels(
    images.decode(source, example.where, convert)
  ).shape
  return height, width, channels


def seen(view: View, example: Encoded) -> np.ndarray:
  """The pixels uint8[H, W, C] of an example, the same at every call.

  Raises:
    ValueError: It is no image, or not of the view's size and channels where
      the view does not convert; the message names it.
  """
  image = _decoded(view, example)
  if view.crop_area < 1:
    image = _resized(image, _centre(image.size, view.size), view.size)
  elif view.convert:
    image = images.in_size(image, view.size)
  return _checked(view, image, example)


def changed(
  view: View, example: Encoded, rng: np.random.Generator
) -> np.ndarray:
  """The pixels uint8[H, W, C] of an example, cropped and coloured at random.

  The crop is that of Szegedy et al. 2015 (arXiv:1409.4842, section 6): its area
  is uniform in [crop_area, 1] of the image's, the logarithm of its ratio of
  width to height uniform between those of 3/4 and 4/3. Of brightness, contrast
  and saturation each is multiplied by a number in [1 - jitter, 1 + jitter], in
  this order.

  Args:
    view: What is made of it.
    example: What is decoded.
    rng: Decides everything random.

  Raises:
    ValueError: See `seen`.
  """
  if view.crop_area == 1 and not view.jitter:
    return seen(view, example)
  image = _decoded(view, example)
  if view.crop_area < 1:
    box = _random_box(image.size, view, rng)
    image = _resized(image, box, view.size)
  elif view.convert:
    image = images.in_size(image, view.size)
  if view.jitter:
    factors = rng.uniform(1 - view.jitter, 1 + view.jitter, len(_JITTERED))
    for enhance, factor in zip(_JITTERED, factors.tolist(), strict=True):
      image = enhance(image).enhance(factor)
  return _checked(view, image, example)


def _decoded(view: View, example: Encoded) -> Image.Image:
  image = images.decode(
    io.BytesIO(example.image), example.where, convert=view.convert
  )
  return image.convert("RGB") if view.convert and view.channels == 3 else image


def _checked(view: View, image: Image.Image, example: Encoded) -> np.ndarray:
  pixels = images.to_pixels(image)
  if pixels.shape == (*view.size, view.channels):
    return pixels
  wanted = f"{[*view.size, view.channels]} (height, width, channels)"
  if view.convert:
    raise ValueError(
      f"{example.where} has {pixels.shape[-1]} channels, but the images that"
      f" were looked at first are {wanted}: convert it to greyscale, or all"
      " others to RGB."
    )
  raise ValueError(
    f"{example.where} is {list(pixels.shape)}, but the first image is {wanted}:"
    " give data.resize=HEIGHTxWIDTH."
  )


def _resized(image: Image.Image, box: tuple, size: Size) -> Image.Image:
  return image.resize(
    (size.width, size.height), Image.Resampling.BILINEAR, box=box
  )


def _centre(sides: tuple[int, int], size: Size) -> tuple[float, ...]:
  """The box (left, top, right, bottom) of the centre, in the view's shape."""
  scale = CENTRE * min(sides[0] / size.width, sides[1] / size.height)
  width, height = scale * size.width, scale * size.height
  left, top = (sides[0] - width) / 2, (sides[1] - height) / 2
  return left, top, left + width, top + height


def _random_box(
  sides: tuple[int, int], view: View, rng: np.random.Generator
) -> tuple[float, ...]:
  """A random box in an image of (width, height); the centre if none fits."""
  area, limit = sides[0] * sides[1], math.log(_RATIO)
  for _ in range(_TRIES):
    part = area * rng.uniform(view.crop_area, 1)
    ratio = math.exp(rng.uniform(-limit, limit))
    width, height = (
      max(1, round(math.sqrt(x))) for x in (part * ratio, part / ratio)
    )
    if width <= sides[0] and height <= sides[1]:
      left = int(rng.integers(sides[0] - width + 1))
      top = int(rng.integers(sides[1] - height + 1))
      return left, top, left + width, top + height
  return _centre(sides, view.size)
