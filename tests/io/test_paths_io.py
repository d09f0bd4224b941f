"""Paths are checked before anything is made."""

import pathlib

import pytest

from hwnas_jax.io import paths


def test_home_is_expanded():
  assert paths.expand("~/a") == pathlib.Path.home() / "a"
  with pytest.raises(ValueError, match="~nobody-here/a: .*whole path"):
    paths.expand("~nobody-here/a")


def test_what_can_be_made_is_not_made_yet(tmp_path):
  paths.require_folder(tmp_path / "a" / "b")
  paths.require_file(tmp_path / "a" / "t.json")
  assert list(tmp_path.iterdir()) == []


def test_what_is_in_the_way_is_named(tmp_path):
  file = tmp_path / "file"
  file.write_text("")
  for path in (file, file / "a" / "b"):
    with pytest.raises(NotADirectoryError) as refused:
      paths.require_folder(path)
    assert refused.value.filename == str(file)
  with pytest.raises(IsADirectoryError, match=str(tmp_path)):
    paths.require_file(tmp_path)


def test_what_may_not_be_written_is_named(tmp_path, monkeypatch):
  monkeypatch.setattr(paths.os, "access", lambda path, mode: False)
  with pytest.raises(PermissionError, match=str(tmp_path)):
    paths.require_file(tmp_path / "t.json")
