"""Writes the latency tables that `record.py` gives to every search.

python experiments/refactoring/tables.py

A table a batch size, with the sites of all configs' smokes of that size. The
times are made up: a formula of what is counted, so they are the same bytes on
every machine. Run it once; the files are kept, and `record.py` reads only them.
"""

import pathlib
import sys
import zlib

import hwnas_jax as hw
from hwnas_jax.config import problem
from hwnas_jax.costs import counts
from hwnas_jax.costs.measure.timing import entry_of
from hwnas_jax.io.records import Device

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))

import record  # noqa: E402


def made_up_ms(site, batch_size):
  """Multiply-accumulates, and a term of the operation's name."""
  if site.op == "none":
    return 0.0
  term = zlib.crc32(site.op.encode()) % 97
  macs = batch_size * counts.macs(site)
  return round(1e-3 + 1e-5 * term + 1e-6 * macs, 9)


def main():
  """Collects the sites by batch size and writes tables/batch_N.json."""
  sites = {}
  for spec in record.configs().values():
    config = problem.resolve(hw.load_config(str(record.ROOT / spec)))
    space = problem.make_nets(config).derived.space()
    sites.setdefault(config.latency.batch_size, set()).update(
      space.unique_sites()
    )
  for batch_size, group in sites.items():
    times = {site: made_up_ms(site, batch_size) for site in sorted(group)}
    table = hw.Table(
      device=Device(platform="none", device_kind="made up"),
      fingerprint="made-up",
      versions={},
      batch_size=batch_size,
      entries=tuple(entry_of(s, [ms] if ms else []) for s, ms in times.items()),
      finished=True,
    )
    out = HERE / "tables" / f"batch_{batch_size}.json"
    table.save(out)
    print(f"{out}: {len(times)} sites")


if __name__ == "__main__":
  main()
