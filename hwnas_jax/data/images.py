"""Reads image files: PNG and JPEG, as they are or converted."""

import pathlib
import re
import warnings
from typing import IO, NamedTuple

import numpy as np
from PIL import Image, ImageOps

SUFFIXES = (".png", ".jpg", ".jpeg")
MAX_SIDE = 4096  # that images are resized to
# Of a file. Its header alone decides how much memory decoding takes: up to 4
# bytes a pixel, several times.
MAX_PIXELS = 64_000_000
_FORM = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})")


class Size(NamedTuple):
  """Height and width in pixels."""

  height: int
  width: int


def parse_size(text: str) -> Size | None:
  """Reads `HxW`, such as 64x64; "" is None.

  Raises:
    ValueError: it is no size, or a side is larger than MAX_SIDE.
  """
  if not text:
    return None
  match = _FORM.fullmatch(text)
  if match is None or max(map(int, match.groups())) > MAX_SIDE:
    raise ValueError(
      "data.resize must be HEIGHTxWIDTH in pixels, such as 64x64, at most"
      f" {MAX_SIDE}, got {text!r}"
    )
  return Size(*map(int, match.groups()))


def read(file: pathlib.Path, resize: Size | None = None) -> np.ndarray:
  """Reads an image.

  An image of more than MAX_PIXELS is not decoded.

  Args:
    file: A PNG or JPEG file.
    resize: Converts the image: turned upright as its EXIF data say, to 8 bits,
      transparent pixels over white, bilinear to this size. None takes it as it
      is.

  Returns:
    uint8[H, W, 1], greyscale, or uint8[H, W, 3], RGB.

  Raises:
    ValueError: It is not an image; or without `resize` not 8-bit greyscale or
      RGB. The message names the file.
  """
  require_suffix(file)
  image = decode(file, str(file), convert=resize is not None)
  return to_pixels(in_size(image, resize) if resize else image)


def require_suffix(file: pathlib.Path) -> None:
  """Raises ValueError unless a file's name ends like an image's."""
  if file.suffix.lower() not in SUFFIXES:
    raise ValueError(
      f"{file} does not end in one of {SUFFIXES}: convert or remove it."
    )


def decode(
  source: pathlib.Path | IO[bytes], where: str, convert: bool
) -> Image.Image:
  """Reads an image, without a change of its size.

  Args:
    source: The path or the content of a PNG or JPEG file.
    where: Names it in errors.
    convert: Whether it is turned upright and converted, as `read` does.

  Returns:
    An image of mode L or RGB, decoded.

  Raises:
    ValueError: See `read`.
  """
  try:
    with warnings.catch_warnings():
      warnings.simplefilter("ignore", Image.DecompressionBombWarning)
      with Image.open(source, formats=("PNG", "JPEG")) as image:
        mode = image.mode
        if image.width * image.height > MAX_PIXELS:
          raise ValueError(
            f"{image.width}x{image.height} pixels are more than {MAX_PIXELS}"
          )
        image.load()
        made = _upright(image) if convert else image
  except Exception as error:  # Pillow has no one type for a damaged file.
    reason = (str(error) or type(error).__name__).splitlines()[0]
    raise ValueError(
      f"{where} cannot be read as an image ({reason}): replace or remove it."
    ) from error
  if not convert and mode not in ("L", "RGB"):
    raise ValueError(
      f"{where} has mode {mode}: convert it to 8-bit greyscale (L) or RGB, or "
      "give data.resize=HEIGHTxWIDTH, which converts all images."
    )
  return made


def to_pixels(image: Image.Image) -> np.ndarray:
  """uint8[H, W, 1] of an image of mode L, uint8[H, W, 3] of mode RGB."""
  pixels = np.asarray(image)
  return pixels[..., None] if pixels.ndim == 2 else pixels


def resized(pixels: np.ndarray, size: Size) -> np.ndarray:
  """An image uint8[H, W, C] in another size, bilinear, where C is 1 or 3."""
  squeezed = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
  image = Image.fromarray(np.asarray(squeezed))
  return to_pixels(in_size(image, size))


def in_size(image: Image.Image, size: Size) -> Image.Image:
  """An image of mode L or RGB in another size, bilinear."""
  return image.resize((size.width, size.height), Image.Resampling.BILINEAR)


def _upright(image: Image.Image) -> Image.Image:
  """Upright, 8-bit greyscale or RGB."""
  image = ImageOps.exif_transpose(image)
  if image.mode.startswith("I"):  # 16 bits; Pillow would clip them at 255
    high = np.asarray(image).astype(np.int64) >> 8
    image = Image.fromarray(high.clip(0, 255).astype(np.uint8))
  if image.has_transparency_data:
    grey = image.mode in ("L", "LA")
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    image = Image.alpha_composite(white, image).convert("L" if grey else "RGB")
  elif image.mode in ("1", "L"):
    image = image.convert("L")
  else:
    image = image.convert("RGB")
  return image
