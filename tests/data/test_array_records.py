"""Data sets in ArrayRecord files."""

import pickle

import pytest
from toy_files import CLASSES, COUNTS, as_records, encoded, examples

from hwnas_jax.data import array_records, embedded, load


def test_what_is_written_is_read_in_order(tmp_path):
  as_records(tmp_path)
  opened = array_records.open_records(tmp_path)
  assert opened.class_names == CLASSES
  for split, count in COUNTS.items():
    reader = pickle.loads(pickle.dumps(getattr(opened, split)))
    assert len(reader) == count
    found = [(reader[i].image, reader[i].label) for i in range(count)]
    assert found == examples(split)
  assert len(list(tmp_path.glob("train-*.array_record"))) == 2


def test_small_records_are_kept_on_the_device(tmp_path):
  name = as_records(tmp_path)
  data = load.load(name)
  assert data.train.images.shape == (72, 12, 12, 3)
  assert data.class_names == CLASSES


def test_writing_again_replaces_all(tmp_path):
  as_records(tmp_path, per_file=10)
  digest = array_records.open_records(tmp_path).digest
  as_records(tmp_path)
  assert len(list(tmp_path.glob("*.array_record"))) == 3
  assert array_records.open_records(tmp_path).digest != digest


def test_what_is_missing_or_damaged_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"no records.json: write a data"):
    load.require(f"records:{tmp_path}")
  as_records(tmp_path)
  (tmp_path / "train-00001.array_record").unlink()
  message = "the 1 files of train have 50 records, records.json says 72: restor"
  with pytest.raises(ValueError, match=message):
    array_records.open_records(tmp_path)
  (tmp_path / "train-00000.array_record").unlink()
  with pytest.raises(FileNotFoundError, match=r"no train-\*.array_record"):
    array_records.open_records(tmp_path)
  (tmp_path / "records.json").write_text("{}")
  with pytest.raises(ValueError, match=r"records.json is damaged"):
    load.require(f"records:{tmp_path}")


def test_a_label_without_a_class_is_named(tmp_path):
  bad = {"train": [(encoded(0), 3)], "test": [(encoded(0), 0)]}
  array_records.write(tmp_path, CLASSES, bad)
  opened = array_records.open_records(tmp_path)
  with pytest.raises(ValueError, match="record 0 of .* 3, but there are 3"):
    opened.train[0]


def test_the_stand_in_for_imagenet_is_written_once(tmp_path, monkeypatch):
  monkeypatch.setenv("HWNAS_CACHE_DIR", str(tmp_path))
  folder = embedded.stand_in_folder()
  before = (folder / "records.json").stat().st_mtime_ns
  assert embedded.stand_in_folder() == folder
  assert (folder / "records.json").stat().st_mtime_ns == before
  data = load.load("mock_imagenet", resize="8x8")
  assert (data.train.images.shape, data.num_classes) == ((128, 8, 8, 3), 10)
