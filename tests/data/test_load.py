import subprocess
import sys

import numpy as np
import pytest
import sklearn.datasets
import sklearn.linear_model

from hwnas_jax.data import load


def _flat(split):
  return np.asarray(split.images).reshape(len(split.labels), -1) / 255


def test_digits_are_those_of_scikit_learn():
  data = load.load("digits")
  assert data.train.images.shape == (1437, 8, 8, 1)
  assert data.test.images.shape == (360, 8, 8, 1)
  assert (np.bincount(data.test.labels) == 36).all()
  original = sklearn.datasets.load_digits()
  rows = np.c_[original.data, original.target]
  splits = [
    np.c_[np.rint(_flat(split) * 16), split.labels]
    for split in (data.train, data.test)
  ]
  ours = np.concatenate(splits)
  np.testing.assert_array_equal(
    ours[np.lexsort(ours.T)], rows[np.lexsort(rows.T)]
  )
  assert np.asarray(data.train.images).max() == 255


def test_digits_stay_the_same():
  assert load.load("digits").digest == (
    "dc6a88e50a9c54325b1f6f020443f7342f5b0701102b5a51e82ff5b047325f78"
  )


@pytest.mark.parametrize(
  ("name", "shape"),
  [("mock_cifar10", (32, 32, 3)), ("mock_fashion_mnist", (28, 28, 1))],
)
def test_mock_is_learnable_and_always_the_same(name, shape):
  data = load.load(name)
  assert data.train.images.shape == (512, *shape)
  assert data.test.images.shape == (256, *shape)
  assert data.num_classes == 10
  assert data.digest == load.load(name).digest
  model = sklearn.linear_model.RidgeClassifier()
  model.fit(_flat(data.train), data.train.labels)
  assert model.score(_flat(data.test), data.test.labels) > 0.9


@pytest.mark.parametrize("name", ["cifar10", "fashion_mnist"])
def test_absent_data_is_refused_with_the_ways_to_get_it(name, tmp_path):
  for function in (load.require, load.load):
    with pytest.raises(FileNotFoundError) as refusal:
      function(name, tmp_path)
    text = str(refusal.value)
    assert f"{tmp_path / name}" in text
    assert f"python -m hwnas_jax.data {name} --data_dir={tmp_path}" in text
    for way in ("--archive=", "download_and_prepare", "npz:", "folder:"):
      assert way in text


def test_data_dir_defaults_to_that_of_tfds(tmp_path, monkeypatch):
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "here"))
  with pytest.raises(FileNotFoundError, match=str(tmp_path / "here")):
    load.require("cifar10")
  monkeypatch.delenv("TFDS_DATA_DIR")
  monkeypatch.setenv("HOME", str(tmp_path / "home"))
  with pytest.raises(FileNotFoundError, match="home/tensorflow_datasets"):
    load.require("cifar10")


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("cifar-10", "Did you mean 'cifar10'"),
    ("fashionmnist", "Did you mean 'fashion_mnist'"),
    ("xyz", r"'xyz'\. Known: digits, "),
    ("folder:", "Unknown data set 'folder:'"),
    ("tfds:", "Unknown data set 'tfds:'"),
    ("svhn_cropped", "Known: .*, tfds:NAME"),
    ("arrays", "give the same arrays again"),
  ],
)
def test_unknown_name_is_refused(name, message):
  with pytest.raises(ValueError, match=message):
    load.load(name)


def test_tfds_is_not_imported_in_vain():
  code = (
    "import sys; from hwnas_jax.data import load\n"
    "load.require('digits')\n"
    "try: load.require('cifar10', '/nonexistent')\n"
    "except FileNotFoundError: print('tensorflow_datasets' in sys.modules)"
  )
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  assert done.stdout.strip() == "False"
