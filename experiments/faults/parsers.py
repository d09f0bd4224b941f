"""Every parser of the package with valid inputs of it, to be mutated."""

import io
import json
import pathlib
import tempfile
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from PIL import Image

from experiments.faults import mutations
from experiments.faults.mutations import Mutate, mutated
from hwnas_jax.config import checks, files
from hwnas_jax.core import budget
from hwnas_jax.costs import table as tables
from hwnas_jax.costs.measure import plan, plan_result
from hwnas_jax.costs.measure.networks import Stored, StoredNetwork
from hwnas_jax.costs.table import LatencyTable
from hwnas_jax.data import folder, images, load
from hwnas_jax.io import document, readers, records, versions
from hwnas_jax.io.certificates import Scores
from hwnas_jax.io.judgements import Judgements
from hwnas_jax.spaces import architecture, darts

NET = darts.Darts(
  ("none", "skip_connect", "sep_conv_3x3"), 2, 2, 4, (8, 8, 1), 3
)
SPACE = NET.space()


class Parser(NamedTuple):
  """A parser and its inputs.

  seeds: valid inputs. mutate: makes another input of one.
  parse: reads an input; it may write files to the folder.
  """

  seeds: Sequence[bytes]
  mutate: Mutate
  parse: Callable[[bytes, pathlib.Path], object]


def reading(
  read: Callable[[pathlib.Path], object], suffix: str
) -> Callable[[bytes, pathlib.Path], object]:
  """A parser of files."""

  def parse(data: bytes, scratch: pathlib.Path) -> object:
    path = scratch / f"input{suffix}"
    path.write_bytes(data)
    return read(path)

  return parse


def parsers() -> dict[str, Parser]:
  """All of them, by name."""
  with tempfile.TemporaryDirectory() as name:
    return {**_of_documents(pathlib.Path(name)), **_of_data(), **_of_texts()}


def _of_documents(scratch: pathlib.Path) -> dict[str, Parser]:
  """Of JSON files, which have digests."""
  digested = mutations.sealing("digest", document.digest)
  sealed = mutations.sealing("seal", records.seal)
  return {
    "table": Parser([_table(scratch)], digested, reading(_use_table, ".json")),
    "networks": Parser(
      [_networks(scratch)],
      digested,
      reading(lambda path: document.read(path, Stored, "measure"), ".json"),
    ),
    **_plans(scratch, digested),
    **{
      kind.__name__.lower(): Parser(
        [_written(scratch, record)],
        sealed,
        reading(lambda path, kind=kind: records.read(path, kind), ".json"),
      )
      for kind, record in _records().items()
    },
    "rows": Parser(
      [b'{"step": 1, "loss": 0.5}\n{"step": 2, "loss": null}\n'],
      mutated,
      reading(readers.read_jsonl, ".jsonl"),
    ),
  }


def _of_data() -> dict[str, Parser]:
  """Of arrays and images."""
  return {
    "arrays": Parser(
      _archives(), mutations.of_archive, reading(readers.read_arrays, ".npz")
    ),
    "npz": Parser(
      _archives(),
      mutations.of_archive,
      reading(lambda path: folder.load_npz("npz", path), ".npz"),
    ),
    "images": Parser(_images(), mutations.of_image, _read_image),
  }


def _of_texts() -> dict[str, Parser]:
  """Of what a person writes as flags and in configs."""
  chosen = architecture.to_json(SPACE, (1,) * len(SPACE.choices))
  return {
    "budgets": Parser(
      [b"5ms", b"0.4x", b"60%"],
      mutated,
      lambda data, _: budget.to_ms(budget.parse(_text(data)), 3.0),
    ),
    "sizes": Parser(
      [b"64x64"], mutated, lambda data, _: images.parse_size(_text(data))
    ),
    "data names": Parser(
      [b"digits", b"folder:a", b"npz:a.npz", b"tfds:a/b"],
      mutated,
      lambda data, scratch: load.require(_text(data), scratch),
    ),
    "configs": Parser([_config()], mutations.of_values, _check_config),
    "architectures": Parser(
      [json.dumps(chosen).encode()],
      mutations.of_values,
      lambda data, _: architecture.from_json(
        SPACE, msgspec.convert(json.loads(data), records.Architecture)
      ),
    ),
  }


def _text(data: bytes) -> str:
  return data.decode(errors="surrogateescape")


def _config() -> bytes:
  return json.dumps(files.default().to_dict()).encode()


def _check_config(data: bytes, scratch: pathlib.Path) -> None:
  value = json.loads(data)
  if not isinstance(value, dict):  # a config file would not give that
    raise ValueError("no config")
  checks.check(files.typed(value))


def _table(scratch: pathlib.Path) -> bytes:
  entries = [
    tables.Entry(
      kind="fixed" if site in SPACE.fixed else "op",
      latency_ms=1.0,
      iqr_ms=0.1,
      samples_ms=(0.9, 1.0, 1.1),
      **tables.site_fields(site),
    )
    for site in SPACE.unique_sites()
  ]
  table = msgspec.structs.replace(
    tables.empty(16), entries=tuple(entries), finished=True
  )
  table.save(scratch / "t.json")
  return (scratch / "t.json").read_bytes()


def _use_table(path: pathlib.Path) -> object:
  table = LatencyTable.load(path)
  tables.require(table, SPACE, table.batch_size)
  return tables.predict_ms(table, NET, (1,) * len(SPACE.choices))


def _networks(scratch: pathlib.Path) -> bytes:
  network = StoredNetwork(
    "spec", "1a2b3c4d", {"a": "b"}, records.Measurement(1.0, 0.1, 0.9, 3)
  )
  document.write(scratch / "n.json", Stored("cpu", 16, "latency", (network,)))
  return (scratch / "n.json").read_bytes()


def _plans(scratch: pathlib.Path, mutate: Mutate) -> dict[str, Parser]:
  """plan.json, and timings.json beside it, of two sites and a network."""
  made = {"onnx": {"onnx/a.onnx": 1}, "stablehlo": {}, "sha256": {}}
  site = next(s for s in SPACE.unique_sites() if s.op == "sep_conv_3x3")
  network = architecture.to_json(SPACE, (1,) * len(SPACE.choices))
  planned = plan.Plan(
    spec=repr(NET),
    space=plan.space_digest(SPACE),
    batch_size=16,
    versions=versions.versions(),
    entries=(
      plan.PlanSite(
        id="site",
        site=tables.SiteRecord(**tables.site_fields(site)),
        **{**made, "onnx": {"onnx/b.onnx": 1, "onnx/c.onnx": 9}},
      ),
      plan.PlanNetwork(id="network", architecture=network, **made),
    ),
  )
  document.write(scratch / "plan.json", planned)
  timings = plan_result.Timings(
    schema=1,
    runner=1,
    plan=planned.digest,
    device=plan_result.RunnerDevice(
      platform="phone",
      device_kind="phone",
      platform_version="1",
      cpu_model="a",
      cpu_cores=4,
      system="b",
      providers=("c",),
      threads=0,
    ),
    repeats=3,
    samples_ms={
      "site": {"onnx/b.onnx": (1.0,) * 3, "onnx/c.onnx": (9.0,) * 3},
      "network": {"onnx/a.onnx": (5.0,) * 3},
    },
  )
  document.write(scratch / "timings.json", timings)
  contents = {
    name: (scratch / f"{name}.json").read_bytes()
    for name in ("plan", "timings")
  }

  def parse(changed: str) -> Callable[[bytes, pathlib.Path], object]:
    def fit(data: bytes, scratch: pathlib.Path) -> object:
      for name, content in {**contents, changed: data}.items():
        (scratch / f"{name}.json").write_bytes(content)
      return plan_result.fit(scratch, NET)

    return fit

  return {
    name: Parser([contents[name]], mutate, parse(name)) for name in contents
  }


def _records() -> dict[type[Any], Any]:
  """A record of each kind that a run folder has."""
  condition = records.Condition((0.5, 0.5), 1.0)
  member = records.Member(
    id="1a2b3c4d",
    name="scale 1",
    kind="member",
    condition=condition,
    architecture={"a": "b"},
    params=1,
    op_params=1,
    macs=1,
    latency=records.Measurement(1.0, 0.1),
  )
  family = records.Family(
    ops=("a", "b"),
    choices=("c",),
    latency_batch_size=16,
    base_latency_ms=None,
    priced=("a", "b"),
    members=(member,),
    sweep=(records.SweepPoint("scale 1", condition, "1a2b3c4d"),),
  )
  return {
    records.Family: family,
    records.Network: records.Network({"a": "b"}),
    records.Accuracies: records.Accuracies(0.5, (0.5,)),
    records.MadeWith: versions.made_with(),
    Scores: Scores(digest="a", scores={"synflow": {"1a2b3c4d": None}}),
    Judgements: Judgements(architectures=({"a": "b"},), scores={"a": (1.0,)}),
  }


def _written(scratch: pathlib.Path, record: Any) -> bytes:
  records.write(scratch / "r.json", record)
  return (scratch / "r.json").read_bytes()


def _archives() -> list[bytes]:
  x = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
  y = np.asarray([0, 1, 0, 1])
  made = []
  for save in (np.savez, np.savez_compressed):
    stream = io.BytesIO()
    save(stream, x_train=x, y_train=y, x_test=x, y_test=y)
    made.append(stream.getvalue())
  return made


def _images() -> list[bytes]:
  rng, made = np.random.default_rng(0), []
  for mode, kind in (
    *(("RGB", "PNG"), ("RGB", "JPEG"), ("L", "PNG"), ("RGBA", "PNG")),
    *(("P", "PNG"), ("I;16", "PNG"), ("CMYK", "JPEG")),
  ):
    channels = {"RGB": 3, "RGBA": 4, "CMYK": 4}.get(mode, 1)
    dtype = np.uint16 if mode == "I;16" else np.uint8
    pixels = rng.integers(0, 256, (12, 10, channels), dtype).squeeze()
    image = Image.fromarray(pixels)
    if mode in ("P", "CMYK"):
      image = image.convert(mode)
    stream = io.BytesIO()
    image.save(stream, kind)
    made.append(stream.getvalue())
  return made


def _read_image(data: bytes, scratch: pathlib.Path) -> object:
  path = scratch / "input.png"
  path.write_bytes(data)
  return images.read(path, images.Size(6, 7) if len(data) % 2 else None)
