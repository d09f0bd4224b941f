import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.data import load, user


def _fields():
  images = np.random.default_rng(0).integers(0, 256, (6, 4, 3), np.uint8)
  labels = np.arange(6) % 2
  return {
    "x_train": images[:4],
    "y_train": labels[:4],
    "x_test": images[4:],
    "y_test": labels[4:],
  }


def test_arrays_become_a_data_set():
  data = user.Data(**_fields(), class_names=("ant", "bee")).dataset()
  assert data.num_classes == 2
  assert data.class_names == ("ant", "bee")
  assert data.train.labels.dtype == jnp.int32
  np.testing.assert_array_equal(data.train.images[..., 0], _fields()["x_train"])
  np.testing.assert_array_equal(data.test.labels, [0, 1])


def test_same_as_from_a_file(tmp_path):
  np.savez(tmp_path / "mine.npz", **_fields())
  from_file = load.load(f"npz:{tmp_path / 'mine.npz'}")
  assert user.Data(**_fields()).dataset().digest == from_file.digest
  with_channels = dict(_fields(), x_train=_fields()["x_train"][..., None])
  assert user.Data(**with_channels).dataset().digest == from_file.digest


@pytest.mark.parametrize("which", ["x_train", "y_train", "x_test", "y_test"])
def test_digest_sees_every_array(which):
  before = user.Data(**_fields()).dataset().digest
  fields = _fields()
  fields[which] = fields[which][::-1].copy()
  assert user.Data(**fields).dataset().digest != before


def test_is_frozen():
  data = user.Data(**_fields())
  with pytest.raises(dataclasses.FrozenInstanceError):
    data.x_train = data.x_test


@pytest.mark.parametrize(
  ("which", "change", "message"),
  [
    ("x_train", jnp.asarray, r"x_train must be a NumPy .*np.asarray\(x_train"),
    ("y_test", lambda y: y.tolist(), "y_test must be a NumPy array, got list"),
    ("x_train", lambda x: x / 255, r"train images .*float64\[4, 4, 3\]; round"),
    ("x_test", lambda x: x[:0], r"test images .*not empty, got uint8\[0, "),
    ("x_test", lambda x: x[:, :2], r"train images are \(4, 3, 1\), test"),
    ("y_train", lambda y: y[:, None], r"train labels .*by labels\[:, 0\]"),
    ("y_train", lambda y: y[:-1], r"train labels .*\[4\].*\[3\]"),
    ("y_train", lambda y: y + 1, "0..K-1, .* from 1 to 2: number"),
    ("y_test", lambda y: y + 1, r"0\.\.1 as in train, got 1\.\.2"),
    ("class_names", lambda _: ["a", "b"], "class_names must be a tuple"),
    ("class_names", lambda _: ("a", "b", "c"), "2 different names, .* got 3"),
    ("class_names", lambda _: ("a", "a"), "got 2, of which 1 differ"),
  ],
)
def test_refuses(which, change, message):
  fields = _fields()
  fields[which] = change(fields.get(which))
  with pytest.raises(ValueError, match=f"^Data: .*{message}"):
    user.Data(**fields)
