import io
import pathlib
import sys
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow_datasets as tfds
from absl import logging
from PIL import Image

from hwnas_jax.data import load, prepared

F = tfds.features
_IMAGE = F.Image(shape=(6, 5, 3))
_LABEL = F.ClassLabel(names=["ant", "bee"])
_SPLITS = {"train": 4, "test": 2}


class Source(NamedTuple):
  """What a data set for a test is made of."""

  features: dict = {"image": _IMAGE, "label": _LABEL}
  splits: dict = _SPLITS
  supervised_keys: tuple | None = None
  config: str | None = None
  unlabelled: tuple = ()  # splits
  version: str = "1.0.0"


def _pixels(index, shape):
  return np.random.default_rng(index).integers(0, 256, shape, dtype=np.uint8)


def _png(pixels):
  stream = io.BytesIO()
  Image.fromarray(pixels).save(stream, "PNG")
  stream.seek(0)
  return stream


def _value(feature, index):
  if isinstance(feature, F.Image):
    height, width, channels = feature.shape
    size = (height or 6 + index, width or 5)
    shape = size if channels == 1 else (*size, channels)
    return _png(_pixels(index, shape))
  return index % 2 if isinstance(feature, F.ClassLabel) else 0.5


def _prepare(data_dir, source):
  """Writes a data set called `tiny` by TFDS's own writer."""

  def info(self):
    return tfds.core.DatasetInfo(
      builder=self,
      features=F.FeaturesDict(source.features),
      supervised_keys=source.supervised_keys,
    )

  def split_generators(self, download_manager):
    del self, download_manager
    return {
      split: [
        (i, {k: _value(f, i) for k, f in source.features.items()} | labels)
        for i in range(count)
      ]
      for split, count in source.splits.items()
      for labels in [{"label": -1} if split in source.unlabelled else {}]
    }

  members = {
    "__module__": __name__,
    "name": "tiny",
    "VERSION": tfds.core.Version(source.version),
    "_info": info,
    "_split_generators": split_generators,
    "_generate_examples": None,
  }
  if source.config:
    config = tfds.core.BuilderConfig(name=source.config)
    members["BUILDER_CONFIGS"] = [config]
  with tfds.core.registered.skip_registration():
    builder = type("Tiny", (tfds.core.GeneratorBasedBuilder,), members)
  made = builder(data_dir=str(data_dir), file_format="array_record")
  made.download_and_prepare()
  return pathlib.Path(made.data_dir)


def _sorted(split):
  """The images of a split in the order of `_pixels`; TFDS shuffles them."""
  return sorted(image.tobytes() for image in np.asarray(split.images))


def test_colour_images_and_class_names(tmp_path):
  _prepare(tmp_path, Source())
  load.require("tfds:tiny", tmp_path)
  data = load.load("tfds:tiny", tmp_path)
  assert data.name == "tfds:tiny"
  assert data.class_names == ("ant", "bee")
  for split, count in ((data.train, 4), (data.test, 2)):
    expected = [_pixels(i, (6, 5, 3)).tobytes() for i in range(count)]
    assert _sorted(split) == sorted(expected)
    first = list(map(bytes, np.asarray(split.images))).index(expected[1])
    assert split.labels[first] == 1
  assert "tensorflow" not in sys.modules


def test_greyscale_and_features_of_other_names(tmp_path):
  features = {
    "digit": F.ClassLabel(num_classes=2),
    "scan": F.Image(shape=(6, 5, 1)),
    "mask": F.LabeledImage(labels=3, shape=(6, 5, 1)),
    "angle": F.Scalar(np.float32),
  }
  _prepare(tmp_path, Source(features))
  data = load.load("tfds:tiny", tmp_path)
  assert data.train.images.shape == (4, 6, 5, 1)
  assert data.class_names == ("0", "1")


def test_supervised_keys_decide_among_several(tmp_path):
  features = {
    "left": _IMAGE,
    "right": F.Image(shape=(7, 7, 1)),
    "fine": _LABEL,
    "coarse": F.ClassLabel(names=["x", "y"]),
  }
  _prepare(tmp_path, Source(features, supervised_keys=("right", "coarse")))
  data = load.load("tfds:tiny", tmp_path)
  assert data.train.images.shape == (4, 7, 7, 1)
  assert data.class_names == ("x", "y")


def test_size_that_is_not_declared_is_found(tmp_path):
  features = {"image": F.Image(shape=(6, None, 3)), "label": _LABEL}
  _prepare(tmp_path, Source(features))
  data = load.load("tfds:tiny", tmp_path)
  assert data.train.images.shape == (4, 6, 5, 3)


def test_validation_stands_in_for_test_and_says_so(tmp_path, monkeypatch):
  _prepare(tmp_path, Source(splits={"train": 4, "validation": 2}))
  said = []
  monkeypatch.setattr(logging, "warning", lambda *args: said.append(args))
  assert load.load("tfds:tiny", tmp_path).test.images.shape[0] == 2
  ((text, *words),) = said
  assert (
    "has no split test with labels: its split validation is"
    in text % tuple(words)
  )


def test_test_is_taken_before_validation(tmp_path):
  _prepare(tmp_path, Source(splits={"train": 4, "validation": 3, "test": 2}))
  assert load.load("tfds:tiny", tmp_path).test.images.shape[0] == 2


def test_a_test_split_without_labels_is_no_test_split(tmp_path):
  """As ImageNet's: its labels are -1."""
  splits = {"train": 4, "validation": 3, "test": 2}
  _prepare(tmp_path, Source(splits=splits, unlabelled=("test",)))
  assert load.load("tfds:tiny", tmp_path).test.images.shape[0] == 3
  assert len(prepared.open_prepared("tiny", tmp_path).test) == 3
  _prepare(tmp_path / "none", Source(splits=splits, unlabelled=(*splits,)))
  with pytest.raises(ValueError, match="test or validation, with labels"):
    prepared.open_prepared("tiny", tmp_path / "none")


def test_an_image_without_a_label_is_refused_by_its_row(tmp_path):
  splits = {"train": 4, "test": 2}
  _prepare(tmp_path, Source(splits=splits, unlabelled=("train",)))
  train = prepared.open_prepared("tiny", tmp_path).train
  with pytest.raises(ValueError, match="image 1 of the split train .*no label"):
    train[1]


def test_newest_version_unless_it_is_named(tmp_path):
  for version, count in (("2.0.0", 4), ("10.0.0", 6)):
    splits = {"train": count, "test": 2}
    folder = _prepare(tmp_path, Source(splits=splits, version=version))
  names = {
    "tfds:tiny": 6,
    "tfds:tiny/2.0.0": 4,
    f"tfds:{folder}": 6,
    f"tfds:{folder.parent}": 6,
    f"tfds:{folder.parent}/2.0.0": 4,
  }
  for name, count in names.items():
    data_dir = tmp_path if name.startswith("tfds:tiny") else None
    assert load.load(name, data_dir).train.images.shape[0] == count


def test_config_has_to_be_named(tmp_path):
  _prepare(tmp_path, Source(config="small"))
  assert load.load("tfds:tiny/small", tmp_path).num_classes == 2
  with pytest.raises(FileNotFoundError, match="of them: tfds:tiny/small"):
    load.require("tfds:tiny", tmp_path)


@pytest.mark.parametrize(
  ("source", "message"),
  [
    (
      Source({"angle": F.Scalar(np.float32), "label": _LABEL}),
      r"no image classification: .* has angle \(Scalar\), label \(ClassLabel\)",
    ),
    (
      Source({"image": _IMAGE, "angle": F.Scalar(np.float32)}),
      r"no image classification: .* angle \(Scalar\), image \(Image\)",
    ),
    (
      Source({"a": _IMAGE, "b": _IMAGE, "label": _LABEL}),
      r"supervised_keys that choose .* a \(Image\), b \(Image\)",
    ),
    (
      Source({"a": _LABEL, "b": _LABEL, "image": _IMAGE}, _SPLITS, ("a", "b")),
      "no image classification",
    ),
    (
      Source({"image": F.Image(shape=(6, 5, 4)), "label": _LABEL}),
      "feature image are uint8 with 4 channels, expected",
    ),
    (Source(splits={"train": 4}), "has the splits train; it needs train"),
    (
      Source(splits={"validation": 4, "test": 2}),
      "validation, test; it needs train",
    ),
  ],
)
def test_other_data_is_refused_before_it_is_read(tmp_path, source, message):
  _prepare(tmp_path, source)
  with pytest.raises(ValueError, match=f"^tfds:tiny.*{message}"):
    load.require("tfds:tiny", tmp_path)


def test_images_of_several_sizes_are_refused(tmp_path):
  features = {"image": F.Image(shape=(None, 5, 3)), "label": _LABEL}
  _prepare(tmp_path, Source(features))
  with pytest.raises(ValueError, match=r"image 1 of .* train .*data.resize"):
    load.load("tfds:tiny", tmp_path)
  assert load.load("tfds:tiny", tmp_path, "7x6").image == (7, 6, 3)


def test_class_that_no_label_has_is_refused(tmp_path):
  features = {"image": _IMAGE, "label": F.ClassLabel(num_classes=3)}
  _prepare(tmp_path, Source(features))
  with pytest.raises(ValueError, match="must be 2 different names.* got 3"):
    load.load("tfds:tiny", tmp_path)


def test_format_of_tensorflow_is_refused(tmp_path):
  folder = _prepare(tmp_path, Source())
  info = folder / "dataset_info.json"
  info.write_text(info.read_text().replace("array_record", "tfrecord", 1))
  with pytest.raises(ValueError, match="tfrecord; array_record is") as refusal:
    load.require("tfds:tiny", tmp_path)
  assert f"convert_format --dataset_version_dir={folder} " in str(refusal.value)


def test_unfinished_preparation_does_not_count(tmp_path):
  folder = _prepare(tmp_path, Source())
  folder.rename(folder.with_name("incomplete.ABC_1.0.0"))
  with pytest.raises(FileNotFoundError, match="not prepared"):
    load.require("tfds:tiny", tmp_path)


def test_absent_data_is_refused_with_the_command(tmp_path):
  with pytest.raises(FileNotFoundError) as refusal:
    load.require("tfds:svhn_cropped", tmp_path)
  text = str(refusal.value)
  assert f"no {tmp_path / 'svhn_cropped'}/VERSION/" in text
  assert f"builder('svhn_cropped', data_dir='{tmp_path}')" in text
  assert "-m hwnas_jax.data" not in text
  with pytest.raises(FileNotFoundError) as refusal:
    load.require(f"tfds:{tmp_path}/there")
  assert "builder" not in str(refusal.value)
  with pytest.raises(FileNotFoundError, match="-m hwnas_jax.data cifar10 "):
    load.require("tfds:cifar10", tmp_path)
