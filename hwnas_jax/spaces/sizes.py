"""Channels and images times a factor, rounded to what hardware likes."""


def scale_channels(channels: int, width: float) -> int:
  """Channels times a width, in multiples of 8, at least 90 % of the product.

  The rule of MobileNetV2's published code (Sandler et al. 2018).

  >>> scale_channels(24, 0.5)
  16
  """
  wanted = channels * width
  rounded = max(8, int(wanted + 4) // 8 * 8)
  return rounded if rounded >= 0.9 * wanted else rounded + 8


def scale_image(
  image: tuple[int, int, int], side: float
) -> tuple[int, int, int]:
  """(height, width, channels), the sides times a factor in multiples of 4.

  A factor of 1 leaves the image as it is.
  """
  if side == 1:
    return image
  height, width = (max(4, 4 * round(n * side / 4)) for n in image[:2])
  return height, width, image[2]
