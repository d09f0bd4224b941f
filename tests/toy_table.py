"""A latency table of a small space, and a calibrated one."""

import numpy as np
from msgspec.structs import replace

from hwnas_jax.costs import table as tables
from hwnas_jax.costs.correct import calibration
from hwnas_jax.costs.measured import Measured
from hwnas_jax.costs.table import Entry, LatencyTable
from hwnas_jax.io.records import Device
from hwnas_jax.spaces import darts
from hwnas_jax.spaces.rules import RULES

NET = darts.Darts(
  ("none", "skip_connect", "sep_conv_3x3"), 3, 2, 4, (8, 8, 1), 3
)
SPACE = darts.make_space(NET)
FIXED = {site.key for site in SPACE.fixed}
TRUTH = {"base": 1.5, "none": 1.0, "skip_connect": 0.8, "sep_conv_3x3": 1.3}


def make_entry(index: int, site) -> Entry:
  kind = "fixed" if site.key in FIXED else "op"
  samples = () if site.op == "none" else (0.5 * index, index, 2.0 * index)
  latency_ms = 0.0 if site.op == "none" else float(index)
  return Entry(
    kind=kind,
    latency_ms=latency_ms,
    iqr_ms=0.75 * index,
    samples_ms=samples,
    **tables.site_fields(site),
  )


def make() -> LatencyTable:
  sites = SPACE.unique_sites()
  return LatencyTable(
    device=Device(platform="cpu", device_kind="cpu", cpu_cores=2),
    fingerprint="cpu-test-2core-12345678",
    versions={"jax": "0.10.2"},
    batch_size=16,
    entries=tuple(make_entry(i + 1, site) for i, site in enumerate(sites)),
    finished=True,
  )


def calibrate(table: LatencyTable) -> LatencyTable:
  """The table, calibrated on exact measurements of known multipliers."""
  rng = np.random.default_rng(0)
  raw = tables.raw_costs(table)
  networks = calibration.choose(NET, raw, RULES["argmax"], rng, 8)
  measured = [
    calibration.features(NET, raw, g, "live") @ list(TRUTH.values())
    for g in networks
  ]
  fitted = calibration.calibrate(NET, raw, Measured(networks, measured))
  errors = calibration.errors(fitted)
  return replace(table, calibration=fitted, errors=errors)
