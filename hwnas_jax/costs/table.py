"""Latency tables: what each operation takes on one device, as JSON.

Schema 1, these fields required:

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
    program       its digest of a user's own operation; others have none
    latency_ms    median of the samples; 0 and no samples for `none`
    spread_ms     their interquartile range
    samples_ms    raw samples, each the slope of a chain (costs.timing)

and one that a table of a device has once whole networks were measured too:

  calibration   what `costs.calibration.to_json` returned

A slope can come out slightly below zero: entries keep it, prices do not.
"""

import collections
import dataclasses
import pathlib
from typing import Any

import numpy as np

from hwnas_jax.core.types import Genotype
from hwnas_jax.costs.correct import calibration as calibrations
from hwnas_jax.costs.correct.calibration import BASE, Calibration
from hwnas_jax.io import fields, writers
from hwnas_jax.spaces.spec import SHAPE_FIELDS, Site, Space, Spec

SCHEMA = 1
COMMAND = "python -m hwnas_jax.profile --config=... --out=..."


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
  calibration: Calibration | None = None


def save(path: str | pathlib.Path, table: LatencyTable) -> None:
  """Writes a table: the old file or the new one, never half.

  Raises:
    ValueError: the table is not one that `read` would take.
  """
  document = _document(table)
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
  fields.check_digest(
    f"{path}",
    document,
    "the file was changed after it was measured; restore a copy or measure "
    f"again with `{COMMAND}`",
  )
  names = {f.name for f in dataclasses.fields(LatencyTable)}
  found = {name: v for name, v in document.items() if name in names}
  found["entries"] = tuple(_entry(row) for row in document["entries"])
  if "calibration" in document:
    found["calibration"] = _calibration(path, document)
  return LatencyTable(**found)


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


def raw_costs(table: LatencyTable) -> dict[str, float]:
  """{site key: ms}, as measured alone: possibly a hair below zero."""
  return {entry.site.key: entry.latency_ms for entry in table.entries}


def costs(table: LatencyTable) -> dict[str, float]:
  """{site key: ms}: calibrated, where the table is.

  A calibrated table has no cost for an operation that its calibration does not
  know: the entries of another space that the file may hold too.
  """
  if not table.calibration:
    return raw_costs(table)
  multipliers = table.calibration.multipliers
  names = {
    e.site.key: BASE
    if e.kind == "fixed" and e.site.op not in multipliers
    else e.site.op
    for e in table.entries
  }
  return {
    key: ms * multipliers[names[key]]
    for key, ms in raw_costs(table).items()
    if names[key] in multipliers
  }


def predict_ms(table: LatencyTable, net: Spec, genotype: Genotype) -> float:
  """What an architecture takes by the table, calibrated where it is.

  Without a calibration what runs is what reaches the output.

  Raises:
    KeyError: a site has no cost; the message is its key.
  """
  liveness = table.calibration.liveness if table.calibration else "live"
  parts = calibrations.features(net, costs(table), genotype, liveness)
  return float(parts.sum())


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
  if table.calibration:
    lacks = sorted(set(space.ops) - table.calibration.multipliers.keys())
    if lacks:
      raise ValueError(
        f"the latency table {table.fingerprint} is calibrated for another "
        f"space, without {', '.join(lacks)}: measure with `{COMMAND}`"
      )
  keys = {site.key for site in space.unique_sites()}
  missing = sorted(keys - raw_costs(table).keys())
  if missing:
    more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
    raise ValueError(
      f"the latency table {table.fingerprint} (batch {table.batch_size}, "
      f"{table.dtype}) lacks {', '.join(missing[:5])}{more}: measure with "
      f"`{COMMAND}`"
    )
  for op in space.ops:
    timed = [e for e in table.entries if e.site.op == op and e.samples_ms]
    if timed and all(entry.latency_ms <= 0 for entry in timed):
      raise ValueError(
        f"the latency table {table.fingerprint} has no entry of {op} above "
        f"0 ms: the device was too busy; measure again with `{COMMAND}`"
      )


def price_array(table: LatencyTable, space: Space) -> np.ndarray:
  """The reference prices R: float32[E, O] in ms, >= 0, choices only."""
  return np.maximum(space.cost_array(costs(table)), 0.0)


def base_ms(table: LatencyTable, space: Space) -> float:
  """What every architecture pays: the fixed sites, in ms."""
  return space.base_cost(costs(table))


def _row(entry: Entry) -> dict[str, Any]:
  return {
    "kind": entry.kind,
    "latency_ms": entry.latency_ms,
    "spread_ms": entry.spread_ms,
    "samples_ms": list(entry.samples_ms),
    **entry.site.to_json(),
  }


def _entry(row: dict[str, Any]) -> Entry:
  site = Site(
    **{name: row[name] for name in SHAPE_FIELDS}, program=row.get("program", "")
  )
  return Entry(
    site,
    row["kind"],
    row["latency_ms"],
    row["spread_ms"],
    tuple(row["samples_ms"]),
  )


def digest(table: LatencyTable) -> str:
  """SHA-256 of the table's contents, as in its file."""
  return _document(table)["digest"]


def _document(table: LatencyTable) -> dict[str, Any]:
  found = {f.name: getattr(table, f.name) for f in dataclasses.fields(table)}
  head = {"schema": SCHEMA, "quantity": "latency", "unit": "ms"}
  document = {**head, **found, "entries": [_row(e) for e in table.entries]}
  del document["calibration"]
  if table.calibration:
    document["calibration"] = calibrations.to_json(table.calibration)
  document["digest"] = fields.digest(document)
  return document


_HEAD: dict[str, fields.Rule] = {
  "schema": fields.one_of(SCHEMA),
  "quantity": fields.one_of("latency"),
  "unit": fields.one_of("ms"),
  "device": fields.OBJECT,
  "fingerprint": fields.TEXT,
  "versions": fields.OBJECT,
  "batch_size": fields.COUNT,
  "dtype": fields.one_of("float32"),
  "layout": fields.one_of("NHWC"),
  "mode": fields.one_of("eval"),
  "finished": fields.one_of(True, False),
  "digest": fields.TEXT,
  "entries": fields.LIST,
}
_ROW: dict[str, fields.Rule] = {
  "kind": fields.one_of("op", "fixed"),
  "op": fields.TEXT,
  **dict.fromkeys(SHAPE_FIELDS[1:], fields.COUNT),
  "latency_ms": fields.NUMBER,
  "spread_ms": fields.NOT_NEGATIVE,
  "samples_ms": fields.NUMBERS,
}


def _check(path: str | pathlib.Path, document: Any) -> None:
  fields.check(f"{path}", document, _HEAD)
  for index, row in enumerate(document["entries"]):
    rules = _ROW | ({"program": fields.TEXT} if "program" in row else {})
    fields.check(f"{path}: entry {index}", row, rules)
  if "calibration" in document:
    _calibration(path, document)
  keys = [_entry(row).site.key for row in document["entries"]]
  for key, times in collections.Counter(keys).items():
    if times > 1:
      raise ValueError(f"{path}: {times} entries for {key}, expected one")


def _calibration(
  path: str | pathlib.Path, document: dict[str, Any]
) -> Calibration:
  return calibrations.from_json(f"{path}: calibration", document["calibration"])
