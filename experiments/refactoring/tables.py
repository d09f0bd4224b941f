"""Writes the latency tables that `record.py` gives to every search.

python experiments/refactoring/tables.py

A table a batch size, with the sites of all configs' smokes of that size. The
times are made up: a formula of what is counted, so they are the same bytes on
every machine. Run once; the files are kept, and `record.py` reads them alone.
"""

import pathlib
import sys
import zlib

from hwnas_jax import build, config
from hwnas_jax.costs import analytic, table, timing

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))

import record  # noqa: E402


def made_up_ms(site, batch_size):
  """Multiply-accumulates, and a term of the operation's name."""
  if site.op == "none":
    return 0.0
  term = zlib.crc32(site.op.encode()) % 97
  macs = batch_size * analytic.macs(site)
  return round(1e-3 + 1e-5 * term + 1e-6 * macs, 9)


def main():
  """Collects the sites by batch size and writes tables/batch_N.json."""
  sites = {}
  for spec in record.configs().values():
    found = config.load(str(record.ROOT / spec))
    space = build.make_nets(found)[1].space()
    sites.setdefault(found.latency.batch_size, set()).update(
      space.unique_sites()
    )
  for batch_size, group in sites.items():
    entries = []
    for site in sorted(group):
      ms = made_up_ms(site, batch_size)
      kind = "fixed" if timing.is_fixed(site) else "op"
      samples = (ms,) if ms else ()
      entries.append(table.Entry(site, kind, ms, 0.0, samples))
    made = table.LatencyTable(
      {"note": "made up"}, "made-up", {}, batch_size, tuple(entries), True
    )
    out = HERE / "tables" / f"batch_{batch_size}.json"
    table.save(out, made)
    print(f"{out}: {len(entries)} sites")


if __name__ == "__main__":
  main()
