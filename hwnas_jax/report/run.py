"""A finished run folder, read into one value for the report."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

from hwnas_jax.io import readers
from hwnas_jax.io.records import (
  ComfortZone,
  Device,
  Family,
  MadeWith,
  Settings,
)
from hwnas_jax.io.run_folder import RunFolder

# A line of a metrics.jsonl: the step, and a value for each metric's name.
Row = Mapping[str, float | str | None]


@dataclasses.dataclass(frozen=True)
class Run:
  """What a run folder holds for its report.

  name: of the folder.
  settings, made_with: None where the folder lacks the file.
  search: rows of the search's metrics, empty where it has none.
  training: rows of the training's metrics by network id.
  comfort_zones: by the id of a network that was scaled up.
  """

  name: str
  family: Family
  settings: Settings | None = None
  made_with: MadeWith | None = None
  search: Sequence[Row] = ()
  training: Mapping[str, Sequence[Row]] = dataclasses.field(
    default_factory=dict
  )
  comfort_zones: Mapping[str, ComfortZone] = dataclasses.field(
    default_factory=dict
  )

  @property
  def device_name(self) -> str:
    """The device for people, such as `AMD EPYC 7763, 2 cores`."""
    return device_name(self.made_with.device if self.made_with else None)


def device_name(device: Device | None) -> str:
  """The model of a device, and its number of cores if it is a CPU.

  Args:
    device: None where none was recorded.
  """
  if device is None:
    return "a device that was not recorded"
  model = device.cpu_model or device.device_kind
  if not device.cpu_cores:
    return model
  return f"{model}, {device.cpu_cores} core{'s' * (device.cpu_cores != 1)}"


def load(folder: RunFolder) -> Run:
  """Reads a run folder; all its files but family.json may be missing.

  Raises:
    FileNotFoundError: there is no family.json; the message has the command
      that writes it.
    ValueError: a file is damaged, or family.json contradicts itself.
  """
  settings = folder.settings() if folder.exists() else None
  family = folder.family()
  if family is None:
    command = (
      settings.command
      if settings
      else f"python -m hwnas_jax.main --config=CONFIG --workdir={folder.path}"
    )
    raise FileNotFoundError(
      f"{folder.path} has no family.json, which the report is made of; write it"
      f" with: {command}"
    )
  try:
    _require_consistent(family)
  except ValueError as error:
    raise ValueError(f"{folder.path}/family.json: {error}") from error
  networks = [folder.network(member.id) for member in family.members]
  return Run(
    name=folder.path.resolve().name,
    family=family,
    settings=settings,
    made_with=folder.made_with(),
    search=_rows(folder.search / "metrics.jsonl"),
    training={network.id: _rows(network.metrics) for network in networks},
    comfort_zones={
      network.id: zone
      for network in networks
      if (zone := network.comfort_zone())
    },
  )


def _rows(path: pathlib.Path) -> Sequence[Row]:
  return readers.read_jsonl(path) if path.is_file() else ()


def _require_consistent(family: Family) -> None:
  """Raises ValueError where a part of a family names what another lacks."""
  if not family.members:
    raise ValueError("it has no members, and a report needs at least one")
  for member in family.members:
    unknown = sorted({*member.architecture.values()} - {*family.ops})
    if unknown:
      raise ValueError(
        f"member {member.id} has operations that are not in `ops`:"
        f" {', '.join(unknown)}"
      )
  ids = {member.id for member in family.members}
  for baseline in family.baselines:
    if not {baseline.member, baseline.network} <= ids:
      raise ValueError(
        f"a baseline names {baseline.member} and {baseline.network}, and one of"
        " them is not in `members`"
      )
  conditions = [member.condition for member in family.members]
  conditions += [point.condition for point in family.shares]
  for condition in conditions:
    if condition and len(condition.simplex) != len(family.priced):
      raise ValueError(
        f"a condition has {len(condition.simplex)} prices for the"
        f" {len(family.priced)} operations of `priced`"
      )
