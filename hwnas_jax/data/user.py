"""A user's own arrays, given in Python in place of a data set's name."""

import dataclasses

import numpy as np

from hwnas_jax.data import arrays, validate

NAME = "arrays"  # the name of such data in a run's config


@dataclasses.dataclass(frozen=True, eq=False)
class Data:
  """Images and labels of your own; greyscale images need no channel axis.

  >>> images = np.random.default_rng(0).integers(0, 256, (60, 8, 8), np.uint8)
  >>> labels = np.arange(60) % 3
  >>> data = hw.Data(images[:40], labels[:40], images[40:], labels[40:])
  >>> data.dataset().num_classes
  3

  Attributes:
    x_train: The training images, uint8[N, H, W, C] or uint8[N, H, W].
    y_train: Their labels, integers [N]; every class 0..K-1 occurs.
    x_test: The test images, uint8[M, H, W, C] or uint8[M, H, W]; a search does
      not use them.
    y_test: Their labels, integers [M] in [0, K).
    class_names: The K names in the order of the labels; None without names.

  Raises:
    ValueError: A field is not as above; the message says which and why.
  """

  x_train: np.ndarray
  y_train: np.ndarray
  x_test: np.ndarray
  y_test: np.ndarray
  class_names: tuple[str, ...] | None = None

  def __post_init__(self):
    for name in ("x_train", "y_train", "x_test", "y_test"):
      if not isinstance(value := getattr(self, name), np.ndarray):
        raise ValueError(
          f"Data: {name} must be a NumPy array, got {type(value).__name__}: "
          f"give np.asarray({name})."
        )
    validate.require("Data", *_fields(self))

  def dataset(self) -> arrays.Dataset:
    """Puts the arrays on the default device.

    The digest of the result is that of the arrays: a run is not resumed with
    other ones.

    Raises:
      ValueError: A channel is constant over the training images.
    """
    return arrays.make_dataset(NAME, *_fields(self))


def _fields(data: Data) -> tuple:
  return tuple(getattr(data, field.name) for field in dataclasses.fields(data))
