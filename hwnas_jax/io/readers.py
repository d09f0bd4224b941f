"""Reads JSON, JSON lines and arrays: the one door for files from outside.

A file may be cut short, of another program, or made to harm. So its size is
limited before it is read, nothing in it is run (no pickle), and whatever is
wrong with it is a ValueError that names it.
"""

import json
import pathlib
import zipfile
from collections.abc import Collection
from typing import Any

import numpy as np

from hwnas_jax.core import tree

MAX_BYTES = 1 << 28  # of a text, such as JSON, and of an image
# Arrays may be larger than their file by this factor, or by that many bytes:
# images compress tenfold, an archive that was made to fill the memory a
# thousandfold.
MAX_INFLATION, FREE_BYTES = 200, 1 << 28

_BY_NUMPY = "write it by numpy.savez, or restore a copy"
_REMEDY = "delete it and run the command that wrote it again, or restore a copy"


def read_bytes(path: str | pathlib.Path) -> bytes:
  """Reads a file as a whole.

  Raises:
    OSError: it cannot be read.
    ValueError: it is larger than MAX_BYTES.
  """
  path = pathlib.Path(path)
  size = path.stat().st_size
  if size > MAX_BYTES:
    raise ValueError(
      f"{path} has {size / 1e6:.0f} MB, and at most"
      f" {MAX_BYTES / 1e6:.0f} MB are read: it is another file, or damaged"
    )
  return path.read_bytes()


def read_text(path: str | pathlib.Path) -> str:
  """Reads a text file.

  Raises:
    OSError: it cannot be read.
    ValueError: it is larger than MAX_BYTES, or is no UTF-8.
  """
  try:
    return read_bytes(path).decode()
  except UnicodeDecodeError as error:
    raise ValueError(f"{path} is not text ({error}): {_REMEDY}") from error


def read_json(path: str | pathlib.Path) -> Any:
  """Reads a JSON file.

  Args:
    path: the file.

  Returns:
    Its contents, as JSON types.

  Raises:
    OSError: it cannot be read; FileNotFoundError where there is none.
    ValueError: it is not JSON; the message names the file and the place.
  """
  text = read_text(path)
  try:
    return _parse(text)
  except ValueError as error:
    raise ValueError(
      f"{path} is not valid JSON ({error}): {_REMEDY}"
    ) from error


def read_jsonl(path: str | pathlib.Path) -> list[dict[str, Any]]:
  """Reads the rows of a `JsonlWriter`; a half-written last one is left out.

  Args:
    path: the file.

  Returns:
    The rows in the order they were written.

  Raises:
    OSError: it cannot be read; FileNotFoundError where there is none.
    ValueError: a line other than the last is not a row; the message names it.
  """
  rows = []
  *lines, _ = read_text(path).split("\n")
  for number, line in enumerate(lines, start=1):
    try:
      row = _parse(line)
      rows.append({**row, "step": int(row["step"])})
    except (ValueError, LookupError, TypeError, OverflowError) as error:
      raise ValueError(
        f"{path}:{number} is not a row of metrics: remove the line"
      ) from error
  return rows


def _parse(text: str) -> Any:
  """JSON types; raises ValueError for what is not JSON."""
  try:
    return json.loads(text)
  except RecursionError as error:
    raise ValueError("nested too deep") from error


def read_arrays(
  path: str | pathlib.Path,
  names: Collection[str] | None = None,
  remedy: str = _BY_NUMPY,
) -> dict[str, np.ndarray]:
  """Reads arrays of an .npz file by name.

  Args:
    path: the file.
    names: those to read, as far as they are there; None reads all.
    remedy: what to do about a damaged file; ends the error's message.

  Raises:
    OSError: it cannot be read; FileNotFoundError where there is none.
    ValueError: it is no .npz file, or it is damaged, or what it holds is far
      larger than the file; the message names it.
  """
  # Opened here: np.load leaves a damaged file open.
  with open(path, "rb") as raw:
    try:
      _require_size(raw)
      raw.seek(0)
      with np.load(raw, allow_pickle=False) as stored:
        wanted = [n for n in stored.files if names is None or n in names]
        return {name: _array(name, stored[name]) for name in wanted}
    except MemoryError as error:
      raise ValueError(
        f"{path} does not fit into memory, or it is damaged: {remedy}"
      ) from error
    except Exception as error:
      # zipfile, zlib, struct and NumPy's header parser each raise their own.
      reason = (str(error) or type(error).__name__).splitlines()[0]
      raise ValueError(
        f"{path} is no .npz file that can be read ({reason}): {remedy}"
      ) from error


def _array(name: str, value: Any) -> np.ndarray:
  """NumPy gives the bytes of a member that is no array."""
  if not isinstance(value, np.ndarray):
    raise ValueError(f"{name} is no array")
  return value


def read_sealed(path: str | pathlib.Path) -> dict[str, np.ndarray]:
  """Reads what `writers.write_arrays` wrote: all arrays by name.

  Raises:
    OSError: it cannot be read; FileNotFoundError where there is none.
    ValueError: it is damaged, or was changed after it was written.
  """
  arrays = read_arrays(path, remedy=_REMEDY)
  if str(arrays.pop("seal", "")) != tree.digest(arrays):
    raise ValueError(f"{path} was changed after it was written: {_REMEDY}")
  return arrays


def _require_size(raw: Any) -> None:
  """Raises ValueError where an archive holds far more than its own size."""
  with zipfile.ZipFile(raw) as archive:
    size = sum(member.file_size for member in archive.infolist())
  most = FREE_BYTES + MAX_INFLATION * raw.seek(0, 2)
  if size > most:
    raise ValueError(
      f"it would take {size / 1e9:.3g} GB of memory, and for a file of its size"
      f" {most / 1e9:.3g} GB are allowed"
    )
