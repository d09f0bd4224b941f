"""Measures the sites that a latency table lacks, and finishes it."""

import pathlib

import msgspec

from hwnas_jax.costs import table as tables
from hwnas_jax.costs.measure import timing
from hwnas_jax.costs.measure.meter import LATENCY, Meter
from hwnas_jax.costs.table import Entry, LatencyTable
from hwnas_jax.io import versions
from hwnas_jax.io.progress import Progress
from hwnas_jax.spaces.spec import Space

REPEATS = 20


def profile_space(
  space: Space,
  batch_size: int,
  out: str | pathlib.Path,
  repeats: int = REPEATS,
  meter: Meter = LATENCY,
  dtype: str = "float32",
) -> LatencyTable:
  """Measures the sites that the table at `out` lacks, and finishes it.

  Args:
    space: the sites to measure.
    batch_size: images a call.
    out: the table's file: a new one, or a table of this device, batch size,
      precision and quantity.
    repeats: samples of each site.
    meter: what to measure.
    dtype: what is computed in: float32 or bfloat16.

  Returns:
    The finished table; it may hold sites of other spaces too.

  Raises:
    ValueError: `out` is damaged, or of another device, batch size, precision or
      quantity.
  """
  out = pathlib.Path(out)
  table = _start(out, tables.empty(batch_size, meter, dtype))
  sites = space.unique_sites()
  entries = {entry.site.key: entry for entry in table.entries}
  todo = [site for site in sites if site.key not in entries]
  if table.finished and not todo:
    return table
  with Progress(len(sites), "profile") as progress:
    for group in timing.measure_sites(todo, batch_size, repeats, meter, dtype):
      entries.update({entry.site.key: entry for entry in group})
      _save(out, table, entries, finished=False)
      progress.update(sum(site.key in entries for site in sites))
  return _save(out, table, entries, finished=True)


def _start(out: pathlib.Path, new: LatencyTable) -> LatencyTable:
  """The table to go on with: the stored one, or the new one, which is empty."""
  if not out.exists():
    return new
  table = LatencyTable.read(out)
  remedy = "give another --out, or delete the file to measure again"
  if not tables.same_device(table, new):
    raise ValueError(
      f"{out} was measured on {table.fingerprint} in {table.dtype} with batches"
      f" of {table.batch_size}, this is {new.fingerprint} in {new.dtype} with"
      f" {new.batch_size}: {remedy}"
    )
  if table.quantity != new.quantity:
    raise ValueError(
      f"{out} has {table.quantity}, this measures {new.quantity}: {remedy}"
    )
  return msgspec.structs.replace(table, versions=dict(versions.versions()))


def _save(
  out: pathlib.Path,
  table: LatencyTable,
  entries: dict[str, Entry],
  *,
  finished: bool,
) -> LatencyTable:
  rows = tuple(sorted(entries.values(), key=lambda entry: entry.site))
  table = msgspec.structs.replace(table, entries=rows, finished=finished)
  table.save(out)
  return table
