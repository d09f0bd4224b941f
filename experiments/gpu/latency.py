"""Stage b: the latency table of this device, by the project's own profiler.

What `python -m hwnas_jax.profile` calls, with its choice of networks; only
more programs are compiled at a time, and ten networks make a group. Tables go
to the results' folder, named after the device, and are gone on with.
"""

import concurrent.futures
import functools
import pathlib
import time
from collections.abc import Callable, Iterable
from typing import Any

import jax

import hwnas_jax as hw
from experiments.gpu.runner import Piece, Record, Save, say
from hwnas_jax.config import problem as problems
from hwnas_jax.costs.measure import networks, timing
from hwnas_jax.costs.measure.sites import profile_space
from hwnas_jax.io import records, versions
from hwnas_jax.spaces import architecture

WORKERS = 12


def _ahead(compiled: Callable[[Any], Any], things: Iterable[Any]) -> Any:
  """As core.compile.ahead, for a machine of many cores."""
  pool = concurrent.futures.ThreadPoolExecutor(WORKERS)
  try:
    yield from pool.map(compiled, things)
  finally:
    pool.shutdown(wait=False, cancel_futures=True)


def load_config(name: str, smoke: bool) -> Any:
  """The ConfigDict of a packaged config, or of its smoke."""
  return hw.load_config(f"{name}:smoke" if smoke else name)


def table_path(name: str, args: Any) -> pathlib.Path:
  """The table of a config on this device."""
  device = versions.fingerprint_id(versions.device_fingerprint())
  return args.out / f"table_{name}_{device}.json"


def profile(save: Save, name: str, args: Any) -> Record:
  """Sites, then networks; errors of the raw and the calibrated table."""
  if jax.default_backend() != "cpu":
    timing.ahead, networks.GROUP = _ahead, 10  # type: ignore[assignment]
  config = problems.resolve(load_config(name, args.smoke))
  net = problems.make_nets(config).derived
  out, clock = table_path(name, args), time.monotonic()
  batch, repeats = config.latency.batch_size, config.latency.repeats
  table = profile_space(net.space(), batch, out, repeats)
  record: Record = {
    "table": out.name,
    "sites": len(net.space().unique_sites()),
    "sites_s": round(time.monotonic() - clock, 2),
  }
  save(record)
  say(f"   {record}")
  clock = time.monotonic()
  rule, count = problems.rule_of(config), args.networks
  measured = networks.profile_chosen(
    net, table, out, rule, count + args.held_out, repeats
  )
  table = networks.calibrated(net, table, measured, count)
  table.save(out)
  assert table.calibration is not None
  errors = records.to_json(table.errors)
  record |= {
    "calibrated_on": count,
    "held_out": args.held_out,
    "errors": errors,
    "latencies_ms": measured.latencies_ms,
    "ids": [architecture.identity(net.space(), g) for g in measured.genotypes],
    "multipliers": table.calibration.multipliers,
    "networks_s": round(time.monotonic() - clock, 2),
  }
  say(f"   {errors}")
  return record


def pieces(name: str, expected_s: float, args: Any) -> list[Piece]:
  """The table of one config; the search takes that of nasbench201."""
  settings = {"networks": args.networks, "held_out": args.held_out}
  run = functools.partial(profile, name=name, args=args)
  return [Piece(name, expected_s, run, settings)]
