"""Reads image classification data sets that TFDS prepared, without TensorFlow.

Only the data set's folder is read; the code that prepared it is not needed. The
features of image and label are found by their types.
"""

import dataclasses
import hashlib
import pathlib
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from hwnas_jax.data import arrays, locate
from hwnas_jax.data.images import Size, resized
from hwnas_jax.data.streamed import Opened
from hwnas_jax.data.view import Encoded

_FORMAT = "array_record"
_CHUNK = 2_000


class _Opened(NamedTuple):
  """A prepared image classification data set.

  Attributes:
    builder: TFDS's builder, which reads the folder.
    image: The key of the image feature.
    label: The key of the label feature.
    test: The split to test on.
  """

  builder: Any
  image: str
  label: str
  test: str


def require(name: str, data_dir: pathlib.Path) -> None:
  """Raises an error unless a data set is prepared image classification.

  The images are not read; `load` checks that all have one size.

  Args:
    name: As for `locate.find`.
    data_dir: As for `locate.find`.

  Raises:
    FileNotFoundError: The data set is not prepared; the message says how to
      prepare it.
    ValueError: It is in another format than array_record; it has not exactly
      one image and one label feature; its images are not uint8, greyscale or
      RGB; or a split is missing.
  """
  _open(name, data_dir)


def load(
  name: str, data_dir: pathlib.Path, resize: Size | None = None
) -> arrays.Dataset:
  """Decodes a prepared data set in TFDS's order; cifar10 takes 10 s.

  Where there is no split `test`, or none with labels, the split `validation` is
  the test split, with a warning.

  Args:
    name: As for `locate.find`.
    data_dir: As for `locate.find`.
    resize: (height, width) of every image; None takes images as they are.

  Raises:
    FileNotFoundError: See `require`.
    ValueError: See `require`; or the images differ in size, or the labels are
      not 0..K-1.
  """
  opened = _open(name, data_dir)
  if opened.test != "test":
    logging.warning(
      "%s has no split test with labels: its split %s is the test split here.",
      name,
      opened.test,
    )
  label = opened.builder.info.features[opened.label]
  return arrays.make_dataset(
    name,
    *_decode(name, opened, "train", resize),
    *_decode(name, opened, opened.test, resize),
    class_names=tuple(label.names) if label.num_classes else None,
  )


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class PreparedReader:
  """A split as `tfds.data_source` gives it, with images not decoded.

  Attributes:
    source: The data source.
    image, label: Keys of these features.
    where: Names the split in errors.
  """

  source: Any
  image: str
  label: str
  where: str

  def __len__(self) -> int:
    """How many examples there are."""
    return len(self.source)

  def __getitem__(self, row: int, /) -> Encoded:
    """The example of a row, in TFDS's order."""
    example = self.source[row]
    label = int(example[self.label])
    if label < 0:
      raise ValueError(f"image {row} of {self.where} has no label: {label}")
    return Encoded(example[self.image], label, f"image {row} of {self.where}")


def open_prepared(name: str, data_dir: pathlib.Path) -> Opened:
  """Opens a prepared data set without decoding its images.

  Args:
    name: As for `locate.find`.
    data_dir: As for `locate.find`.

  Raises:
    FileNotFoundError, ValueError: See `require`; or images are neither PNG nor
      JPEG files.
  """
  import tensorflow_datasets as tfds

  opened = _open(name, data_dir)
  features = opened.builder.info.features
  if features[opened.image].encoding_format not in ("png", "jpeg", None):
    raise ValueError(
      f"{name}: images are stored as {features[opened.image].encoding_format},"
      " expected png or jpeg: raise data.in_memory_gib, or write them to a"
      " folder ('folder:PATH')."
    )
  readers = [
    PreparedReader(
      opened.builder.as_data_source(
        split,
        decoders={opened.image: tfds.decode.SkipDecoding()},
        file_format=_FORMAT,
      ),
      opened.image,
      opened.label,
      f"the split {split} of {name}",
    )
    for split in ("train", opened.test)
  ]
  sha, folder = hashlib.sha256(), pathlib.Path(opened.builder.data_dir)
  for file in sorted(folder.glob(f"*.{_FORMAT}*")):
    sha.update(f"{file.name} {file.stat().st_size}\n".encode())
  channels = features[opened.image].shape[-1]
  names = tuple(features[opened.label].names)
  train, test = readers
  return Opened(train, test, names, channels, sha.hexdigest())


def _open(name: str, data_dir: pathlib.Path) -> _Opened:
  folder = locate.find(name, data_dir)
  if folder is None:
    raise FileNotFoundError(locate.absent(name, data_dir))
  # Slow to import, and not needed for other data sets.
  import tensorflow_datasets as tfds

  builder = tfds.builder_from_directory(folder)
  info = builder.info
  formats = sorted(f.value for f in info.available_file_formats())
  if _FORMAT not in formats:
    raise ValueError(
      f"{folder} is in the format {', '.join(formats)}; {_FORMAT} is needed, "
      "which is read without TensorFlow. Where TensorFlow is installed, this "
      "command adds it:\n  tfds convert_format "
      f"--dataset_version_dir={folder} --out_file_format={_FORMAT}"
    )
  image, label = _find_features(name, info)
  sizes = {split: info.splits[split].num_examples for split in info.splits}
  splits = [s for s in ("test", "validation") if sizes.get(s)]
  test = next((s for s in splits if _labelled(builder, s, label)), None)
  if not sizes.get("train") or test is None:
    raise ValueError(
      f"{name} has the splits {', '.join(sizes) or 'none'}; it needs train, "
      "and test or validation, with labels. Split it yourself and write the "
      "arrays to an .npz file: 'npz:PATH'."
    )
  return _Opened(builder, image, label, test)


def _labelled(builder: Any, split: str, label: str) -> bool:
  """Whether a split has labels; ImageNet's test split has -1 for each."""
  source = builder.as_data_source(split, file_format=_FORMAT)
  return int(source[0][label]) >= 0


def _find_features(name: str, info: Any) -> tuple[str, str]:
  """(key of the image, key of the label); raises ValueError without them."""
  from tensorflow_datasets import features as kinds

  top = info.features
  features = dict(top.items()) if isinstance(top, kinds.FeaturesDict) else {}
  images = [
    key
    for key, feature in features.items()
    if isinstance(feature, kinds.Image)
    and not isinstance(feature, kinds.LabeledImage)  # a segmentation
  ]
  labels = [k for k, f in features.items() if isinstance(f, kinds.ClassLabel)]
  image, label = (_choose(keys, info) for keys in (images, labels))
  if image is None or label is None:
    have = [f"{k} ({type(features[k]).__name__})" for k in sorted(features)]
    raise ValueError(
      f"{name} is no image classification: it needs one Image and one "
      "ClassLabel, or supervised_keys that choose among several; it has "
      f"{', '.join(have) or type(top).__name__}. Write the images and labels "
      "that you want to an .npz file: 'npz:PATH'."
    )
  shape, dtype = features[image].shape, np.dtype(features[image].np_dtype)
  if dtype != np.uint8 or shape[-1] not in (1, 3):
    raise ValueError(
      f"{name}: the images of the feature {image} are {dtype} with "
      f"{shape[-1]} channels, expected uint8 with 1 (greyscale) or 3 (RGB). "
      "Convert them and write them to an .npz file: 'npz:PATH'."
    )
  return image, label


def _choose(keys: list[str], info: Any) -> str | None:
  """The only key, or the only one among the supervised keys; else None."""
  supervised = [key for key in keys if key in (info.supervised_keys or ())]
  for candidates in (keys, supervised):
    if len(candidates) == 1:
      return candidates[0]
  return None


def _decode(
  name: str, opened: _Opened, split: str, resize: Size | None
) -> tuple[np.ndarray, np.ndarray]:
  source = opened.builder.as_data_source(split, file_format=_FORMAT)
  images: list[np.ndarray] = []
  labels: list[int] = []
  for start in range(0, len(source), _CHUNK):
    stop = min(start + _CHUNK, len(source))
    logging.info("Decoding images of %s: %d of %d", split, start, len(source))
    for example in source.__getitems__(list(range(start, stop))):
      pixels = example[opened.image]
      images.append(resized(pixels, resize) if resize else pixels)
      labels.append(example[opened.label])
      if images[-1].shape != images[0].shape:
        raise ValueError(
          f"{name}: image {len(images) - 1} of the split {split} is "
          f"{list(images[-1].shape)} (height, width, channels), the first is "
          f"{list(images[0].shape)}. Give data.resize=HEIGHTxWIDTH, or "
          "write them to an .npz file ('npz:PATH')."
        )
  return np.stack(images), np.array(labels)
