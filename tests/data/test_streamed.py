"""Splits that stay in files: the same examples, wherever they are."""

import importlib.util

import jax
import numpy as np
import pytest
from toy_files import (
  CLASSES,
  as_folder,
  as_records,
  as_tfds,
  encoded,
)

from hwnas_jax.data import arrays, load, streamed
from hwnas_jax.data.streamed import Streaming

ALWAYS = Streaming(in_memory_gib=0, workers=0)


def in_one_order(split):
  """Images and labels, sorted by their bytes."""
  pairs = zip(*map(np.asarray, split), strict=True)
  return sorted((image.tobytes(), int(label)) for image, label in pairs)


@pytest.mark.parametrize("write", [as_records, as_folder, as_tfds])
def test_streamed_examples_are_those_in_memory(write, tmp_path):
  name = write(tmp_path)
  whole, data = load.load(name), load.load(name, None, "", ALWAYS)
  assert data.class_names == whole.class_names == CLASSES
  assert data.image == whole.image
  assert load.shape(name, None, "", ALWAYS) == (data.image, 3)
  for split in ("train", "test"):
    found = getattr(data, split)
    every = arrays.take(found, np.arange(len(found)))
    jax.tree.map(np.testing.assert_array_equal, every, getattr(whole, split))
  # All training images are sampled, for there are few.
  np.testing.assert_allclose(data.mean, whole.mean, rtol=1e-12)
  np.testing.assert_allclose(data.std, whole.std, rtol=1e-12)


def test_three_kinds_of_files_give_the_same_examples(tmp_path):
  read = []
  for write in (as_records, as_folder, as_tfds):
    name = write(tmp_path / write.__name__)
    train = load.load(name, None, "6x10", ALWAYS).train
    read.append(in_one_order(arrays.on_device(train, 10**6)))
  assert read[0] == read[1] == read[2]


def test_what_is_too_large_is_streamed(tmp_path):
  name = as_records(tmp_path)
  gib = 93 * 12 * 12 * 3 / 2**30
  for limit, is_streamed in ((gib * 0.999, True), (gib * 1.001, False)):
    data = load.load(name, None, "", Streaming(in_memory_gib=limit))
    assert isinstance(data.train, streamed.Streamed) == is_streamed


def test_a_part_and_a_sample_are_what_they_say(tmp_path):
  train = load.load(as_records(tmp_path), None, "", ALWAYS).train
  part = train.subset(np.array([3, 5, 8]))
  images, labels = part.read(np.array([2, 0]))
  wanted = train.read(np.array([8, 3]))
  np.testing.assert_array_equal(images, wanted[0])
  assert (len(part), labels.tolist()) == (3, [8 % 3, 0])
  assert streamed.spread(72, 5).tolist() == [0, 17, 35, 53, 71]
  assert len(arrays.on_device(train, 5).labels) == 5
  assert streamed.spread(3, 5).tolist() == [0, 1, 2]


def test_the_digest_is_of_files_pixels_and_view(tmp_path):
  name, other = as_records(tmp_path / "a"), as_records(tmp_path / "b")

  def digest(name, resize="", **fields):
    return load.load(name, None, resize, ALWAYS._replace(**fields)).digest

  one = digest(name)
  assert digest(other) == one and digest(name, workers=2) == one
  assert digest(name, "6x6") != one
  assert digest(name, "6x6") != digest(name, "6x6", crop_area=0.5)
  swapped = as_records(tmp_path / "c", lambda index: encoded(index + 3))
  assert digest(swapped) != one


def test_without_grain_a_line_says_what_to_install(tmp_path, monkeypatch):
  name = as_records(tmp_path)
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  with pytest.raises(ValueError, match="pip install grain"):
    load.load(name, None, "", ALWAYS)
  load.load(name)


@pytest.mark.parametrize(
  ("image", "message"),
  [
    (
      lambda i: encoded(i, (9 if i == 40 else 12, 12, 3)),
      r"record 40 of .* is \[9, 12, 3\], but the first image.*data.resize",
    ),
    (lambda i: b"" if i == 7 else encoded(i), "record 7 of .* cannot be read"),
  ],
)
def test_images_that_do_not_fit_are_refused_when_opened(
  image, message, tmp_path
):
  name = as_records(tmp_path, image)
  with pytest.raises(ValueError, match=message):
    load.load(name, None, "", ALWAYS)
