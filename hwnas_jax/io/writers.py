"""Metrics and results on disk: JSON lines, JSON files, TensorBoard.

Both writers of metrics have `write(step, **scalars)` and, for a run that
resumes, `truncate_after(step)`. Neither needs to be closed.
"""

import contextlib
import functools
import io
import json
import math
import os
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import chex
import numpy as np

from hwnas_jax.core.tree import digest, flatten
from hwnas_jax.io.readers import read_jsonl

FLUSH_S = 10  # between writes of TensorBoard events; the last are at exit


class JsonlWriter:
  """Writes rows of metrics, one JSON object a line, each at once to disk."""

  def __init__(self, path: str | pathlib.Path) -> None:
    """Opens a new or an old file, and drops a half-written last line.

    Args:
      path: the file; its folder is made where it is missing.

    Raises:
      ValueError: a line other than the last is not a row.
    """
    self._path = pathlib.Path(path)
    self._path.parent.mkdir(parents=True, exist_ok=True)
    self._path.touch()
    self._rewrite(read_jsonl(self._path))

  def write(self, step: int, **scalars: Any) -> None:
    """Adds a row of `step`, `unix_time_s` and the scalars.

    Args:
      step: number of the step.
      **scalars: numbers, strings, booleans or None. NumPy and JAX scalars are
        converted, which waits for the device. NaN and infinity, which JSON
        lacks, are written as null.

    Raises:
      ValueError: a value is not a scalar; the message names it.
    """
    row = {"step": int(step), "unix_time_s": round(time.time(), 3)}
    row |= {name: _scalar(name, value) for name, value in scalars.items()}
    with naming(self._path), self._path.open("a") as file:
      file.write(json.dumps(row) + "\n")

  def truncate_after(self, step: int) -> None:
    """Removes the rows after `step`, which a resumed run writes again."""
    rows = read_jsonl(self._path)
    self._rewrite([row for row in rows if row["step"] <= step])

  def _rewrite(self, rows: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    _replace(self._path, text.encode())


class TensorBoardWriter:
  """Writes metrics as TensorBoard events."""

  def __init__(self, directory: str | pathlib.Path) -> None:
    """Prepares an event file, which the first write opens.

    Args:
      directory: the folder for `tensorboard --logdir`.

    Raises:
      ModuleNotFoundError: tensorboardX is not installed.
    """
    try:
      import tensorboardX
    except ModuleNotFoundError as error:
      raise ModuleNotFoundError(
        "TensorBoard output needs tensorboardX: pip install tensorboardX"
      ) from error
    self._open = functools.partial(
      tensorboardX.SummaryWriter, str(directory), flush_secs=FLUSH_S
    )
    self._writer: Any = None

  def write(self, step: int, **scalars: Any) -> None:
    """Adds the scalars at a step; strings and None are left out."""
    self._writer = self._writer or self._open()
    for name, value in scalars.items():
      if not isinstance(value, str | None):
        self._writer.add_scalar(name, float(value), int(step))

  def truncate_after(self, step: int) -> None:
    """Makes TensorBoard hide the points after `step` of earlier processes.

    Args:
      step: the step that the run resumes from.

    Raises:
      ValueError: `write` was called before.
    """
    if self._writer:
      raise ValueError("truncate_after must be called before the first write")
    self._open = functools.partial(self._open, purge_step=step + 1)


def write_json(path: str | pathlib.Path, obj: Any) -> None:
  """Writes a JSON file with sorted keys, atomically.

  After a crash the file is the old one or the new one, never half of it.

  Args:
    path: the file; its folder is made where it is missing.
    obj: JSON types, NumPy and JAX arrays (written as lists).

  Raises:
    ValueError: the object has no JSON form (NaN and infinity have none).
  """
  try:
    text = json.dumps(
      obj, sort_keys=True, indent=1, allow_nan=False, default=_plain
    )
  except (TypeError, ValueError) as error:
    raise ValueError(f"{path} was not written: {error}") from error
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  _replace(path, f"{text}\n".encode())


def write_arrays(path: str | pathlib.Path, arrays: chex.ArrayTree) -> None:
  """Writes a pytree to an .npz file, which `numpy.load` reads.

  After a crash the file is the old one or the new one, never half of it.

  Args:
    path: the file; its folder is made where it is missing.
    arrays: a pytree; each leaf becomes an array under its path, such as
      `params/stem/w`. The array `seal` is the digest of all others.

  Raises:
    ValueError: two leaves share a path.
  """
  host = {name: np.asarray(leaf) for name, leaf in flatten(arrays).items()}
  content = io.BytesIO()
  np.savez(content, seal=np.asarray(digest(host)), **host)  # type: ignore[arg-type]
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  _replace(path, content.getvalue())


@contextlib.contextmanager
def naming(path: str | pathlib.Path) -> Iterator[None]:
  """Names the file in an OSError that has none, as that of a full disk."""
  try:
    yield
  except OSError as error:
    if error.errno and error.filename is None:
      error.filename = str(path)
    raise


def _plain(value: Any) -> Any:
  """An array as lists of numbers, a scalar as a number."""
  array = np.asarray(value)
  if array.dtype == object:
    raise TypeError(f"a {type(value).__name__} has no JSON form")
  return array.tolist()


def _scalar(name: str, value: Any) -> Any:
  plain = value if value is None else _plain(value)
  if isinstance(plain, list):
    raise ValueError(f"metric {name!r} has shape {np.shape(value)}, not ()")
  return (
    None if isinstance(plain, float) and not math.isfinite(plain) else plain
  )


def _replace(path: pathlib.Path, content: bytes) -> None:
  """Writes a file atomically."""
  temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
  try:
    with naming(path), temporary.open("wb") as file:
      file.write(content)
      file.flush()
      os.fsync(file.fileno())
    os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)
