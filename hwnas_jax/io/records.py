"""The JSON files of a run folder as typed, frozen records.

`io.run_folder` reads and writes them. The report, the query, the export and the
comfort zone read these records and nothing else of another stage. msgspec
checks every field's type while it reads, and names a wrong field by its place
(`$.members[0].params`); it is a tenth of pydantic's size and, unlike cattrs,
decodes JSON itself.

Every file has a field `seal`, the SHA-256 of all other fields. A file that was
changed by hand or by a fault of the disk is refused.

Latencies are in ms; accuracies are shares of one.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import msgspec

from hwnas_jax.io import readers, writers

# {choice: operation}, kept choices only: an architecture in JSON.
Architecture = dict[str, str]


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
  """The base of all records: an unknown field is an error."""


BaselineKind = Literal["largest", "random", "reference"]
MemberKind = Literal["member"] | BaselineKind


class Condition(Record, frozen=True):
  """The condition of a network: prices on the simplex, and a scale."""

  simplex: tuple[float, ...]
  scale: float


class Measurement(Record, frozen=True):
  """Measured latency of a network: median and interquartile range."""

  median_ms: float
  iqr_ms: float
  min_ms: float | None = None
  repeats: int | None = None


class Teacher(Record, frozen=True):
  """The network that taught others: its id, and the digest of its weights."""

  id: str
  digest: str


class Accuracies(Record, frozen=True):
  """metrics.json of a trained network: means over the training seeds.

  test_accuracies: one a seed.
  held_out_accuracy: on examples held out of training; None where none were.
  teacher: the network that taught it; None where none did.
  supernet: digest of the supernet's weights that it started from; None where it
    started from random ones.
  """

  test_accuracy: float | None = None
  test_accuracies: tuple[float, ...] = ()
  held_out_accuracy: float | None = None
  teacher: Teacher | None = None
  supernet: str | None = None


class Member(Record, frozen=True, kw_only=True):
  """A network of a family, or a baseline: one that only stands beside it.

  condition: None of a baseline.
  width: factor of the run's channels; not 1 of a `reference` alone.
  params: of the whole network. op_params: of its operations in the search.
  macs: multiply-accumulates an image.
  predicted_ms: by the run's latency table; None where it has no such network.
  kept: whether it is the best of the trained samples (derive.num_samples).
  """

  id: str
  name: str
  kind: MemberKind
  condition: Condition | None
  architecture: Architecture
  params: int
  op_params: int
  macs: int
  latency: Measurement | None = None
  predicted_ms: float | None = None
  accuracies: Accuracies = Accuracies()
  kept: bool = False
  width: float = 1.0

  @property
  def latency_ms(self) -> float | None:
    """Median measured latency; None where it was not measured."""
    return self.latency.median_ms if self.latency else None


class Baseline(Record, frozen=True):
  """Which network is compared with which member, by their ids.

  kind: `largest`: the one of most multiply-accumulates that costs no more;
    `random`; `reference`: a well-known architecture, scaled in width. The
    largest network may be the member itself, or another one of the family.
  """

  kind: BaselineKind
  member: str
  network: str


class Collapse(Record, frozen=True, kw_only=True):
  """Signs that a search has collapsed: see `derive.collapse`.

  entropy: of the logits, mean over choices, nats.
  undecided: the entropy over that of equal operations, 0 to 1.
  soft_accuracy: of the mixture; path_accuracy: mean of sampled paths. One of
    the two is None. All accuracies are None where no supernet was trained.
  discrete_accuracy: of the derived network with the shared weights.
  skip_share: of the kept choices; None in a space without a skip.
  """

  entropy: float
  undecided: float
  soft_accuracy: float | None = None
  path_accuracy: float | None = None
  discrete_accuracy: float | None = None
  skip_share: float | None = None
  alarms: tuple[str, ...] = ()


class SweepPoint(Record, frozen=True):
  """A condition of the sweep, and the id of the network derived for it."""

  name: str
  condition: Condition
  id: str
  collapse: Collapse | None = None


class Shares(Record, frozen=True):
  """Mean probability of each operation at a condition."""

  condition: Condition
  shares: dict[str, float]


class Family(Record, frozen=True, kw_only=True):
  """family.json: every network of a run, measured and trained.

  ops, choices: names of the space's columns and rows.
  latency_batch_size: images a call, of every latency.
  base_latency_ms: the base, by the table; None without a table.
  priced: the operations of a condition's simplex, in its order.
  members: each network once: the family's, the trained first, then others.
  baselines: what stands beside each trained member.
  cost: that baselines share with their member: `latency`, or as in cost.name.
  num_test: examples of the test split; 0 where it was not recorded.
  """

  schema: Literal[2] = 2
  ops: tuple[str, ...]
  choices: tuple[str, ...]
  latency_batch_size: int
  base_latency_ms: float | None
  priced: tuple[str, ...]
  members: tuple[Member, ...]
  sweep: tuple[SweepPoint, ...] = ()
  shares: tuple[Shares, ...] = ()
  baselines: tuple[Baseline, ...] = ()
  cost: str = "latency"
  num_test: int = 0


class Device(Record, frozen=True, kw_only=True, omit_defaults=True):
  """A device: all that a latency on it depends on (`io.versions`).

  platform_version: of the driver and runtime.
  cpu_cores: those that the process may use.
  xla_flags: the environment variable.
  system, providers, threads: of a plan's runner, which runs ONNX and not JAX:
    operating system, onnxruntime's execution providers, threads (0: all cores).
  """

  platform: str
  device_kind: str
  platform_version: str | None = None
  cpu_model: str | None = None
  cpu_cores: int | None = None
  jaxlib: str | None = None
  xla_flags: str = ""
  system: str | None = None
  providers: tuple[str, ...] = ()
  threads: int | None = None


class MadeWith(Record, frozen=True):
  """versions.json: versions by package, the device, and the device's name."""

  versions: dict[str, str | None]
  device: Device
  fingerprint: str


class DataSet(Record, frozen=True, kw_only=True):
  """The data set of a run: all that its networks need to know of it.

  digest: SHA-256 of its images and labels; of streamed data see docs/data.md.
  image: (height, width, channels).
  mean, std: of each channel over the training split, or where it is streamed a
    sample of it, in units of [0, 1].
  class_names: in the order of the labels; None without names.
  num_train, num_test: examples.
  """

  name: str
  digest: str
  image: tuple[int, int, int]
  num_classes: int
  mean: tuple[float, ...]
  std: tuple[float, ...]
  class_names: tuple[str, ...] | None
  num_train: int
  num_test: int


class Origin(Record, frozen=True):
  """What a run was made of, beside its config.

  nets: digests of the networks' dimensions and of each choice's operations; of
    a user's own model also of what it computes.
  """

  data: DataSet
  nets: dict[str, str]


class Settings(Record, frozen=True):
  """config.json: the resolved config, nested, and the command that ran."""

  schema: Literal[2]
  config: dict[str, Any]
  command: str
  origin: Origin


class Network(Record, frozen=True):
  """architecture.json of a network's folder; width as in `Member`."""

  architecture: Architecture
  width: float = 1.0


class ScaledNetwork(Record, frozen=True, kw_only=True):
  """A network in another width and image size, measured.

  channels: fewest and most, of the searched layers. image: height, width.
  over_found: latency over the unscaled network's, each time it was measured.
  overrides: config flags that make a run's networks as wide.
  needs_images: (height, width) that the data must have; None if the run's has.
  """

  channels: tuple[int, int]
  image: tuple[int, int]
  macs: int
  params: int
  latency: Measurement
  over_found: tuple[float, ...]
  overrides: tuple[str, ...]
  needs_images: tuple[int, int] | None


class ComfortZone(Record, frozen=True, kw_only=True):
  """comfort.json: a network and its scaled forms, see `runs.comfort_zone`.

  tolerance: share of the unscaled latency by which the knee may exceed it.
  points: the unscaled network first.
  """

  id: str
  batch_size: int
  tolerance: float
  knee: ScaledNetwork
  points: tuple[ScaledNetwork, ...]
  versions: dict[str, str | None]
  device: Device


_R = TypeVar("_R")


def from_json(where: str, document: Any, kind: type[_R]) -> _R:
  """A record from parsed JSON.

  Args:
    where: names the document in the error, such as its path.
    document: parsed JSON.
    kind: the record's class.

  Raises:
    ValueError: a field is missing, unknown or of another type; the message
      has `where` and the field's place.
  """
  try:
    return msgspec.convert(document, kind)
  except msgspec.ValidationError as error:
    raise ValueError(f"{where}: {error}") from error


def to_json(record: Any) -> Any:
  """A record as JSON types: the inverse of `from_json`."""
  return msgspec.to_builtins(record)


def differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
  """The paths, such as `train/lr`, at which two nested JSON objects differ."""
  paths = []
  for name in sorted(before.keys() | now.keys()):
    old, new = before.get(name), now.get(name)
    if isinstance(old, Mapping) and isinstance(new, Mapping):
      paths += [f"{name}/{rest}" for rest in differing(old, new)]
    elif old != new:
      paths.append(name)
  return paths


def seal(contents: Mapping[str, Any], field: str = "seal") -> str:
  """SHA-256 of a JSON object without the field that holds it."""
  rest = {name: value for name, value in contents.items() if name != field}
  return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def read(path: Any, kind: type[_R]) -> _R:
  """Reads a record's file.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it is not JSON, it was changed, or see `from_json`.
  """
  return unsealed(path, readers.read_json(path), kind)


def unsealed(path: Any, document: Any, kind: type[_R]) -> _R:
  """A record from the parsed JSON of its file.

  Raises:
    ValueError: the seal is missing or wrong, or see `from_json`.
  """
  contents = dict(document) if isinstance(document, dict) else document
  stored = contents.pop("seal", None) if contents is not document else None
  record = from_json(f"{path}", contents, kind)
  if stored != seal(contents):
    raise ValueError(
      f"{path} was changed after it was written: restore a copy, or delete it"
      " and run the command that wrote it again"
    )
  return record


def write(path: Any, record: Any) -> None:
  """Writes a record's file: the old one or the new, never half.

  Raises:
    ValueError: a number is not finite, which JSON cannot say.
  """
  contents = to_json(record)
  writers.write_json(path, {**contents, "seal": seal(contents)})
