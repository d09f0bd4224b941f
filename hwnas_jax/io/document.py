"""JSON files with a digest of their contents, and the types of their fields.

A latency table, the measurements beside it, a plan and its timings are such
files. Each is a record (`io.records`) of which every field has to be there, and
a field `digest` that shows whether the file was changed by hand.
"""

import pathlib
from collections.abc import Mapping
from typing import Annotated, Any, Protocol, TypeVar

import msgspec
from msgspec import Meta

from hwnas_jax.io import paths, readers, records, writers

Text = Annotated[str, Meta(min_length=1)]
Count = Annotated[int, Meta(ge=1)]
# msgspec's limits have to be finite; they refuse NaN and infinity too.
Finite = Annotated[float, Meta(ge=-1e300, le=1e300)]
NotNegative = Annotated[float, Meta(ge=0, le=1e300)]
Positive = Annotated[float, Meta(gt=0, le=1e300)]
Fraction = Annotated[float, Meta(gt=0, lt=1)]

_R = TypeVar("_R", bound=msgspec.Struct)


class Upgrade(Protocol):
  """Converts parsed JSON of an older schema to the newest."""

  def __call__(self, contents: dict[str, Any], /) -> dict[str, Any]:
    """Returns the contents as the newest schema has them.

    Args:
      contents: the whole object, without its digest; not checked yet.
    """


def one_of(*words: str) -> Meta:
  """The constraint of a text that has to be one of the words."""
  return Meta(pattern=f"^({'|'.join(words)})$")


def exactly(number: int) -> Meta:
  """The constraint of an integer that has one legal value, as a schema's."""
  return Meta(ge=number, le=number)


def digest(contents: Mapping[str, Any]) -> str:
  """SHA-256 of a JSON object without its field `digest`."""
  return records.seal(contents, "digest")


def checked(where: str, record: _R) -> dict[str, Any]:
  """A record as JSON types, as it would be read back.

  Raises:
    ValueError: `read` would refuse it; the message has `where` and the field.
  """
  contents = records.to_json(record)
  return records.to_json(records.from_json(where, contents, type(record)))


def write(path: str | pathlib.Path, record: msgspec.Struct) -> None:
  """Writes a record and its digest: the old file or the new one, never half.

  Raises:
    ValueError: `read` would refuse it.
  """
  contents = checked(f"{path}", record)
  writers.write_json(
    paths.expand(path), {**contents, "digest": digest(contents)}
  )


def read(
  path: str | pathlib.Path,
  kind: type[_R],
  remedy: str,
  upgrade: Upgrade = lambda contents: contents,
) -> _R:
  """Reads what `write` wrote.

  Args:
    path: the file.
    kind: the record's class.
    remedy: what to do about a damaged file; ends the error's message.
    upgrade: applied to what an older version wrote.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it is not JSON; or a field is missing, unknown, of another type
      or out of range; or the digest is not that of the contents. The message
      names the file, the field's place (`$.entries[3].latency_ms`), what was
      expected, and the remedy.
  """
  stored = readers.read_json(paths.expand(path))
  try:
    record = _record(stored, kind, upgrade)
  except ValueError as error:
    raise ValueError(f"{path}: {error}: {remedy}") from error
  return record


def _record(stored: Any, kind: type[_R], upgrade: Upgrade) -> _R:
  if not isinstance(stored, dict):
    raise ValueError(f"expected an object, got {stored!r:.40}")
  contents = upgrade({n: v for n, v in stored.items() if n != "digest"})
  present = {"digest"} & stored.keys() | contents.keys()
  for name in (*kind.__struct_encode_fields__, "digest"):
    if name not in present:
      raise ValueError(f"field `{name}` is missing")
  record = msgspec.convert(contents, kind)
  if stored["digest"] != digest(stored):
    raise ValueError(
      "field `digest` does not match the contents, so the file was changed"
      " after it was written"
    )
  return record
