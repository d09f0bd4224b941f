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
) -> LatencyTable:
  """Measures the sites that the table at `out` lacks, and finishes it.

  Args:
    space: the sites to measure.
    batch_size: images a call.
    out: the table's file: a new one, or a table of this device, batch size and
      quantity.
    repeats: samples of each site.
    meter: what to measure.

  Returns:
    The finished table; it may hold sites of other spaces too.

  Raises:
    ValueError: `out` is damaged, or of another device, batch size or quantity.
  """
  out = pathlib.Path(out)
  table = _start(out, batch_size, meter)
  sites = space.unique_sites()
  entries = {entry.site.key: entry for entry in table.entries}
  done = dict(entries)
  if table.finished and all(site.key in done for site in sites):
    return table
  with Progress(len(sites), "profile") as progress:

    def on_group(group: list[Entry], /) -> None:
      entries.update({entry.site.key: entry for entry in group})
      _save(out, table, entries, finished=False)
      progress.update(sum(site.key in entries for site in sites))

    timing.measure_sites(
      sites,
      batch_size,
      repeats=repeats,
      done=done,
      on_group=on_group,
      meter=meter,
    )
  return _save(out, table, entries, finished=True)


def _start(out: pathlib.Path, batch_size: int, meter: Meter) -> LatencyTable:
  """The table to go on with: the stored one, or an empty one."""
  new = tables.empty(batch_size, meter)
  if not out.exists():
    return new
  table = LatencyTable.read(out)
  if (table.fingerprint, table.batch_size) != (new.fingerprint, batch_size):
    raise ValueError(
      f"{out} was measured on {table.fingerprint} with batches of "
      f"{table.batch_size}, this is {new.fingerprint} with {batch_size}: give "
      "another --out, or delete the file to measure again"
    )
  if table.quantity != meter.quantity:
    raise ValueError(
      f"{out} has {table.quantity}, this measures {meter.quantity}: give "
      "another --out, or delete the file to measure again"
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
