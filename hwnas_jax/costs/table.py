"""Latency tables: the time of each operation on one device, as a JSON file.

Schema 2, every field required:

  schema        2
  quantity      "latency", or another of `costs.measure.meter.METERS`
  unit          of the quantity: "ms"
  device        `io.versions.device_fingerprint`
  fingerprint   its name, `io.versions.fingerprint_id`
  versions      `io.versions.versions` of the measurement
  batch_size    images a call
  dtype         "float32" or "bfloat16": what was computed in
  layout        "NHWC"
  mode          "eval": inference, running BN statistics
  finished      false while it is being measured
  digest        SHA-256 of everything else
  entries       a list of
    kind          "op" (at a choice) or "fixed" (stem, preprocessing, ...)
    op, height, width, channels_in, channels_out, stride     the spaces.Site
    program       its digest of a user's own operation; others have none
    latency_ms    median of the samples; 0 and no samples where nothing runs
    iqr_ms        their interquartile range
    samples_ms    raw samples, each the slope of a chain (costs.measure.chains)
  calibration   `costs.correct.calibration.Calibration`; null before whole
                networks were measured
  errors        `costs.correct.calibration.Errors`; null as long

Names that end in `_ms` are in the table's unit. A slope can come out slightly
below zero: entries keep it, prices do not. Schema 1, of hwnas_jax 0.1, called
`iqr_ms` `spread_ms`; it is still read.
"""

import collections
import html
import pathlib
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np

from hwnas_jax.core.precision import PRECISIONS
from hwnas_jax.core.types import Genotype
from hwnas_jax.costs.correct import calibration as calibrations
from hwnas_jax.costs.correct.calibration import BASE, Calibration, Errors
from hwnas_jax.costs.measure.meter import LATENCY, METERS, Meter
from hwnas_jax.io import document, versions
from hwnas_jax.io.document import Count, Finite, NotNegative, Text
from hwnas_jax.io.records import Device, Record
from hwnas_jax.spaces.spec import Site, Space, Spec

SCHEMA = 2
ABSURD = 1e12  # no sum of a table is as large: in ms it is 30 years
COMMAND = "python -m hwnas_jax.profile --config=... --out=..."


class SiteRecord(Record, frozen=True, kw_only=True, omit_defaults=True):
  """A `spaces.Site` in a file: the fields of its key."""

  op: Text
  height: Count
  width: Count
  channels_in: Count
  channels_out: Count
  stride: Count
  program: Text = ""

  @property
  def site(self) -> Site:
    """The site; a user's own operation has no modules here."""
    return Site(**{name: getattr(self, name) for name in _SITE_FIELDS})


_SITE_FIELDS = SiteRecord.__struct_fields__


def site_fields(site: Site) -> dict[str, Any]:
  """The fields of a SiteRecord, or of an Entry, of a site."""
  return {name: getattr(site, name) for name in _SITE_FIELDS}


class Entry(SiteRecord, frozen=True, kw_only=True, omit_defaults=True):
  """One measured site; the module's docstring has the fields."""

  kind: Annotated[str, document.one_of("op", "fixed")]
  latency_ms: Finite
  iqr_ms: NotNegative
  samples_ms: tuple[Finite, ...]


class LatencyTable(Record, frozen=True):
  """Entries of one device at one batch size; the module has the fields.

  `msgspec.structs.replace(table, finished=True)` makes a changed copy.

  >>> table = hw.Table.load("runs/digits/table.json")
  >>> table.quantity, table.unit
  ('latency', 'ms')
  """

  device: Device
  fingerprint: Text
  versions: dict[str, str | int | None]
  batch_size: Count
  entries: tuple[Entry, ...]
  finished: bool
  dtype: Annotated[str, document.one_of(*PRECISIONS)] = "float32"
  layout: Annotated[str, document.one_of("NHWC")] = "NHWC"
  mode: Annotated[str, document.one_of("eval")] = "eval"
  calibration: Calibration | None = None
  errors: Errors | None = None
  quantity: Text = LATENCY.quantity
  unit: Text = LATENCY.unit
  schema: Annotated[int, document.exactly(SCHEMA)] = SCHEMA

  def __post_init__(self) -> None:
    meter = METERS.get(self.quantity)
    if meter is None:
      raise ValueError(
        f"field `quantity` is {self.quantity!r}, expected one of"
        f" {', '.join(METERS)}: register its meter in METERS"
      )
    if self.unit != meter.unit:
      raise ValueError(f"field `unit` is {self.unit!r}, expected {meter.unit}")
    keys = [entry.site.key for entry in self.entries]
    for key, times in collections.Counter(keys).items():
      if times > 1:
        raise ValueError(f"{times} entries for {key}, expected one")

  @classmethod
  def load(cls, path: str | pathlib.Path) -> "LatencyTable":
    """Reads a finished table.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is damaged (see `read`) or unfinished.
    """
    table = cls.read(path)
    if not table.finished:
      raise ValueError(
        f"{path}: field `finished` is false: it has {len(table.entries)}"
        f" entries of a measurement that was stopped; finish it with"
        f" `{COMMAND}`"
      )
    return table

  @classmethod
  def read(cls, path: str | pathlib.Path) -> "LatencyTable":
    """Reads a table, finished or not.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is damaged, or not a table; the message names the file,
        the field and what was expected.
    """
    remedy = f"restore a copy or measure again with `{COMMAND}`"
    return document.read(path, cls, remedy, _upgrade)

  def save(self, path: str | pathlib.Path) -> None:
    """Writes the table: the old file or the new one, never half.

    Raises:
      ValueError: `read` would refuse it.
    """
    document.write(path, self)

  def __repr__(self) -> str:
    """The device and the number of entries; the entries would fill pages."""
    return (
      f"LatencyTable({self.quantity} in {self.unit} of {self.fingerprint},"
      f" batch {self.batch_size}, {len(self.entries)} entries)"
    )

  def _repr_html_(self) -> str:
    """What a notebook shows: the slowest entries, and the errors."""
    slowest = sorted(self.entries, key=lambda e: -e.latency_ms)[:8]
    entries = [
      (entry.site.key, f"{entry.latency_ms:.4g}", f"{entry.iqr_ms:.2g}")
      for entry in slowest
    ]
    heads = ("slowest entries", f"median, {self.unit}", "interquartile range")
    title = (
      f"{self.quantity} table of {self.fingerprint}, batch {self.batch_size},"
      f" {len(self.entries)} entries"
    )
    tables = _table_html(title, [heads, *entries])
    if self.errors is not None:
      errors = [
        ("prediction", "median error"),
        ("raw", f"{self.errors.raw.median_absolute_error:.1%}"),
        ("calibrated", f"{self.errors.calibrated.median_absolute_error:.1%}"),
      ]
      tables += _table_html(f"on {self.errors.measured_on}", errors)
    return tables

  def digest(self) -> str:
    """SHA-256 of the contents, as in the table's file."""
    return document.digest(document.checked(self.fingerprint, self))


def _table_html(title: str, rows: Sequence[Sequence[str]]) -> str:
  cells = (
    "".join(f"<td>{html.escape(text)}</td>" for text in row) for row in rows
  )
  lines = "".join(f"<tr>{row}</tr>" for row in cells)
  return f"<table><caption>{html.escape(title)}</caption>{lines}</table>"


def _upgrade(contents: dict[str, Any]) -> dict[str, Any]:
  """Contents of schema 1 in schema 2."""
  if contents.get("schema") is True or contents.get("schema") != 1:
    return contents
  rows = contents.get("entries")
  if isinstance(rows, list):
    rows = [_renamed(row) if isinstance(row, dict) else row for row in rows]
    contents = {**contents, "entries": rows}
  return {"calibration": None, "errors": None, **contents, "schema": SCHEMA}


def _renamed(row: dict[str, Any]) -> dict[str, Any]:
  return {"iqr_ms" if n == "spread_ms" else n: v for n, v in row.items()}


def same_device(first: LatencyTable, second: LatencyTable) -> bool:
  """Whether latencies of both are of one device, batch size and precision."""
  return (first.fingerprint, first.batch_size, first.dtype) == (
    second.fingerprint,
    second.batch_size,
    second.dtype,
  )


def empty(
  batch_size: int, meter: Meter = LATENCY, dtype: str = "float32"
) -> LatencyTable:
  """A table of this device with nothing measured yet."""
  made_with = versions.made_with()
  return LatencyTable(
    made_with.device,
    made_with.fingerprint,
    dict(made_with.versions),
    batch_size,
    (),
    False,
    dtype=dtype,
    quantity=meter.quantity,
    unit=meter.unit,
  )


def raw_costs(table: LatencyTable) -> dict[str, float]:
  """{site key: ms} as measured, without calibration; may be just below zero."""
  return {entry.site.key: entry.latency_ms for entry in table.entries}


def costs(table: LatencyTable) -> dict[str, float]:
  """{site key: ms}, calibrated if the table has a calibration.

  A calibrated table has no cost for an operation that its calibration lacks:
  the entries of another space that the file may hold too.
  """
  if not table.calibration:
    return raw_costs(table)
  multipliers = table.calibration.multipliers
  names = {
    e.site.key: BASE if e.kind == "fixed" and e.op not in multipliers else e.op
    for e in table.entries
  }
  return {
    key: ms * multipliers[names[key]]
    for key, ms in raw_costs(table).items()
    if names[key] in multipliers
  }


def predict_ms(table: LatencyTable, net: Spec, genotype: Genotype) -> float:
  """The latency of an architecture by the table, in ms.

  It is calibrated if the table has a calibration. Without one it is the sum of
  the operations that reach the output.

  Raises:
    KeyError: a site has no cost; the message is its key.
  """
  liveness = table.calibration.liveness if table.calibration else "live"
  parts = calibrations.features(net, costs(table), genotype, liveness)
  return float(parts.sum())


def require(
  table: LatencyTable,
  space: Space,
  batch_size: int,
  quantity: str = LATENCY.quantity,
  dtype: str = "float32",
) -> None:
  """Raises ValueError unless the table prices all of `space`.

  Args:
    table: the table.
    space: the space whose sites the table must have.
    batch_size: images a call that the table must be of.
    quantity: the name in METERS that the table must have.
    dtype: what it must have been computed in.
  """
  name = f"the {table.quantity} table {table.fingerprint}"
  if table.quantity != quantity:
    raise ValueError(
      f"{name} has no {quantity}: give a table of {quantity}, or measure one"
      f" with `{COMMAND}`"
    )
  if table.dtype != dtype:
    raise ValueError(
      f"{name} is of {table.dtype}, not {dtype}: set config.precision to"
      f" {table.dtype}, or measure with `{COMMAND}`"
    )
  if table.batch_size != batch_size:
    raise ValueError(
      f"{name} is for batches of {table.batch_size}, not {batch_size}:"
      f" measure with `{COMMAND}`"
    )
  if table.calibration:
    lacks = sorted(set(space.ops) - table.calibration.multipliers.keys())
    if lacks:
      raise ValueError(
        f"{name} is calibrated for another space, without"
        f" {', '.join(lacks)}: measure with `{COMMAND}`"
      )
  keys = {site.key for site in space.unique_sites()}
  missing = sorted(keys - raw_costs(table).keys())
  if missing:
    rest = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
    raise ValueError(
      f"{name} (batch {table.batch_size}, {table.dtype}) lacks"
      f" {', '.join(missing[:5])}{rest}: measure with `{COMMAND}`"
    )
  _require_possible(table, space, name)
  for op in space.ops:
    timed = [e for e in table.entries if e.op == op and e.samples_ms]
    if timed and all(entry.latency_ms <= 0 for entry in timed):
      raise ValueError(
        f"{name} has no entry of {op} above 0 {table.unit}: the device was too"
        f" busy; measure again with `{COMMAND}`"
      )


def _require_possible(table: LatencyTable, space: Space, name: str) -> None:
  """Raises ValueError where an architecture would take no time, or less.

  A slope may come out below zero by noise, which the base outweighs.
  """
  limited = {k: min(max(ms, -ABSURD), ABSURD) for k, ms in costs(table).items()}
  prices, base = space.cost_array(limited), space.base_cost(limited)
  prices = np.where(space.allowed(), prices, np.inf)
  least = base + np.minimum(prices.min(1), 0.0).sum()
  most = base + np.where(np.isfinite(prices), prices, 0.0).max(1).sum()
  if least >= 0 and 0 < most < ABSURD:
    return
  pick = max if most >= ABSURD else min
  index, worst = pick(enumerate(table.entries), key=lambda e: e[1].latency_ms)
  factors = table.calibration.multipliers if table.calibration else {}
  negative = [
    f"{n} is {factor:.4g}" for n, factor in factors.items() if factor < 0
  ]
  raise ValueError(
    f"{name} gives architectures of {least:.4g} to {most:.4g} {table.unit}:"
    f" field `entries[{index}].latency_ms` of {worst.site.key} is"
    f" {worst.latency_ms:.4g}"
    + "".join(f", `calibration.multipliers` of {text}" for text in negative[:1])
    + f": measure with `{COMMAND}`"
  )


def timed_entries(table: LatencyTable, space: Space) -> list[Entry]:
  """The table's entries of a space that were timed, slowest first."""
  keys = {site.key for site in space.unique_sites()}
  timed = [e for e in table.entries if e.site.key in keys and e.samples_ms]
  return sorted(timed, key=lambda entry: -entry.latency_ms)


def price_array(table: LatencyTable, space: Space) -> np.ndarray:
  """The reference prices: float32[E, O] in ms, >= 0, choices only."""
  return np.maximum(space.cost_array(costs(table)), 0.0)


def base_ms(table: LatencyTable, space: Space) -> float:
  """The base: the latency of the fixed sites, which every architecture has."""
  return space.base_cost(costs(table))
