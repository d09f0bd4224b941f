"""A run folder, read for the report."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from hwnas_jax.io import writers
from hwnas_jax.report.family import Member

_NEEDED = ("ops", "choices", "members")
_NEEDED_OF_MEMBER = ("id", "name", "genotype", "op_counts", "params")


@dataclasses.dataclass(frozen=True)
class Run:
  """What a run folder holds; what it lacks is empty.

  family: family.json.
  config: the resolved settings, nested.
  command: the command line that made the run.
  versions: version by package.
  device: the fingerprint's parts.
  fingerprint: the name of the device, such as `cpu-amd-epyc-2core-32f3a957`.
  search: rows of the search's metrics.
  training: rows of the training's metrics by member's id.
  comfort: comfort.json by the id of a member that was scaled up.
  """

  name: str
  family: Mapping[str, Any]
  config: Mapping[str, Any]
  command: str
  versions: Mapping[str, Any]
  device: Mapping[str, Any]
  fingerprint: str
  search: list[dict[str, Any]]
  training: dict[str, list[dict[str, Any]]]
  comfort: dict[str, dict[str, Any]]

  @property
  def members(self) -> list[Member]:
    """The family and its random baselines."""
    return self.family["members"]

  @property
  def device_words(self) -> str:
    """The device for people: its model, and its cores if it is a CPU."""
    model = self.device.get("cpu_model") or self.device.get("device_kind")
    cores = self.device.get("cpu_cores")
    if model and cores:
      return f"{model}, {cores} core{'s' if cores != 1 else ''}"
    return model or self.fingerprint or "a device that was not recorded"


def load(workdir: str | pathlib.Path) -> Run:
  """Reads a run folder.

  Args:
    workdir: the folder; all but family.json may be missing.

  Returns:
    The run.

  Raises:
    FileNotFoundError: there is no family.json; the message has the command
      that writes it.
    ValueError: a file is damaged, or family.json lacks a part.
  """
  folder = pathlib.Path(workdir)
  settings = _json(folder / "config.json")
  command = settings.get("command") or ""
  if not (folder / "family.json").is_file():
    maker = command or (
      f"python -m hwnas_jax.main --config=CONFIG --workdir={folder}"
    )
    raise FileNotFoundError(
      f"{folder} has no family.json, which a report is about; write it with: "
      f"{maker}"
    )
  family = _json(folder / "family.json")
  _check(folder / "family.json", family)
  made_with = _json(folder / "versions.json")
  homes = {m["id"]: folder / "networks" / m["id"] for m in family["members"]}
  return Run(
    name=folder.resolve().name,
    family=family,
    config=settings.get("config") or {},
    command=command,
    versions=made_with.get("versions") or {},
    device=made_with.get("device") or {},
    fingerprint=made_with.get("fingerprint") or "",
    search=_rows(folder / "search" / "metrics.jsonl"),
    training={
      name: _rows(home / "metrics.jsonl") for name, home in homes.items()
    },
    comfort={
      name: found
      for name, home in homes.items()
      if (found := _json(home / "comfort.json"))
    },
  )


def _json(path: pathlib.Path) -> dict[str, Any]:
  return writers.read_json(path) if path.is_file() else {}


def _rows(path: pathlib.Path) -> list[dict[str, Any]]:
  return writers.read_jsonl(path) if path.is_file() else []


def _check(path: pathlib.Path, family: Mapping[str, Any]) -> None:
  missing = [key for key in _NEEDED if key not in family]
  if missing:
    raise ValueError(f"{path} lacks {', '.join(missing)}: write it again")
  if not family["members"]:
    raise ValueError(f"{path} has no members: a report needs at least one")
  for member in family["members"]:
    missing = [key for key in _NEEDED_OF_MEMBER if key not in member]
    if missing:
      raise ValueError(
        f"{path}: member {member.get('id', '?')} lacks {', '.join(missing)}"
      )
    used = {*member["genotype"].values(), *member["op_counts"]}
    unknown = sorted(used - set(family["ops"]))
    if unknown:
      raise ValueError(
        f"{path}: member {member['id']} has operations that are not in "
        f"`ops`: {', '.join(unknown)}"
      )
