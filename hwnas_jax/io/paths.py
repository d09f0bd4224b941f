"""Paths as a person writes them, checked before anything is measured."""

import errno
import os
import pathlib


def expand(path: str | os.PathLike[str]) -> pathlib.Path:
  """The path with `~` expanded.

  Raises:
    ValueError: it begins with `~NAME`, and no user has this name.
  """
  try:
    return pathlib.Path(path).expanduser()
  except RuntimeError as error:
    raise ValueError(f"{path}: {error}: give a whole path") from error


def require_folder(path: pathlib.Path) -> None:
  """Raises OSError, with the path, unless files can be made in this folder.

  It may be missing, if it can be made. Nothing is made yet.
  """
  nearest = path.absolute()
  while not nearest.exists() and nearest != nearest.parent:
    nearest = nearest.parent
  if not nearest.is_dir():
    raise NotADirectoryError(errno.ENOTDIR, "not a folder", str(nearest))
  if not os.access(nearest, os.W_OK | os.X_OK):
    raise PermissionError(errno.EACCES, "not writable", str(nearest))


def require_file(path: pathlib.Path) -> None:
  """Raises OSError, with the path, unless a file can be written there."""
  if path.is_dir():
    raise IsADirectoryError(errno.EISDIR, "a folder", str(path))
  require_folder(path.parent)
  if path.exists() and not os.access(path, os.W_OK):
    raise PermissionError(errno.EACCES, "not writable", str(path))
