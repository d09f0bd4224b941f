"""Turns what a plan's runner measured into a latency table.

timings.json, schema 1, is the runner's (costs/runner.py):

  schema        1
  runner        its version
  plan          digest of the plan.json that was measured
  device        what decides a latency there, as `io.versions` names devices
  repeats       samples of each model
  samples_ms    {entry: {file: raw samples in ms a run}}
  digest        SHA-256 of everything else
"""

import pathlib
from typing import Any, NamedTuple

import numpy as np

from hwnas_jax.core.types import Genotype
from hwnas_jax.costs.measure import plan, timing
from hwnas_jax.costs.table import LatencyTable
from hwnas_jax.io import fields, versions, writers
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.spec import Site, Spec

RUNNER = 1  # version of costs/runner.py, which is not imported: it wants more


class Fitted(NamedTuple):
  """A device's table, not calibrated, and the whole networks measured there.

  genotypes, measured_ms: of the plan's networks.
  """

  table: LatencyTable
  genotypes: list[Genotype]
  measured_ms: list[float]


def fit(folder: str | pathlib.Path, net: Spec) -> Fitted:
  """Makes a table of the plan and the timings in a folder.

  Args:
    folder: a plan's, with the timings.json of a device.
    net: the networks' space, which has to be the plan's.

  Raises:
    FileNotFoundError: a file is missing.
    ValueError: a file is damaged, unfinished, or of another plan or space;
      the message names the file and the field.
  """
  planned, space = plan.read(folder), net.space()
  if planned["space"] != plan.space_digest(space):
    raise ValueError(
      f"{folder}: field 'space' of plan.json is of {planned['spec']}, the "
      f"config's is {net!r}: give the config that the plan was made with"
    )
  timings = _read(pathlib.Path(folder).expanduser() / "timings.json", planned)
  samples = timings["samples_ms"]
  free = [site for site in space.unique_sites() if timing.is_free(site)]
  entries = [timing.entry_of(site, []) for site in free]  # not in a plan
  genotypes, measured_ms = [], []
  for row in planned["entries"]:
    found = samples[row["id"]]
    if row["kind"] == "site":
      entries.append(
        timing.entry_of(Site(**row["site"]), _slopes_ms(row, found))
      )
      continue
    (values,) = found.values()
    genotypes.append(architecture.from_json(space, row["architecture"]))
    measured_ms.append(float(np.median(values)))
  table = LatencyTable(
    device=timings["device"],
    fingerprint=versions.fingerprint_id(timings["device"]),
    versions={**planned["versions"], "runner": timings["runner"]},
    batch_size=planned["batch_size"],
    entries=tuple(sorted(entries, key=lambda entry: entry.site)),
    finished=True,
  )
  return Fitted(table, genotypes, measured_ms)


def _slopes_ms(row: dict[str, Any], found: dict[str, Any]) -> list[float]:
  """Time of one link by round: the longer chain less the shorter."""
  (short, a), (long, b) = sorted(row["onnx"].items(), key=lambda item: item[1])
  differences = np.subtract(found[long], found[short])
  return (differences / (b - a)).tolist()


def _read(path: pathlib.Path, planned: dict[str, Any]) -> dict[str, Any]:
  """timings.json, checked against its plan."""
  timings = writers.read_json(path)
  fields.check(f"{path}", timings, _HEAD)
  if timings["plan"] != planned["digest"]:
    raise ValueError(
      f"{path}: field 'plan' is {timings['plan']:.12}.., the plan beside it is "
      f"{planned['digest']:.12}..: they do not belong together"
    )
  fields.check(f"{path}: device", timings["device"], _DEVICE)
  samples, wanted = timings["samples_ms"], planned["entries"]
  missing = [row["id"] for row in wanted if row["id"] not in samples]
  if missing:
    raise ValueError(
      f"{path}: field 'samples_ms' lacks {len(missing)} of {len(wanted)} "
      f"entries, {missing[0]} first: run runner.py again, it goes on from there"
    )
  rule = _samples(timings["repeats"])
  for row in wanted:
    rules = dict.fromkeys(row["onnx"], rule)
    fields.check(
      f"{path}: samples_ms of {row['id']}", samples[row["id"]], rules
    )
  fields.check_digest(
    f"{path}",
    timings,
    "the file was changed after it was measured; copy it from the device again",
  )
  return timings


def _samples(repeats: int) -> fields.Rule:
  return (
    lambda v: (
      isinstance(v, list)
      and len(v) == repeats
      and all(fields.is_number(x) and x > 0 for x in v)
    ),
    f"{repeats} numbers above 0",
  )


_HEAD: dict[str, fields.Rule] = {
  "schema": fields.one_of(1),
  "runner": fields.one_of(RUNNER),
  "plan": fields.TEXT,
  "device": fields.OBJECT,
  "repeats": fields.COUNT,
  "samples_ms": fields.OBJECT,
  "digest": fields.TEXT,
}
_DEVICE: dict[str, fields.Rule] = {
  "platform": fields.TEXT,
  "device_kind": fields.TEXT,
  "platform_version": fields.TEXT,
  "cpu_model": fields.TEXT,
  "cpu_cores": fields.COUNT,
  "providers": fields.LIST,
}
