import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.data import augment
from hwnas_jax.data.augment import Augmentation

_MEAN, _STD = (0.5, 0.25, 0.125), (0.25, 0.5, 1.0)


def _images(batch=16, size=8):
  rng = np.random.default_rng(0)
  # Never black, so that padding can be told from pixels.
  return rng.integers(1, 256, (batch, size, size, 3), dtype=np.uint8)


def _augment(seed, images, mean=(0.0,) * 3, std=(1 / 255,) * 3, **changes):
  """Returns pixels in [0, 255] unless mean and std are given."""
  function = functools.partial(
    augment.augment, augmentation=Augmentation(**changes), mean=mean, std=std
  )
  return np.asarray(jax.jit(function)(jax.random.key(seed), images))


def test_normalise():
  images = _images()
  out = augment.normalise(jnp.asarray(images), _MEAN, _STD)
  assert out.dtype == jnp.float32
  expected = (images / 255 - np.array(_MEAN)) / np.array(_STD)
  np.testing.assert_allclose(out, expected, atol=1e-6)


def test_nothing_to_do_is_normalise_and_draws_nothing():
  images = _images()
  np.testing.assert_allclose(
    _augment(0, images, _MEAN, _STD),
    augment.normalise(jnp.asarray(images), _MEAN, _STD),
    atol=1e-6,
  )
  function = functools.partial(
    augment.augment, augmentation=Augmentation(), mean=_MEAN, std=_STD
  )
  hlo = jax.jit(function).lower(jax.random.key(0), images).compile().as_text()
  assert "gather" not in hlo and "xor" not in hlo


def test_crop_is_a_window_of_the_padded_image():
  images, pad = _images(64), 2
  out = np.rint(_augment(0, images, pad=pad)).astype(np.uint8)
  padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
  corners = []
  for image, source in zip(out, padded, strict=True):
    matches = [
      (y, x)
      for y in range(2 * pad + 1)
      for x in range(2 * pad + 1)
      if (source[y : y + 8, x : x + 8] == image).all()
    ]
    assert len(matches) == 1
    corners += matches
  ys, xs = zip(*corners, strict=True)
  assert set(ys) == set(xs) == set(range(2 * pad + 1))
  assert len(set(corners)) > 10


def test_flip_mirrors_half_of_the_examples():
  images = _images(200)
  out = np.rint(_augment(1, images, flip=True)).astype(np.uint8)
  same = (out == images).all((1, 2, 3))
  mirrored = (out == images[:, :, ::-1]).all((1, 2, 3))
  assert (same ^ mirrored).all()
  assert 70 < mirrored.sum() < 130


@pytest.mark.parametrize("side", [3, 4])
def test_cutout_erases_one_clipped_square_to_the_mean(side):
  images = _images(200)
  plain = _augment(2, images, _MEAN, _STD)
  out = _augment(2, images, _MEAN, _STD, cutout=side)
  erased = (out != plain).any(-1)
  assert (out[erased] == 0).all()
  rows, columns = erased.any(2), erased.any(1)
  np.testing.assert_array_equal(erased, rows[:, :, None] & columns[:, None, :])
  heights = rows.sum(1)
  assert heights.max() == side and heights.min() >= side // 2
  assert rows.any(0).all() and columns.any(0).all()


def test_transforms_are_independent_of_each_other():
  images = _images(100)
  flipped = np.rint(_augment(3, images, flip=True))
  mirrored = (flipped != images).any((1, 2, 3))
  erased = _augment(3, images, cutout=4) == 0
  left = erased[:, :, :4].sum((1, 2, 3)) > erased[:, :, 4:].sum((1, 2, 3))
  assert 30 < (mirrored == left).sum() < 70


def test_key_decides():
  images = _images()
  everything = {"pad": 2, "flip": True, "cutout": 2}
  first = _augment(4, images, **everything)
  np.testing.assert_array_equal(first, _augment(4, images, **everything))
  assert (first != _augment(5, images, **everything)).any()


def test_runs_inside_scan():
  images = jnp.asarray(_images())

  def body(key, _):
    key, now = jax.random.split(key)
    out = augment.augment(now, images, Augmentation(1, True, 2), _MEAN, _STD)
    return key, out.mean()

  _, means = jax.lax.scan(body, jax.random.key(0), None, length=3)
  assert len(np.unique(means)) == 3


def test_refuses():
  key, images = jax.random.key(0), jnp.asarray(_images())
  with pytest.raises(ValueError, match="must be uint8 .*float32"):
    augment.normalise(images.astype(jnp.float32), _MEAN, _STD)
  with pytest.raises(ValueError, match="3 channels, mean 1, std 3"):
    augment.normalise(images, (0.5,), _STD)
  for pad, cutout in ((-1, 0), (0, -1)):
    with pytest.raises(ValueError, match="must not be negative"):
      augment.augment(
        key, images, Augmentation(pad=pad, cutout=cutout), _MEAN, _STD
      )
