import functools
import gzip
import hashlib
import io
import sys
import tarfile

import numpy as np
import pytest
from absl import app, flags

from hwnas_jax.commands import data as command
from hwnas_jax.data import formats, load, originals, prepare

_NAMES = "airplane automobile bird cat deer dog frog horse ship truck".split()
_TRAIN = {"cifar10": 100, "fashion_mnist": 30}
_TEST = 20


def _images(count, shape):
  rng = np.random.default_rng(count)
  return rng.integers(0, 256, (count, *shape), dtype=np.uint8)


def _cifar_bytes(images):
  labels = np.arange(len(images), dtype=np.uint8)[:, None] % 10
  flat = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
  return np.hstack([labels, flat]).tobytes()


def _write_cifar10(folder, cut=0, leave_out=()):
  train, test = _images(100, (32, 32, 3)), _images(20, (32, 32, 3))
  members = {"batches.meta.txt": "\n".join(_NAMES).encode() + b"\n\n"}
  for i in range(5):
    batch = _cifar_bytes(train[20 * i : 20 * (i + 1)])
    members[f"data_batch_{i + 1}.bin"] = batch
  members["test_batch.bin"] = _cifar_bytes(test)[: -cut or None]
  with tarfile.open(folder / "cifar-10-binary.tar.gz", "w:gz") as tar:
    for name in members.keys() - set(leave_out):
      info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
      info.size = len(members[name])
      tar.addfile(info, io.BytesIO(members[name]))
  return train, test


def _idx(array, count=None):
  shape = (count or len(array), *array.shape[1:])
  header = bytes([0, 0, 8, array.ndim]) + np.array(shape, ">u4").tobytes()
  return gzip.compress(header + array.tobytes(), mtime=0)


def _write_fashion_mnist(folder):
  images = []
  for prefix, count in (("train", 30), ("t10k", 20)):
    images.append(_images(count, (28, 28, 1)))
    labels = np.arange(count, dtype=np.uint8) % 10
    pixels = images[-1][..., 0]
    (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(_idx(pixels))
    (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(_idx(labels))
  return images


_WRITERS = {"cifar10": _write_cifar10, "fashion_mnist": _write_fashion_mnist}


def _checksums(name, folder):
  def sha256(url):
    path = folder / url.rpartition("/")[2]
    return hashlib.sha256(path.read_bytes()).hexdigest()

  return {url: sha256(url) for url in originals.CHECKSUMS[name]}


@pytest.fixture(params=sorted(_WRITERS))
def prepared(request, tmp_path):
  """Returns (name, data_dir, folder, train images, test images)."""
  name, source = request.param, tmp_path / "originals"
  source.mkdir()
  train, test = _WRITERS[name](source)
  data_dir = tmp_path / "data"
  folder = prepare.prepare(
    name, data_dir, source, checksums=_checksums(name, source)
  )
  return name, data_dir, folder, train, test


def test_prepared_is_the_stock_data_set(prepared, monkeypatch):
  import tensorflow_datasets as tfds

  name, data_dir, folder, train, _ = prepared
  stock = tfds.builder(name, data_dir=data_dir)
  assert folder == data_dir / name / str(tfds.builder_cls(name).VERSION)
  assert stock.info.file_format.value == "array_record"
  assert stock.info.splits["train"].num_examples == _TRAIN[name]
  assert stock.info.splits["test"].num_examples == _TEST
  if name == "cifar10":
    assert stock.info.features["label"].names == _NAMES
    example = tfds.data_source(name, split="train", data_dir=data_dir)[0]
    index = int(example["id"].decode().removeprefix("train_"))
    np.testing.assert_array_equal(example["image"], train[index])
    assert example["label"] == index % 10
  assert "tensorflow" not in sys.modules


def test_load_gives_every_original_example(prepared):
  name, data_dir, _, *originals_ = prepared
  data = load.load(name, data_dir)
  for split, images in zip((data.train, data.test), originals_, strict=True):
    assert split.images.shape == images.shape
    index = {image.tobytes(): i for i, image in enumerate(images)}
    order = [index[image.tobytes()] for image in np.asarray(split.images)]
    assert sorted(order) == list(range(len(images)))
    np.testing.assert_array_equal(split.labels, np.array(order) % 10)


def test_prepared_again_does_nothing(prepared, tmp_path):
  name, data_dir, folder, _, _ = prepared
  assert prepare.prepare(name, data_dir, tmp_path / "nowhere") == folder


@pytest.fixture
def run(monkeypatch):
  """Returns what runs the command, with flags of its own."""
  values = flags.FlagValues()
  define = functools.partial(flags.DEFINE_string, flag_values=values)
  monkeypatch.setattr(flags, "DEFINE_string", define)
  monkeypatch.setattr(flags, "FLAGS", values)
  command.define_flags()
  return lambda *arguments: command.main(values(["data", *arguments]))


def test_command(prepared, run, capsys, tmp_path):
  name, data_dir, folder, _, _ = prepared
  run(name, f"--data_dir={data_dir}")
  assert f"{name} is prepared in {folder}" in capsys.readouterr().out
  archive = f"--archive={tmp_path / 'originals'}"
  with pytest.raises(ValueError, match="is not the original file"):
    run(name, archive, f"--data_dir={tmp_path / 'other'}")
  assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("names", [(), ("imagenet",), ("cifar10", "mnist")])
def test_command_refuses_other_names(run, names):
  with pytest.raises(app.UsageError, match="cifar10 or fashion_mnist"):
    run(*names)


def test_cifar10_archive_must_be_whole(tmp_path):
  files = {"cifar-10-binary.tar.gz": tmp_path / "cifar-10-binary.tar.gz"}
  _write_cifar10(tmp_path, cut=1)
  with pytest.raises(ValueError, match="61459 bytes is cut short"):
    formats.read_cifar10(files)
  _write_cifar10(tmp_path, leave_out=["data_batch_3.bin"])
  with pytest.raises(ValueError, match="no file .*data_batch_3.bin"):
    formats.read_cifar10(files)


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (_idx(np.zeros(3, np.uint8)), "not an idx file of 3-dim"),
    (_idx(np.zeros((3, 2, 2), np.uint8), count=4), r"12 elements.*\[4, 2, 2\]"),
  ],
)
def test_idx_must_be_what_it_says(tmp_path, content, message):
  _write_fashion_mnist(tmp_path)
  (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(content)
  files = {path.name: path for path in tmp_path.iterdir()}
  with pytest.raises(ValueError, match=message):
    formats.read_fashion_mnist(files)
