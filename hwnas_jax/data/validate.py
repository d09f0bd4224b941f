"""Checks that arrays are an image classification data set."""

import numpy as np


def require(
  name: str,
  train_images: np.ndarray,
  train_labels: np.ndarray,
  test_images: np.ndarray,
  test_labels: np.ndarray,
  class_names: tuple[str, ...] | None = None,
) -> int:
  """Returns K, the number of classes, or raises an error.

  Args:
    name: Names the data set in errors.
    train_images: uint8[N, H, W, C], or uint8[N, H, W] of one channel.
    train_labels: Integers [N]; every class 0..K-1 occurs.
    test_images: uint8[M, H, W, C], or uint8[M, H, W] of one channel.
    test_labels: Integers [M] in [0, K).
    class_names: K different names, or None.

  Raises:
    ValueError: A dtype, shape, label or name is not as above; the message says
      which and why.
  """
  _check_split(f"{name}: train", train_images, train_labels)
  _check_split(f"{name}: test", test_images, test_labels)
  train, test = (
    with_channels(x).shape[1:] for x in (train_images, test_images)
  )
  if train != test:
    raise ValueError(
      f"{name}: train images are {train}, test images {test} (height, width, "
      "channels): make them the same."
    )
  num_classes = _num_classes(name, train_labels, test_labels)
  if class_names is not None:
    _check_names(name, class_names, num_classes)
  return num_classes


def with_channels(images: np.ndarray) -> np.ndarray:
  """Returns [N, H, W] as [N, H, W, 1]; other arrays as they are."""
  return images[..., None] if images.ndim == 3 else images


def _check_split(where: str, images: np.ndarray, labels: np.ndarray) -> None:
  wrong_shape = images.ndim not in (3, 4) or 0 in images.shape
  if images.dtype != np.uint8 or wrong_shape:
    hint = "; round pixels to 0..255 and convert them by astype(np.uint8)"
    raise ValueError(
      f"{where} images must be uint8[N, H, W, C] or uint8[N, H, W] and not "
      f"empty, got {images.dtype}{list(images.shape)}"
      f"{hint if images.dtype.kind == 'f' else ''}."
    )
  if images.ndim == 4 and _channels_first(*images.shape[1:]):
    raise ValueError(
      f"{where} images of shape {list(images.shape)} look like channels first, "
      "as PyTorch has them: give images.transpose(0, 2, 3, 1). If they really "
      f"are {images.shape[1]} pixels high, repeat them to more."
    )
  if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
    hint = "; drop the last axis by labels[:, 0]"
    raise ValueError(
      f"{where} labels must be integers of shape [{len(images)}], one for "
      f"each image, got {labels.dtype}{list(labels.shape)}"
      f"{hint if labels.shape == (len(images), 1) else ''}."
    )


def _channels_first(channels: int, height: int, width: int) -> bool:
  """Whether [N, a, b, c] is greyscale or RGB with its channels first.

  Signals are images of one row too, [N, 1, length, sensors], but their last two
  axes differ.
  """
  if min(height, width) <= 4:
    return False
  if channels == 1:
    return height == width
  return channels == 3 and max(height, width) <= 2 * min(height, width)


def _num_classes(name: str, train: np.ndarray, test: np.ndarray) -> int:
  classes = np.unique(train)
  if not np.array_equal(classes, np.arange(len(classes))):
    raise ValueError(
      f"{name}: train labels must be 0..K-1, each at least once, got "
      f"{len(classes)} values from {classes[0]} to {classes[-1]}: number the "
      "classes that occur from 0, without gaps."
    )
  if len(classes) < 2:
    raise ValueError(f"{name}: there is only one class, but at least 2 needed.")
  if test.min() < 0 or test.max() >= len(classes):
    raise ValueError(
      f"{name}: test labels must be in 0..{len(classes) - 1} as in train, "
      f"got {test.min()}..{test.max()}."
    )
  return len(classes)


def _check_names(
  name: str, class_names: tuple[str, ...], num_classes: int
) -> None:
  if not isinstance(class_names, tuple) or not all(
    isinstance(class_name, str) for class_name in class_names
  ):
    raise ValueError(
      f"{name}: class_names must be a tuple of strings, got {class_names!r}."
    )
  if len(set(class_names)) != num_classes or len(class_names) != num_classes:
    raise ValueError(
      f"{name}: class_names must be {num_classes} different names, one for "
      f"each class, got {len(class_names)}, of which {len(set(class_names))} "
      "differ."
    )
