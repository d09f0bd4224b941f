"""Measures what a latency table lacks, entry by entry, and finishes it."""

import dataclasses
import pathlib

from hwnas_jax.costs import table as tables
from hwnas_jax.costs.measure import timing
from hwnas_jax.costs.table import Entry, LatencyTable
from hwnas_jax.io import versions
from hwnas_jax.io.progress import Progress
from hwnas_jax.spaces.spec import Space

REPEATS = 20


def profile_space(
  space: Space, batch_size: int, out: str | pathlib.Path, repeats: int = REPEATS
) -> LatencyTable:
  """Measures what the table at `out` lacks, and finishes it.

  Args:
    space: the sites to measure.
    batch_size: images a call.
    out: the table; a new one, or one of this device and batch size.
    repeats: samples of each site.

  Returns:
    The finished table; it may hold sites of other spaces too.

  Raises:
    ValueError: `out` is damaged, or of another device or batch size.
  """
  table = _start(pathlib.Path(out), batch_size)
  sites = space.unique_sites()
  done = {entry.site.key: entry for entry in table.entries}
  if table.finished and all(site.key in done for site in sites):
    return table
  entries = dict(done)
  with Progress(len(sites), "profile") as progress:

    def on_group(group: list[Entry]) -> None:
      entries.update({entry.site.key: entry for entry in group})
      _save(out, table, entries, finished=False)
      progress.update(sum(site.key in entries for site in sites))

    timing.measure_sites(
      sites, batch_size, repeats=repeats, done=done, on_group=on_group
    )
  return _save(out, table, entries, finished=True)


def _start(out: pathlib.Path, batch_size: int) -> LatencyTable:
  """The table to go on with: the stored one, or an empty one."""
  device = versions.device_fingerprint()
  name = versions.fingerprint_id(device)
  if not out.exists():
    return LatencyTable(
      device, name, versions.versions(), batch_size, (), False
    )
  table = tables.read(out)
  if (table.fingerprint, table.batch_size) != (name, batch_size):
    raise ValueError(
      f"{out} was measured on {table.fingerprint} with batches of "
      f"{table.batch_size}, this is {name} with {batch_size}: give another "
      "--out, or delete the file to measure again"
    )
  return dataclasses.replace(table, versions=versions.versions())


def _save(
  out: str | pathlib.Path,
  table: LatencyTable,
  entries: dict[str, Entry],
  *,
  finished: bool,
) -> LatencyTable:
  rows = tuple(sorted(entries.values(), key=lambda entry: entry.site))
  table = dataclasses.replace(table, entries=rows, finished=finished)
  tables.save(out, table)
  return table
