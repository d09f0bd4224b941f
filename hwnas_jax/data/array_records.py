"""A data set in ArrayRecord files: `records:PATH`.

PATH has `records.json` and, of each split, files such as
`train-00000.array_record`. A record is the msgpack of {"image": a PNG or JPEG
file, "label": integer}. ArrayRecord reads any record without those before it.
"""

import contextlib
import hashlib
import pathlib
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from hwnas_jax.data.streamed import Opened
from hwnas_jax.data.view import Encoded
from hwnas_jax.io import readers

_INDEX = "records.json"
_SUFFIX = ".array_record"
PER_FILE = 10_000  # records, of about 1 GB of ImageNet


class _Index(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
  """records.json: written last, so a folder without it is unfinished."""

  class_names: tuple[str, ...]
  train: int
  test: int


class _Record(msgspec.Struct, frozen=True):
  image: bytes
  label: int


class RecordReader:
  """The records of a split; files are opened when they are first read."""

  def __init__(self, paths: list[str], num_classes: int) -> None:
    """Opens the files' indices.

    Args:
      paths: In the order of the rows.
      num_classes: K; labels have to be in [0, K).
    """
    from array_record.python import array_record_data_source as source

    self._paths = paths
    self._num_classes = num_classes
    self._source = source.ArrayRecordDataSource(paths)

  def __len__(self) -> int:
    """How many records there are."""
    return len(self._source)

  def __getitem__(self, row: int, /) -> Encoded:
    """The example of a record.

    Raises:
      ValueError: The record is not as this module's docstring says.
    """
    where = f"record {row} of {pathlib.Path(self._paths[0]).parent}"
    try:
      record = msgspec.msgpack.decode(self._source[row], type=_Record)
    except msgspec.MsgspecError as error:
      raise ValueError(
        f"{where} is no example ({error}): write it by"
        " hwnas_jax.data.array_records.write."
      ) from error
    if not 0 <= record.label < self._num_classes:
      raise ValueError(
        f"{where} has the label {record.label}, but there are"
        f" {self._num_classes} classes in {_INDEX}: write it again."
      )
    return Encoded(record.image, record.label, where)


def write(
  path: pathlib.Path,
  class_names: Iterable[str],
  splits: Mapping[str, Iterable[tuple[bytes, int]]],
  per_file: int = PER_FILE,
) -> None:
  """Writes a data set; what was in the folder of these names is replaced.

  Args:
    path: The folder, made where it is missing.
    class_names: In the order of the labels.
    splits: Of `train` and `test`: (a PNG or JPEG file, its label) of each
      example, read one after the other.
    per_file: Records a file.
  """
  path.mkdir(parents=True, exist_ok=True)
  for old in (path / _INDEX, *path.glob(f"*{_SUFFIX}")):
    old.unlink(missing_ok=True)
  counts = {
    split: _write_split(path, split, examples, per_file)
    for split, examples in splits.items()
  }
  index = _Index(tuple(class_names), **counts)
  (path / _INDEX).write_bytes(msgspec.json.encode(index))


def _write_split(
  path: pathlib.Path,
  split: str,
  examples: Iterable[tuple[bytes, int]],
  per_file: int,
) -> int:
  count = -1
  with contextlib.ExitStack() as stack:
    for count, example in enumerate(examples):
      if count % per_file == 0:
        stack.close()
        file = path / f"{split}-{count // per_file:05d}{_SUFFIX}"
        writer = stack.enter_context(_writing(file))
      writer.write(msgspec.msgpack.encode(_Record(*example)))
  return count + 1


@contextlib.contextmanager
def _writing(file: pathlib.Path) -> Iterator:
  from array_record.python import array_record_module

  # One record a group: a record is read without its neighbours.
  writer = array_record_module.ArrayRecordWriter(str(file), "group_size:1")
  try:
    yield writer
  finally:
    writer.close()


def require(path: pathlib.Path) -> None:
  """Raises an error unless the folder has a finished data set.

  Raises:
    FileNotFoundError: There is none; the message says how to write it.
    ValueError: records.json is damaged.
  """
  _read_index(path)


def open_records(path: pathlib.Path) -> Opened:
  """Opens a data set that `write` made.

  Raises:
    FileNotFoundError, ValueError: See `require`; or files are missing.
  """
  index = _read_index(path)
  readers, sha = [], hashlib.sha256()
  for split in ("train", "test"):
    files = sorted(path.glob(f"{split}-*{_SUFFIX}"))
    for file in files:
      sha.update(f"{file.name} {file.stat().st_size}\n".encode())
    if not files:
      raise FileNotFoundError(f"{path} has no {split}-*{_SUFFIX}: restore it.")
    reader = RecordReader([str(f) for f in files], len(index.class_names))
    if len(reader) != getattr(index, split):
      raise ValueError(
        f"{path}: the {len(files)} files of {split} have {len(reader)} records,"
        f" {_INDEX} says {getattr(index, split)}: restore the missing ones, or"
        " write all again."
      )
    readers.append(reader)
  train, test = readers
  return Opened(train, test, index.class_names, None, sha.hexdigest())


def _read_index(path: pathlib.Path) -> _Index:
  try:
    return msgspec.json.decode(readers.read_bytes(path / _INDEX), type=_Index)
  except (FileNotFoundError, NotADirectoryError) as error:
    raise FileNotFoundError(
      f"{path} has no {_INDEX}: write a data set there by"
      " hwnas_jax.data.array_records.write."
    ) from error
  except msgspec.MsgspecError as error:
    raise ValueError(
      f"{path / _INDEX} is damaged ({error}): write the data set again."
    ) from error
