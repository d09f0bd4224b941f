"""Channels and images times a factor."""

import pytest

from hwnas_jax.spaces.sizes import scale_channels, scale_image


@pytest.mark.parametrize(
  ("channels", "width", "expected"),
  [
    (16, 1.0, 16),
    (1504, 1.0, 1504),
    (16, 0.25, 8),
    (24, 0.5, 16),  # 8 would be 33 % below 12
    (24, 0.75, 24),  # 16 would be 11 % below 18
    (96, 1.4, 136),
    (1984, 0.1, 200),
    (8, 0.01, 8),
  ],
)
def test_widths_are_multiples_of_eight(channels, width, expected):
  assert scale_channels(channels, width) == expected


@pytest.mark.parametrize(
  ("image", "side", "expected"),
  [
    ((9, 7, 3), 1, (9, 7, 3)),
    ((8, 8, 1), 1.5, (12, 12, 1)),
    ((32, 24, 3), 1.1, (36, 28, 3)),
    ((8, 8, 1), 0.1, (4, 4, 1)),
  ],
)
def test_sides_are_multiples_of_four(image, side, expected):
  assert scale_image(image, side) == expected
