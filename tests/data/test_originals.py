import base64
import hashlib
import threading

import pytest

from hwnas_jax.data import originals

_BYTES = b"the original"
_SHA256 = hashlib.sha256(_BYTES).hexdigest()
_URL = "http://127.0.0.1:9/some/file.gz"  # The port where nobody answers.


def _put(path, content=_BYTES):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(content)
  return path


def _tfds_name():
  """As TFDS 4.9.10 names a download."""
  token = base64.urlsafe_b64encode(bytes.fromhex(_SHA256)).decode()[:-1]
  return f"127.0.0.1_9_some_file{token}.gz"


def _collect(data_dir, archive=None, checksums=None):
  checksums = checksums or {_URL: _SHA256}
  return originals.collect("cifar10", data_dir, archive, checksums)


def test_checksums_are_those_registered_by_tfds():
  import tensorflow_datasets as tfds

  for name, checksums in originals.CHECKSUMS.items():
    registered = tfds.builder_cls(name).url_infos
    assert checksums == {u: i.checksum for u, i in registered.items()}


def test_names_are_those_of_tfds():
  from tensorflow_datasets.core.download import resource

  assert resource.get_dl_fname(_URL, _SHA256) == _tfds_name()


def test_archive_is_a_file_or_its_folder(tmp_path):
  path = _put(tmp_path / "a" / "file.gz")
  assert _collect(tmp_path, path) == {"file.gz": path}
  assert _collect(tmp_path, path.parent) == {"file.gz": path}


@pytest.mark.parametrize(
  "place",
  ["cifar10/file.gz", "file.gz", "manual/file.gz", "cifar10/TFDS", "TFDS"],
)
def test_downloads_are_searched(tmp_path, place):
  place = place.replace("TFDS", _tfds_name())
  path = _put(tmp_path / "downloads" / place)
  _put(path.with_name(_tfds_name() + ".INFO"), b"{}")
  assert _collect(tmp_path) == {"file.gz": path}


@pytest.mark.parametrize("given", [True, False])
def test_another_file_is_refused(tmp_path, given):
  path = _put(tmp_path / "downloads" / "file.gz", b"something else")
  with pytest.raises(
    ValueError, match=f"{path} is not the original.*{_SHA256}"
  ):
    _collect(tmp_path, path if given else None)


def test_archive_must_be_there(tmp_path):
  with pytest.raises(FileNotFoundError, match="no file .*nowhere"):
    _collect(tmp_path, tmp_path / "nowhere")
  with pytest.raises(FileNotFoundError, match="no file .*file.gz"):
    _collect(tmp_path, tmp_path)
  path = _put(tmp_path / "file.gz")
  several = {_URL: _SHA256, f"{_URL}2": _SHA256}
  with pytest.raises(FileNotFoundError, match="give the folder"):
    _collect(tmp_path, path, several)


def test_downloads_and_keeps(tmp_path):
  source = _put(tmp_path / "server" / "file.gz")
  data_dir = tmp_path / "data"
  files = _collect(data_dir, checksums={source.as_uri(): _SHA256})
  path = data_dir / "downloads" / "cifar10" / "file.gz"
  assert files == {"file.gz": path}
  assert path.read_bytes() == _BYTES
  assert list(path.parent.iterdir()) == [path]


def test_a_server_out_of_reach_is_noticed(tmp_path):
  with pytest.raises(ConnectionError, match=r"did not answer.*--archive"):
    _collect(tmp_path)
  assert not (tmp_path / "downloads").exists()


def test_a_name_that_does_not_resolve_is_noticed(tmp_path, monkeypatch):
  monkeypatch.setattr(originals, "_CONNECT_TIMEOUT_S", 0.05)
  resolved, answers = threading.Event(), []

  def stall(*unused_args, **unused_kwargs):
    resolved.wait(60)
    answers.append(None)
    raise OSError

  monkeypatch.setattr(originals.urllib.request, "urlopen", stall)
  with pytest.raises(ConnectionError, match="did not answer within 0.05 s"):
    _collect(tmp_path)
  assert not answers
  resolved.set()
