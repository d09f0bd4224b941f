"""Finds or downloads the original files of data sets, and verifies them."""

import base64
import hashlib
import http.client
import pathlib
import shutil
import threading
import urllib.request
from collections.abc import Mapping

from absl import logging

_FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"

# SHA-256 by URL, as TFDS 4.9.10 registers them in its folder url_checksums.
CHECKSUMS: dict[str, dict[str, str]] = {
  "cifar10": {
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz": (
      "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
    ),
  },
  "fashion_mnist": {
    f"{_FASHION}/train-images-idx3-ubyte.gz": (
      "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"
    ),
    f"{_FASHION}/train-labels-idx1-ubyte.gz": (
      "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"
    ),
    f"{_FASHION}/t10k-images-idx3-ubyte.gz": (
      "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"
    ),
    f"{_FASHION}/t10k-labels-idx1-ubyte.gz": (
      "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"
    ),
  },
}

_CONNECT_TIMEOUT_S = 3.0
_STALL_TIMEOUT_S = 30.0


def collect(
  name: str,
  data_dir: pathlib.Path,
  archive: pathlib.Path | None,
  checksums: Mapping[str, str],
) -> dict[str, pathlib.Path]:
  """Returns the verified original files; downloads those that are missing.

  Args:
    name: The data set.
    data_dir: Its folder `downloads` is searched and downloaded to.
    archive: The file, or the folder of the files; no other place is searched.
    checksums: SHA-256 by URL.

  Returns:
    The files' paths by their names.

  Raises:
    FileNotFoundError: A file is not at `archive`.
    ConnectionError: A file is missing and its server does not answer.
    ValueError: A file's checksum differs.
  """
  files = {}
  for url, sha256 in checksums.items():
    filename = url.rpartition("/")[2]
    downloads = data_dir / "downloads"
    if archive:
      path = _in_archive(archive, filename, single=len(checksums) == 1)
    elif downloaded := _in_downloads(downloads, name, filename, sha256):
      path = downloaded
    else:
      path = _download(url, downloads / name / filename)
    _verify(path, sha256)
    files[filename] = path
  return files


def _in_archive(
  archive: pathlib.Path, filename: str, single: bool
) -> pathlib.Path:
  if archive.is_file() and not single:
    raise FileNotFoundError(
      f"{archive} is one of several files: give the folder that has them all."
    )
  path = archive / filename if archive.is_dir() else archive
  if not path.is_file():
    raise FileNotFoundError(f"There is no file {path}.")
  return path


def _in_downloads(
  downloads: pathlib.Path, name: str, filename: str, sha256: str
) -> pathlib.Path | None:
  """The file by its own name, or by TFDS's, which contains the checksum."""
  token = base64.urlsafe_b64encode(bytes.fromhex(sha256)).decode().rstrip("=")
  for folder in (downloads / name, downloads, downloads / "manual"):
    for path in sorted(folder.glob("*")):
      of_tfds = token in path.name and path.suffix != ".INFO"
      if (path.name == filename or of_tfds) and path.is_file():
        return path
  return None


def _verify(path: pathlib.Path, sha256: str) -> None:
  with path.open("rb") as file:
    actual = hashlib.file_digest(file, "sha256").hexdigest()
  if actual != sha256:
    raise ValueError(
      f"{path} is not the original file: its SHA-256 is {actual}, expected "
      f"{sha256}. Remove it and get the file again."
    )


def _download(url: str, path: pathlib.Path) -> pathlib.Path:
  if not _reachable(url):
    raise ConnectionError(
      f"{url} did not answer within {_CONNECT_TIMEOUT_S:g} s. Get the file "
      f"elsewhere and give its path by --archive, or put it at {path}."
    )
  logging.info("Downloading %s", url)
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.with_name(path.name + ".part")
  with urllib.request.urlopen(url, timeout=_STALL_TIMEOUT_S) as response:
    with partial.open("wb") as file:
      shutil.copyfileobj(response, file)
  return partial.replace(path)


def _reachable(url: str) -> bool:
  """Whether a HEAD request is answered. A thread: DNS has no timeout."""
  answers = []

  def ask() -> None:
    request = urllib.request.Request(url, method="HEAD")
    try:
      with urllib.request.urlopen(request, timeout=_CONNECT_TIMEOUT_S):
        answers.append(url)
    except (OSError, http.client.HTTPException) as error:
      logging.info("%s: %s", url, error)

  thread = threading.Thread(target=ask, daemon=True)
  thread.start()
  thread.join(_CONNECT_TIMEOUT_S)
  return bool(answers)
