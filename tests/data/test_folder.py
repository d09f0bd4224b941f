import numpy as np
import pytest
from PIL import Image

from hwnas_jax.data import load


def _pixels(seed, shape=(6, 5, 3)):
  return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def _save(path, pixels):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path):
  for split, offset in (("train", 0), ("test", 100)):
    for label, name in enumerate(("ant", "bee")):
      for index in range(3):
        seed = offset + 10 * label + index
        _save(tmp_path / split / name / f"{index}.png", _pixels(seed))
  return tmp_path


def test_folder_is_read_in_sorted_order(folder):
  (folder / "train" / "ant" / ".hidden").write_text("")
  data = load.load(f"folder:{folder}")
  assert data.num_classes == 2
  np.testing.assert_array_equal(data.train.labels, [0, 0, 0, 1, 1, 1])
  expected = [_pixels(s) for s in (100, 101, 102, 110, 111, 112)]
  np.testing.assert_array_equal(data.test.images, expected)


def test_greyscale_gets_a_channel_and_jpeg_is_read(tmp_path):
  for split in ("train", "test"):
    for name in ("ant", "bee"):
      _save(tmp_path / split / name / "1.JPG", _pixels(1, (8, 8)))
  assert load.load(f"folder:{tmp_path}").train.images.shape == (2, 8, 8, 1)


def _other_size(folder):
  _save(folder / "train" / "bee" / "1.png", _pixels(1, (6, 6, 3)))


def _greyscale(folder):
  _save(folder / "test" / "bee" / "1.png", _pixels(1, (6, 5)))


def _alpha(folder):
  _save(folder / "test" / "ant" / "1.png", _pixels(1, (6, 5, 4)))


def _no_image(folder):
  (folder / "train" / "ant" / "1.png").write_bytes(b"no image")


def _other_file(folder):
  (folder / "train" / "bee" / "notes.txt").write_text("")


def _other_class(folder):
  (folder / "test" / "bee").rename(folder / "test" / "cat")


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (_other_size, r"train/bee/1.png is \[6, 6, 3\].*\[6, 5, 3\]"),
    (_greyscale, r"test/bee/1.png is \[6, 5, 1\]"),
    (_alpha, "test/ant/1.png has mode RGBA"),
    (_no_image, "train/ant/1.png cannot be read"),
    (_other_file, "train/bee/notes.txt does not end in"),
    (_other_class, r"\['bee', 'cat'\] are in one of them only"),
  ],
)
def test_folder_names_the_first_offender(folder, change, message):
  change(folder)
  with pytest.raises(ValueError, match=message):
    load.load(f"folder:{folder}")


def test_folder_refuses_what_is_not_there(folder):
  for file in (folder / "train" / "bee").iterdir():
    file.unlink()
  with pytest.raises(FileNotFoundError, match="train/bee has no images"):
    load.load(f"folder:{folder}")
  (folder / "test").rename(folder / "tests")
  with pytest.raises(FileNotFoundError, match="test is not a folder"):
    load.require(f"folder:{folder}")


def test_folder_refuses_splits_without_classes(tmp_path):
  (tmp_path / "train").mkdir()
  (tmp_path / "test").mkdir()
  with pytest.raises(FileNotFoundError, match="no class folders"):
    load.load(f"folder:{tmp_path}")


def _npz_arrays():
  images = np.stack([_pixels(seed) for seed in range(4)])
  labels = np.array([0, 1, 0, 1])
  return {
    "x_train": images,
    "y_train": labels,
    "x_test": images[:2],
    "y_test": labels[:2],
  }


def test_npz(tmp_path):
  np.savez(tmp_path / "mine.npz", **_npz_arrays())
  data = load.load(f"npz:{tmp_path / 'mine.npz'}")
  assert data.name == f"npz:{tmp_path / 'mine.npz'}"
  np.testing.assert_array_equal(data.train.images, _npz_arrays()["x_train"])
  np.testing.assert_array_equal(data.test.labels, [0, 1])


def test_npz_refuses(tmp_path):
  path = tmp_path / "mine.npz"
  with pytest.raises(FileNotFoundError, match="mine.npz is not a file"):
    load.require(f"npz:{path}")
  data = _npz_arrays()
  del data["y_test"]
  np.savez(path, **data)
  with pytest.raises(ValueError, match=r"lacks \['y_test'\]"):
    load.load(f"npz:{path}")
  with path.open("wb") as file:
    np.save(file, data["x_train"])
  with pytest.raises(ValueError, match="not an .npz file"):
    load.require(f"npz:{path}")
