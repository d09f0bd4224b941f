"""The stages of a run, what each was made of, and whether it may go on.

A run has four stages: `table` (latencies of operations), `search`, `training`
and `family` (which networks, and their latencies). A field of the config that
only stages read which have not begun may still change; any other difference
stops the run before anything is written.
"""

import hashlib
from typing import Any

from hwnas_jax.config import files
from hwnas_jax.config import problem as problems
from hwnas_jax.config.fields import Config
from hwnas_jax.config.problem import Nets
from hwnas_jax.data import arrays
from hwnas_jax.data.arrays import Dataset
from hwnas_jax.io import checkpoint, records
from hwnas_jax.io.records import DataSet, Origin
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.spaces.custom import Custom
from hwnas_jax.spaces.spec import Spec

# First the stages that others read.
STAGES = ("table", "search", "training", "family")
# Where something is, whose digest is compared, or what changes no number.
_ANYWHERE = (
  *("data/name", "data/data_dir", "data/in_memory_gib", "data/workers"),
  *("devices", "train/side_by_side", "latency/table", "tensorboard"),
)
_OF_TABLE = (
  "space/",
  "derive/num_cells",
  "derive/channels",
  "derive/rule",
  "latency/",
  "precision",
)
_REMEDIES = {
  "table": "use another --workdir, or delete the folder",
  "search": "use another --workdir, or delete the folder",
  "training": "move networks/, family.json and measured.json away to train"
  " again; the search stays",
  "family": "move family.json and measured.json away to derive another family",
}


def stage_of(field: str) -> str | None:
  """The first stage that reads a field, such as `train/lr`; None if none."""
  if field in _ANYWHERE:
    return None
  if field.startswith(_OF_TABLE):
    return "table"
  if field.startswith("train/") or field == "derive/num_samples":
    return "training"
  return "family" if field.startswith("derive/") else "search"


def begun(folder: RunFolder, stage: str) -> bool:
  """Whether a folder has something of a stage, or of one after it."""
  files = {
    "table": ("table.json",),
    "search": ("search/checkpoints/[0-9]*", "judgements.json"),
    "training": (
      "networks/*/weights.npz",
      "networks/*/checkpoints/[0-9]*",
      "networks/*/seed_*/checkpoints/[0-9]*",
    ),
    "family": ("measured.json", "family.json"),
  }
  later = STAGES[STAGES.index(stage) :]
  return any(
    next(folder.path.glob(pattern), None)
    for name in later
    for pattern in files[name]
  )


def origin(dataset: Dataset, nets: Nets) -> Origin:
  """What a run with these is made of."""
  data = DataSet(
    name=dataset.name,
    digest=dataset.digest,
    image=dataset.image,
    num_classes=dataset.num_classes,
    mean=dataset.mean,
    std=dataset.std,
    class_names=dataset.class_names,
    num_train=arrays.size(dataset.train),
    num_test=arrays.size(dataset.test),
  )
  return Origin(data, nets_digests(nets))


def nets_digests(nets: Nets) -> dict[str, str]:
  """Digests by what they are of: `supernet`, `derived`, and each choice."""
  space = nets.derived.space()
  rows = {
    choice: [site.key for cell in row for site in cell]
    for choice, row in zip(space.choices, space.sites, strict=True)
  }
  return {
    "supernet": _digest(nets.supernet),
    "derived": _digest(nets.derived),
    **{choice: _digest(keys) for choice, keys in rows.items()},
    "outside the choices": _digest([site.key for site in space.fixed]),
    **_programs(nets.derived),
  }


def _programs(net: Spec) -> dict[str, str]:
  """Digests of what a user's own model computes; of other networks none."""
  return net.programs if isinstance(net, Custom) else {}


def _digest(*parts: Any) -> str:
  return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def require_nets(folder: RunFolder, config: Config, nets: Nets) -> None:
  """Refuses other networks than a run began with, as of a changed model.

  Raises:
    ValueError: the message names the choices that differ.
  """
  before, now = folder.settings().origin.nets, nets_digests(nets)
  if differing := records.differing(before, now):
    model = config.space.get("model")
    whose = f"space.model={model!r}" if model else "this version of hwnas_jax"
    raise ValueError(
      f"the run in {folder.path} began with other networks than {whose} now"
      f" makes; these differ: {', '.join(differing)}. Restore what the run"
      " began with, or use another --workdir"
    )


def read_nets(folder: RunFolder, config: Config) -> Nets:
  """The dimensions of a run's networks, without its data.

  Raises:
    ValueError: see `require_nets`, and `problems.make_nets`.
  """
  nets = problems.make_nets(config, folder.settings().origin.data)
  require_nets(folder, config, nets)
  return nets


def require_data(folder: RunFolder, dataset: Dataset) -> None:
  """Raises ValueError where a run began with other data."""
  if folder.settings().origin.data.digest != dataset.digest:
    raise ValueError(
      f"the run in {folder.path} began with other data than {dataset.name} now"
      " has: give the same data, or use another --workdir"
    )


def require_same(
  folder: RunFolder, config: Config, dataset: Dataset, nets: Nets
) -> None:
  """Checks a folder against what is to go on in it; changes nothing.

  Raises:
    ValueError: a stage that has begun was made of something else; the message
      names what, and what to do.
  """
  if not folder.exists():
    _require_rebuildable(folder, config, dataset, nets)
    return
  # Fields that are newer than the run have their defaults there.
  before = records.to_json(problems.read_run(folder))
  now = records.to_json(config)
  for stage in STAGES:
    fields = [
      name for name in records.differing(before, now) if stage_of(name) == stage
    ]
    if fields and begun(folder, stage):
      raise ValueError(
        f"{folder.path} holds a {stage} of another config: {', '.join(fields)}"
        f" differ. {_REMEDIES[stage].capitalize()}."
      )
  if begun(folder, "table"):
    require_nets(folder, config, nets)
  if begun(folder, "search"):
    require_data(folder, dataset)


def _require_rebuildable(
  folder: RunFolder, config: Config, dataset: Dataset, nets: Nets
) -> None:
  """Checks a folder that lost its config.json against its checkpoints."""
  training = training_identity(config, dataset, nets.derived)
  for directory, fields in (
    ("search", search_identity(config, dataset, nets)),
    ("networks/*", training),
    ("networks/*/seed_*", training),
  ):
    for path in sorted(folder.path.glob(f"{directory}/checkpoints")):
      stored = checkpoint.metadata(path)
      compared = {name: stored.get(name) for name in fields}
      if names := records.differing(compared, fields):
        raise ValueError(
          f"{folder.path} has no config.json, and {path.parent} was made with"
          f" another run's: {', '.join(names)} differ. Restore config.json, or"
          " use another --workdir"
        )


def search_identity(
  config: Config, dataset: Dataset, nets: Nets
) -> dict[str, Any]:
  """The fields of `loop.Identity` that every search has."""
  programs = _digest(nets.supernet, nets.derived, _programs(nets.derived))
  fields = _chosen(config, "table", "search")
  return {"data": dataset.digest, "nets": programs, "config": fields}


def _chosen(config: Config, *stages: str) -> dict[str, Any]:
  """The fields that stages read and that are not at their defaults, by path.

  A field that a later version adds has its default in older runs, and so does
  not part them from new ones.
  """
  space = {"name": config.space["name"]}
  default = records.to_json(files.typed({"space": space}))
  document = records.to_json(config)
  return {
    name: _at(document, name)
    for name in records.differing(default, document)
    if stage_of(name) in stages
  }


def _at(document: dict[str, Any], path: str) -> Any:
  """The value at a path of names."""
  value: Any = document
  for name in path.split("/"):
    value = value[name]
  return value


def training_identity(
  config: Config, dataset: Dataset, net: Spec
) -> dict[str, Any]:
  """The fields of `loop.Identity` that every training has.

  Args:
    config: the whole config.
    dataset: to train and test on.
    net: the dimensions of the run's networks.
  """
  fields = {
    **_chosen(config, "training"),
    "seed": config.seed,
    "data/pad": config.data.pad,
    "data/flip": config.data.flip,
  }
  if config.precision != "float32":
    fields["precision"] = config.precision
  chosen = _chosen(config, "search")
  fields |= {
    f: chosen[f] for f in ("data/crop_area", "data/jitter") if f in chosen
  }
  # How many are trained does not matter, whether a tenth is held out does.
  if "derive/num_samples" in fields:
    fields["derive/num_samples"] = True
  return {
    "data": dataset.digest,
    "nets": _digest(net, _programs(net)),
    "config": fields,
  }
