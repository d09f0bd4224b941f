import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from toy_files import as_records

from hwnas_jax.data import images, load
from hwnas_jax.data.folder import open_folder
from hwnas_jax.data.streamed import Streaming
from hwnas_jax.io import readers


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


def _broken_chunk(folder):
  file = folder / "train" / "ant" / "1.png"
  content = bytearray(file.read_bytes())
  content[37:41] = b"\xff\xff\xff\xff"  # type of the chunk after the header
  file.write_bytes(content)


def _claims(width, height):
  """A PNG whose header says that it has so many pixels."""

  def change(folder):
    file = folder / "train" / "ant" / "1.png"
    size = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    crc = struct.pack(">I", zlib.crc32(b"IHDR" + size))
    content = file.read_bytes()
    file.write_bytes(content[:12] + b"IHDR" + size + crc + content[33:])

  return change


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (_broken_chunk, "train/ant/1.png cannot be read as an image"),
    (_claims(100_000, 100_000), "train/ant/1.png cannot .*10000000000 pixels"),
    (_claims(8000, 8001), r"8000x8001 pixels are more than 64000000\): repl"),
    (_claims(8000, 8000), r"train/ant/1.png cannot .*image file is truncated"),
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


def test_files_of_any_kind_are_not_read_if_they_are_too_large(
  folder, tmp_path_factory, monkeypatch
):
  records = as_records(tmp_path_factory.mktemp("records"))
  monkeypatch.setattr(readers, "MAX_BYTES", 50)
  for name, file in ((f"folder:{folder}", "0.png"), (records, "records.json")):
    with pytest.raises(ValueError, match=f"{file} has 0 MB, and at most 0 MB"):
      load.load(name, None, "", Streaming(0.0))


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (_other_file, "train/bee/notes.txt does not end in"),
    (
      lambda folder: (folder / "test" / "ant" / "0.png").write_bytes(b"no"),
      "test/ant/0.png cannot be read",
    ),
  ],
)
def test_a_streamed_folder_is_looked_at_when_it_is_opened(
  folder, change, message
):
  assert len(open_folder(folder).test) == 6
  change(folder)
  with pytest.raises(ValueError, match=message):
    open_folder(folder)


def test_hidden_folders_are_no_classes(folder):
  for name in (".ipynb_checkpoints", "__MACOSX"):
    (folder / "train" / name).mkdir()
  assert load.load(f"folder:{folder}").class_names == ("ant", "bee")


def test_images_of_any_size_and_mode_are_converted(folder):
  """White, in every mode, and its neighbours, which keep their colours."""
  white = {
    "RGBA": (0, 0, 0, 0),  # transparent
    "LA": (255, 7),
    "P": 255,
    "1": 1,
    "CMYK": (0, 0, 0, 0),
    "I;16": 2**16 - 1,
    "L": 255,
  }
  for index, (mode, value) in enumerate(white.items()):
    suffix = "jpg" if mode == "CMYK" else "png"
    image = Image.new(mode, (9 + index, 4), value)
    if mode == "P":
      image.putpalette([0, 0, 0] * 255 + [255] * 3)
    image.save(folder / "test" / "ant" / f"{index + 3}.{suffix}")
  assert "give data.resize" in _refusal(f"folder:{folder}")
  data = load.load(f"folder:{folder}", resize="6x5")
  assert data.image == (6, 5, 3)
  np.testing.assert_array_equal(data.test.images[0], _pixels(100))
  assert int(data.test.images[3 : 3 + len(white)].min()) == 255


def test_greyscale_stays_greyscale_and_halves_keep_16_bits(tmp_path):
  for split in ("train", "test"):
    for value, name in ((0x4000, "ant"), (0x8000, "bee")):
      (tmp_path / split / name).mkdir(parents=True)
      image = Image.fromarray(np.full((4, 4), value, np.uint16))
      image.save(tmp_path / split / name / "1.png")
  data = load.load(f"folder:{tmp_path}", resize="2x3")
  assert data.train.images.shape == (2, 2, 3, 1)
  assert np.unique(data.train.images).tolist() == [0x40, 0x80]


def test_a_photo_is_turned_upright(tmp_path):
  pixels = np.zeros((8, 16, 3), np.uint8)
  pixels[:, :8] = 255
  image, exif = Image.fromarray(pixels), Image.Exif()
  exif[0x0112] = 6  # turn by 90 degrees clockwise
  image.save(tmp_path / "1.png", exif=exif)
  made = images.read(tmp_path / "1.png", images.Size(16, 8))
  assert made[:6].min() == 255 and made[10:].max() == 0


@pytest.mark.parametrize("text", ["64", "0x3", "3x0", "axb", "9999x3", "-1x3"])
def test_a_size_is_height_x_width(text):
  with pytest.raises(ValueError, match="data.resize must be HEIGHTxWIDTH"):
    images.parse_size(text)
  assert images.parse_size("3x64") == (3, 64)
  assert images.parse_size("") is None


def _refusal(name):
  with pytest.raises(ValueError) as refused:
    load.load(name)
  return str(refused.value)


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


@pytest.mark.parametrize("place", [100, 300, -20])
def test_a_flipped_byte_names_the_file(tmp_path, place):
  path = tmp_path / "mine.npz"
  np.savez_compressed(path, **_npz_arrays())
  content = bytearray(path.read_bytes())
  content[place] ^= 0xFF
  path.write_bytes(content)
  assert f"{path} " in _refusal(f"npz:{path}")


@pytest.mark.parametrize(
  ("shape", "first"),
  [
    ((3, 32, 32), True),
    ((1, 8, 8), True),
    ((3, 32, 48), True),
    ((32, 32, 3), False),
    ((3, 32, 4), False),
    ((1, 128, 9), False),  # a signal of nine sensors
    ((8, 8, 8), False),
  ],
)
def test_channels_first_is_refused_with_what_to_write(tmp_path, shape, first):
  rng = np.random.default_rng(0)
  x = rng.integers(0, 256, (4, *shape), np.uint8)
  y = np.array([0, 1, 0, 1])
  np.savez(tmp_path / "a.npz", x_train=x, y_train=y, x_test=x, y_test=y)
  name = f"npz:{tmp_path / 'a.npz'}"
  if first:
    assert "give images.transpose(0, 2, 3, 1)" in _refusal(name)
  else:
    assert load.load(name).image == shape


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
