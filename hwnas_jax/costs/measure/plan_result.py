"""Makes a latency table of the timings that a plan's runner measured."""

import pathlib
from typing import Annotated, NamedTuple

import msgspec
import numpy as np

from hwnas_jax.costs.measure import plan, timing
from hwnas_jax.costs.measure.chains import kind_of
from hwnas_jax.costs.measure.plan import Plan, PlanSite
from hwnas_jax.costs.measured import Measured
from hwnas_jax.costs.table import LatencyTable
from hwnas_jax.io import document, paths, versions
from hwnas_jax.io.document import Count, Positive, Text
from hwnas_jax.io.records import Device, Record
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.spec import Spec

SCHEMA = 1
RUNNER = 1  # version of runner.py, which is not imported: it needs onnxruntime

# {file: raw samples in ms a run}
Samples = dict[str, tuple[Positive, ...]]


class RunnerDevice(Record, frozen=True, kw_only=True):
  """The device as the runner describes it; see `records.Device`."""

  platform: Text
  device_kind: Text
  platform_version: Text
  cpu_model: Text
  cpu_cores: Count
  system: Text
  providers: Annotated[tuple[Text, ...], msgspec.Meta(min_length=1)]
  threads: int

  @property
  def device(self) -> Device:
    """The device, as a table has it."""
    return Device(**msgspec.structs.asdict(self))


class Timings(Record, frozen=True, kw_only=True):
  """timings.json, which also has the field `digest`.

  runner: its version.
  plan: digest of the plan.json that was measured.
  repeats: samples of each model.
  samples_ms: by the id of an entry.
  """

  schema: Annotated[int, document.exactly(SCHEMA)]
  runner: Annotated[int, document.exactly(RUNNER)]
  plan: Text
  device: RunnerDevice
  repeats: Count
  samples_ms: dict[str, Samples]


class Fitted(NamedTuple):
  """A device's table, not calibrated, and the networks measured there."""

  table: LatencyTable
  measured: Measured


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
  if planned.space != plan.space_digest(space):
    raise ValueError(
      f"{folder}: field `space` of plan.json is of {planned.spec}, the "
      f"config's is {net!r}: give the config that the plan was made with"
    )
  timings = _read(paths.expand(folder) / "timings.json", planned)
  sites = {site.key: site for site in space.unique_sites()}
  free = [site for site in sites.values() if kind_of(site) == "free"]
  entries = [timing.entry_of(site, []) for site in free]  # not in a plan
  genotypes, latencies_ms = [], []
  for entry in planned.entries:
    samples = timings.samples_ms[entry.id]
    if isinstance(entry, PlanSite):
      site = sites[entry.site.site.key]
      entries.append(timing.entry_of(site, _slopes_ms(entry, samples)))
      continue
    (values_ms,) = samples.values()
    genotypes.append(architecture.from_json(space, entry.architecture))
    latencies_ms.append(float(np.median(values_ms)))
  device = timings.device.device
  table = LatencyTable(
    device=device,
    fingerprint=versions.fingerprint_id(device),
    versions={**planned.versions, "runner": timings.runner},
    batch_size=planned.batch_size,
    entries=tuple(sorted(entries, key=lambda entry: entry.site)),
    finished=True,
  )
  return Fitted(table, Measured(genotypes, latencies_ms))


def _slopes_ms(entry: PlanSite, samples: Samples) -> list[float]:
  """Time of one link in each round: the slope over the two chains."""
  (short, a), (long, b) = sorted(entry.onnx.items(), key=lambda item: item[1])
  differences = np.subtract(samples[long], samples[short])
  return (differences / (b - a)).tolist()


def _read(path: pathlib.Path, planned: Plan) -> Timings:
  """timings.json, compared with its plan."""
  timings = document.read(path, Timings, "copy it from the device again")
  if timings.plan != planned.digest:
    raise ValueError(
      f"{path}: field `plan` is {timings.plan:.12}.., the plan beside it is "
      f"{planned.digest:.12}..: they do not belong together"
    )
  samples, entries = timings.samples_ms, planned.entries
  missing = [entry.id for entry in entries if entry.id not in samples]
  if missing:
    raise ValueError(
      f"{path}: field `samples_ms` lacks {len(missing)} of {len(entries)} "
      f"entries, {missing[0]} first: run runner.py again, it goes on from there"
    )
  for entry in entries:
    for file in entry.onnx:
      count = len(samples[entry.id].get(file, ()))
      if count != timings.repeats:
        raise ValueError(
          f"{path}: field `samples_ms` of {entry.id} has {count} of {file},"
          f" expected {timings.repeats}: copy it from the device again"
        )
  return timings
