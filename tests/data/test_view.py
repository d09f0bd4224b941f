"""What is made of an encoded image: shapes, ranges, determinism."""

import dataclasses

import numpy as np
import pytest
from toy_files import encoded, pixels

from hwnas_jax.data import view
from hwnas_jax.data.images import Size
from hwnas_jax.data.view import Changed, Encoded, Seen, View

PHOTO = Encoded(encoded(3, (30, 50, 3)), 2, "photo.png")
PLAIN = View(Size(30, 50), 3, convert=False)
CROPPED = View(Size(16, 24), 3, convert=True, crop_area=0.2, jitter=0.5)


def test_an_image_is_taken_as_it_is():
  image, label = Seen(PLAIN)(PHOTO)
  np.testing.assert_array_equal(image, pixels(3, (30, 50, 3)))
  assert (label, label.dtype) == (2, np.int32)
  # Nothing to change: nothing is drawn.
  again = view.changed(PLAIN, PHOTO, np.random.default_rng(0))
  np.testing.assert_array_equal(again, image)


def test_crop_and_jitter_are_functions_of_the_generator():
  drawn = [
    Changed(CROPPED)(PHOTO, np.random.default_rng(seed))[0]
    for seed in (0, 0, 1)
  ]
  assert {x.shape for x in drawn} == {(16, 24, 3)}
  assert {x.dtype for x in drawn} == {np.dtype(np.uint8)}
  np.testing.assert_array_equal(drawn[0], drawn[1])
  assert (drawn[0] != drawn[2]).any()


def test_a_crop_stays_inside_and_has_its_area_and_ratio():
  rng, areas = np.random.default_rng(0), []
  for _ in range(300):
    left, top, right, bottom = view._random_box((500, 400), CROPPED, rng)
    assert 0 <= left < right <= 500 and 0 <= top < bottom <= 400
    width, height = right - left, bottom - top
    assert 0.74 < width / height < 1.35
    areas.append(width * height / 200_000)
  assert 0.19 < min(areas) < 0.3 and 0.8 < max(areas) <= 1
  # No box of this ratio fits: the centre.
  narrow = view._random_box((1000, 10), CROPPED, rng)
  assert narrow[1] == pytest.approx(10 * (1 - view.CENTRE) / 2)


def test_what_is_tested_is_the_centre_in_the_shape_of_the_crops():
  marked = np.zeros((64, 64, 3), np.uint8)
  marked[4:60, 4:60] = 200  # 7/8 of each side
  box = view._centre((64, 64), Size(32, 32))
  assert box == (4, 4, 60, 60)
  left, top, right, bottom = view._centre((100, 50), Size(10, 10))
  assert right - left == bottom - top == pytest.approx(50 * view.CENTRE)


def test_jitter_alone_keeps_the_size_and_a_mean_level():
  jittered = dataclasses.replace(PLAIN, jitter=0.4)
  levels = [
    view.changed(jittered, PHOTO, np.random.default_rng(s)).mean()
    for s in range(20)
  ]
  level = pixels(3, (30, 50, 3)).mean()
  assert 0.5 * level < min(levels) < level < max(levels) < 1.5 * level


@pytest.mark.parametrize("crop_area", [1.0, 0.5])
def test_greyscale_becomes_rgb_among_rgb(crop_area):
  grey = Encoded(encoded(0, (20, 20)), 0, "grey.png")
  rgb = View(Size(8, 8), 3, convert=True, crop_area=crop_area)
  assert view.seen(rgb, grey).shape == (8, 8, 3)
  one = dataclasses.replace(rgb, channels=1)
  assert view.seen(one, grey).shape == (8, 8, 1)
  with pytest.raises(ValueError, match="photo.png has 3 channels.*greyscale"):
    view.seen(one, PHOTO)


@pytest.mark.parametrize(
  ("example", "message"),
  [
    (Encoded(b"text", 0, "a.png"), "a.png cannot be read as an image"),
    (
      Encoded(encoded(0, (8, 8, 3)), 0, "small.png"),
      r"small.png is \[8, 8, 3\], but the first image is \[30, 50, 3\].*resize",
    ),
  ],
)
def test_what_is_no_such_image_is_named(example, message):
  with pytest.raises(ValueError, match=message):
    view.seen(PLAIN, example)
