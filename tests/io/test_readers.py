"""Files from outside: whatever is wrong with one, the error names it."""

import json
import zipfile

import numpy as np
import pytest

from hwnas_jax.io import readers

DEEP = "[" * 100_000


@pytest.mark.parametrize(
  "content",
  [b"", b"{", b"\xff\xfe{}", DEEP.encode()],
)
def test_what_is_no_json_is_named(tmp_path, content):
  path = tmp_path / "table.json"
  path.write_bytes(content)
  with pytest.raises(ValueError, match=f"^{path} is not .*: delete it"):
    readers.read_json(path)


@pytest.mark.parametrize(
  "line",
  [b"{}", b"[]", b"\xff", b'{"step": "a"}', b'{"step": 1e999}', b"[" * 99],
)
def test_what_is_no_row_is_named(tmp_path, line):
  path = tmp_path / "metrics.jsonl"
  path.write_bytes(b'{"step": 1}\n' + line + b"\n")
  with pytest.raises(ValueError, match=f"^{path}"):
    readers.read_jsonl(path)


def test_a_large_text_is_not_read(tmp_path, monkeypatch):
  path = tmp_path / "table.json"
  path.write_text(json.dumps("a" * 100))
  assert len(readers.read_json(path)) == 100
  monkeypatch.setattr(readers, "MAX_BYTES", 50)
  with pytest.raises(ValueError, match="at most 0 MB are read"):
    readers.read_json(path)


def test_an_archive_made_to_fill_the_memory_is_not_read(tmp_path, monkeypatch):
  path = tmp_path / "bomb.npz"
  np.savez_compressed(path, a=np.zeros(10**6))
  assert readers.read_arrays(path)["a"].shape == (10**6,)
  monkeypatch.setattr(readers, "FREE_BYTES", 1000)
  with pytest.raises(ValueError, match=r"bomb\.npz .*it would take 0.008 GB"):
    readers.read_arrays(path)


def test_a_header_that_claims_more_than_there_is(tmp_path):
  path = tmp_path / "a.npz"
  header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (9999999999,)}\n"
  npy = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("a.npy", npy)
  with pytest.raises(ValueError, match=f"^{path} "):
    readers.read_arrays(path)


def test_a_member_that_is_no_array_is_refused(tmp_path):
  path = tmp_path / "a.npz"
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("a.npy", b"no array")
  with pytest.raises(ValueError, match=f"^{path} .*a is no array"):
    readers.read_arrays(path)


def test_nothing_is_unpickled(tmp_path):
  path = tmp_path / "a.npz"
  np.savez(path, a=np.asarray([{}], object))
  with pytest.raises(ValueError, match=f"^{path} .*allow_pickle"):
    readers.read_arrays(path)
