"""Latency tables: what each operation takes on one device, as JSON.

Schema 1, every field required:

  schema        1
  quantity      "latency"
  unit          "ms"
  device        what `io.versions.device_fingerprint` returned
  fingerprint   its name, `io.versions.fingerprint_id`
  versions      what `io.versions.versions` returned
  batch_size    images an entry's time is for
  dtype         "float32"
  layout        "NHWC"
  mode          "eval": inference, running BN statistics
  finished      false while it is being measured
  digest        SHA-256 of everything else
  entries       a list of
    kind          "op" (an edge of a cell) or "fixed" (stem, preprocess, ...)
    op, height, width, channels_in, channels_out, stride     the spaces.Site
    latency_ms    median of the samples; 0 and no samples for `none`
    spread_ms     their interquartile range
    samples_ms    raw samples, each the slope of a chain (costs.timing)

A slope can come out slightly below zero: entries keep it, prices do not.
"""

import collections
import dataclasses
import hashlib
import json
import math
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from hwnas_jax.io import writers
from hwnas_jax.spaces.spec import Site, Space

SCHEMA = 1
COMMAND = "python -m hwnas_jax.profile --config=... --out=..."
_SITE_FIELDS = tuple(field.name for field in dataclasses.fields(Site))


@dataclasses.dataclass(frozen=True)
class Entry:
  """One measured site: a median in ms, its spread and the raw samples."""

  site: Site
  kind: str
  latency_ms: float
  spread_ms: float
  samples_ms: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class LatencyTable:
  """Entries of one device at one batch size; the module has the fields."""

  device: dict[str, Any]
  fingerprint: str
  versions: dict[str, Any]
  batch_size: int
  entries: tuple[Entry, ...]
  finished: bool
  dtype: str = "float32"
  layout: str = "NHWC"
  mode: str = "eval"


def save(path: str | pathlib.Path, table: LatencyTable) -> None:
  """Writes a table: the old file or the new one, never half.

  Raises:
    ValueError: the table is not one that `read` would take.
  """
  fields = {f.name: getattr(table, f.name) for f in dataclasses.fields(table)}
  head = {"schema": SCHEMA, "quantity": "latency", "unit": "ms"}
  document = {**head, **fields, "entries": [_row(e) for e in table.entries]}
  document["digest"] = _digest(document)
  _check(path, document)
  writers.write_json(path, document)


def read(path: str | pathlib.Path) -> LatencyTable:
  """Reads a table, finished or not.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it is damaged, or not a table of this schema; the message
      names the file, the field and what was expected.
  """
  document = writers.read_json(path)
  _check(path, document)
  if document["digest"] != _digest(document):
    raise ValueError(
      f"{path}: field 'digest' does not match the contents: the file was "
      f"changed after it was measured; restore a copy or measure again with "
      f"`{COMMAND}`"
    )
  fields = {f.name: document[f.name] for f in dataclasses.fields(LatencyTable)}
  fields["entries"] = tuple(_entry(row) for row in document["entries"])
  return LatencyTable(**fields)


def load(path: str | pathlib.Path) -> LatencyTable:
  """Reads a finished table.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it is damaged (see `read`) or unfinished.
  """
  table = read(path)
  if not table.finished:
    raise ValueError(
      f"{path}: field 'finished' is false: it has {len(table.entries)} entries "
      f"of a measurement that was stopped; finish it with `{COMMAND}`"
    )
  return table


def costs(table: LatencyTable) -> dict[str, float]:
  """{site key: ms}, as measured: possibly a hair below zero."""
  return {entry.site.key: entry.latency_ms for entry in table.entries}


def require(table: LatencyTable, space: Space, batch_size: int) -> None:
  """Raises ValueError unless the table prices all of `space`.

  Args:
    table: the table.
    space: the space whose sites it has to hold.
    batch_size: the batch size that latencies are wanted for.
  """
  if table.batch_size != batch_size:
    raise ValueError(
      f"the latency table {table.fingerprint} is for batches of "
      f"{table.batch_size}, wanted {batch_size}: measure with `{COMMAND}`"
    )
  missing = sorted({s.key for s in space.unique_sites()} - costs(table).keys())
  if missing:
    more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
    raise ValueError(
      f"the latency table {table.fingerprint} (batch {table.batch_size}, "
      f"{table.dtype}) lacks {', '.join(missing[:5])}{more}: measure with "
      f"`{COMMAND}`"
    )


def price_array(table: LatencyTable, space: Space) -> np.ndarray:
  """The reference prices R: float32[E, O] in ms, >= 0, choices only."""
  return np.maximum(space.cost_array(costs(table)), 0.0)


def base_ms(table: LatencyTable, space: Space) -> float:
  """What every architecture pays: the fixed sites, in ms."""
  return space.base_cost(costs(table))


def _row(entry: Entry) -> dict[str, Any]:
  row = {**dataclasses.asdict(entry), **dataclasses.asdict(entry.site)}
  del row["site"]
  return {**row, "samples_ms": list(entry.samples_ms)}


def _entry(row: dict[str, Any]) -> Entry:
  site = Site(**{name: row[name] for name in _SITE_FIELDS})
  return Entry(
    site,
    row["kind"],
    row["latency_ms"],
    row["spread_ms"],
    tuple(row["samples_ms"]),
  )


def _digest(document: dict[str, Any]) -> str:
  rest = {name: v for name, v in document.items() if name != "digest"}
  return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _is_count(value: Any) -> bool:
  return type(value) is int and value > 0


def _is_number(value: Any) -> bool:
  return type(value) in (int, float) and math.isfinite(value)


_Rule = tuple[Callable[[Any], bool], str]
_TEXT: _Rule = (lambda v: isinstance(v, str) and v != "", "a text")
_OBJECT: _Rule = (lambda v: isinstance(v, dict), "an object")
_COUNT: _Rule = (_is_count, "an integer above 0")


def _one_of(*values: Any) -> _Rule:
  return (
    lambda v: any(v == w and type(v) is type(w) for w in values),
    " or ".join(map(json.dumps, values)),
  )


_HEAD: dict[str, _Rule] = {
  "schema": _one_of(SCHEMA),
  "quantity": _one_of("latency"),
  "unit": _one_of("ms"),
  "device": _OBJECT,
  "fingerprint": _TEXT,
  "versions": _OBJECT,
  "batch_size": _COUNT,
  "dtype": _one_of("float32"),
  "layout": _one_of("NHWC"),
  "mode": _one_of("eval"),
  "finished": _one_of(True, False),
  "digest": _TEXT,
  "entries": (lambda v: isinstance(v, list), "a list"),
}
_ROW: dict[str, _Rule] = {
  "kind": _one_of("op", "fixed"),
  "op": _TEXT,
  **dict.fromkeys(_SITE_FIELDS[1:], _COUNT),
  "latency_ms": (_is_number, "a finite number"),
  "spread_ms": (lambda v: _is_number(v) and v >= 0, "a number >= 0"),
  "samples_ms": (
    lambda v: isinstance(v, list) and all(map(_is_number, v)),
    "a list of finite numbers",
  ),
}


def _check(path: str | pathlib.Path, document: Any) -> None:
  _check_fields(f"{path}", document, _HEAD)
  for index, row in enumerate(document["entries"]):
    _check_fields(f"{path}: entry {index}", row, _ROW)
  keys = [_entry(row).site.key for row in document["entries"]]
  for key, times in collections.Counter(keys).items():
    if times > 1:
      raise ValueError(f"{path}: {times} entries for {key}, expected one")


def _check_fields(where: str, found: Any, rules: dict[str, _Rule]) -> None:
  if not isinstance(found, dict):
    raise ValueError(f"{where}: expected an object, found {found!r:.40}")
  for name, (holds, expected) in rules.items():
    if name not in found:
      raise ValueError(f"{where}: field {name!r} is missing")
    if not holds(found[name]):
      raise ValueError(
        f"{where}: field {name!r} is {found[name]!r:.40}, expected {expected}"
      )
