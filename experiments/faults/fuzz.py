"""Gives every parser mutated inputs, and looks at what it raises.

  python -m experiments.faults.fuzz --count=100000

From the repository root. An input is a valid one with some bytes changed, cut,
repeated or added; or, where a file has a digest, with some of its JSON values
changed and the digest made anew, so that what is behind it is reached. A parser
may return or raise a ValueError or an OSError, which is what a command turns
into one line. Any other exception is a fault, and so is an input that takes
longer than LIMIT_S.

Writes fuzz.json, a row for each parser: inputs, faults, the longest time, and
the peak memory of its process. Input `index` of a parser depends on nothing
else, so what is there is not done again; a fault is repeated by

  python -m experiments.faults.fuzz --only=PARSER --first=INDEX --count=1
"""

import argparse
import contextlib
import io
import json
import pathlib
import resource
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from PIL import Image

from hwnas_jax.config import checks, files
from hwnas_jax.core import budget
from hwnas_jax.costs import table as tables
from hwnas_jax.costs.measure import plan, plan_result
from hwnas_jax.costs.measure.networks import Stored, StoredNetwork
from hwnas_jax.costs.table import LatencyTable
from hwnas_jax.data import folder, images, load
from hwnas_jax.io import document, readers, records, versions, writers
from hwnas_jax.io.certificates import Scores
from hwnas_jax.io.judgements import Judgements
from hwnas_jax.spaces import architecture, darts

HERE = pathlib.Path(__file__).parent
LIMIT_S = 5.0
STEP = 20_000  # inputs between two writes of fuzz.json
NET = darts.Darts(
  ("none", "skip_connect", "sep_conv_3x3"), 2, 2, 4, (8, 8, 1), 3
)
SPACE = NET.space()
# What a person, or a damaged disk, may put in the place of a value.
NASTY: tuple[Any, ...] = (
  *(None, True, -1, 0, 1, 2, 10**30, -0.5, 1e-300, 1e300, float("nan")),
  *(float("inf"), "", "a", "../../a", "~", "none", "\x00", "x" * 5000, [], {}),
  *([[]], {"a": None}, [1, "a"], {"": {}}),
)


class Parser(NamedTuple):
  """A parser and its inputs.

  seeds: valid inputs. mutate: makes another input of one.
  parse: reads an input; it may write files to the folder.
  """

  seeds: Sequence[bytes]
  mutate: Callable[[np.random.Generator, bytes], bytes]
  parse: Callable[[bytes, pathlib.Path], object]


class Outcome(NamedTuple):
  """What some inputs did.

  faults: (index, exception). accepted: inputs that were parsed.
  """

  inputs: int
  accepted: int
  longest_s: float
  faults: list[tuple[int, str]]


class TooLong(BaseException):
  """An input took longer than LIMIT_S."""


def run(name: str, parser: Parser, first: int, count: int) -> Outcome:
  """Gives a parser the inputs first, ..., first + count - 1."""
  faults, longest_s, accepted = [], 0.0, 0
  with tempfile.TemporaryDirectory() as scratch, _alarm() as start:
    for index in range(first, first + count):
      rng = np.random.default_rng([index, *name.encode()])
      data = parser.mutate(rng, parser.seeds[rng.integers(len(parser.seeds))])
      began = time.perf_counter()
      try:
        start(LIMIT_S)
        parser.parse(data, pathlib.Path(scratch))
        accepted += 1
      except (ValueError, OSError):
        pass
      except (Exception, TooLong) as error:
        faults.append((index, f"{type(error).__name__}: {error}"[:200]))
      finally:
        start(0)
      longest_s = max(longest_s, time.perf_counter() - began)
  return Outcome(count, accepted, longest_s, faults)


@contextlib.contextmanager
def _alarm() -> Iterator[Callable[[float], None]]:
  """A function that begins to count down, or with 0 ends it."""

  def late(number: int, frame: Any) -> None:
    raise TooLong(f"more than {LIMIT_S} s")

  before = signal.signal(signal.SIGALRM, late)
  try:
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds) and None
  finally:
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def mutated(rng: np.random.Generator, data: bytes) -> bytes:
  """The bytes with one to four changes."""
  for _ in range(rng.integers(1, 5)):
    at, kind = int(rng.integers(len(data) + 1)), rng.integers(6)
    length = int(rng.integers(1, 1 << rng.integers(1, 9)))
    if kind == 0 and at < len(data):
      bit = bytes([data[at] ^ (1 << rng.integers(8))])
      data = data[:at] + bit + data[at + 1 :]
    elif kind == 1:
      data = data[:at] + rng.bytes(length) + data[at + length :]
    elif kind == 2:
      data = data[:at]
    elif kind == 3:
      data = data[:at] + data[at + length :]
    elif kind == 4:
      data = data[:at] + data[at : at + length] * 3 + data[at + length :]
    else:
      data = data[:at] + rng.bytes(length) + data[at:]
  return data


def changed(rng: np.random.Generator, value: Any) -> Any:
  """JSON with one value replaced, left out, or doubled."""
  if isinstance(value, dict) and value and rng.random() < 0.95:
    names = list(value)
    name = names[rng.integers(len(names))]
    kind = rng.integers(10)
    if kind == 0:
      return {n: v for n, v in value.items() if n != name}
    if kind == 1:
      return {**value, f"{name}_": value[name]}
    return {**value, name: changed(rng, value[name])}
  if isinstance(value, list) and value and rng.random() < 0.95:
    at = int(rng.integers(len(value)))
    kind = rng.integers(10)
    if kind == 0:
      return value[:at] + value[at + 1 :]
    if kind == 1:
      return value[:at] + [value[at]] + value[at:]
    return value[:at] + [changed(rng, value[at])] + value[at + 1 :]
  if isinstance(value, int | float) and rng.random() < 0.5:
    return value * float(rng.choice([-1, 0, 1e-30, 1e30, 1.5]))
  return NASTY[rng.integers(len(NASTY))]


def sealing(
  name: str, digest: Callable[[dict[str, Any]], str]
) -> Callable[[np.random.Generator, bytes], bytes]:
  """Changes bytes, or JSON values under a right digest of that name."""

  def mutate(rng: np.random.Generator, data: bytes) -> bytes:
    if rng.random() < 0.3:
      return mutated(rng, data)
    value = json.loads(data)
    for _ in range(rng.integers(1, 4)):
      value = changed(rng, value)
    if isinstance(value, dict) and rng.random() < 0.95:
      with contextlib.suppress(TypeError):  # no JSON: names of several types
        value[name] = digest(value)
    return json.dumps(value).encode()

  return mutate


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
  digested = sealing("digest", document.digest)
  sealed = sealing("seal", records.seal)
  with tempfile.TemporaryDirectory() as name:
    scratch = pathlib.Path(name)
    found = {
      "table": Parser(
        [_table(scratch)], digested, reading(_use_table, ".json")
      ),
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
      "arrays": Parser(
        _archives(), _change_archive, reading(readers.read_arrays, ".npz")
      ),
      "npz": Parser(
        _archives(),
        _change_archive,
        reading(lambda path: folder.load_npz("npz", path), ".npz"),
      ),
      "images": Parser(_images(), _change_image, _read_image),
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
      "configs": Parser([_config()], _change_values, _check_config),
      "architectures": Parser(
        [
          json.dumps(
            architecture.to_json(SPACE, (1,) * len(SPACE.choices))
          ).encode()
        ],
        _change_values,
        lambda data, _: architecture.from_json(
          SPACE, msgspec.convert(json.loads(data), records.Architecture)
        ),
      ),
    }
  return found


def _change_image(rng: np.random.Generator, data: bytes) -> bytes:
  """Changes bytes; half of the PNG files get right checksums again."""
  data = mutated(rng, data)
  start = b"\x89PNG\r\n\x1a\n"
  if not data.startswith(start) or rng.random() < 0.5:
    return data
  made, rest = start, data[len(start) :]
  while len(rest) >= 12:
    length = min(int.from_bytes(rest[:4], "big"), len(rest) - 12)
    body = rest[4 : 8 + length]
    made += length.to_bytes(4, "big") + body
    made += zlib.crc32(body).to_bytes(4, "big")
    rest = rest[12 + length :]
  return made


def _change_archive(rng: np.random.Generator, data: bytes) -> bytes:
  """Changes bytes of the archive, or of an array with a right checksum."""
  if rng.random() < 0.3:
    return mutated(rng, data)
  stream = io.BytesIO()
  with zipfile.ZipFile(io.BytesIO(data)) as old:
    names = old.namelist()
    victim = names[rng.integers(len(names))]
    with zipfile.ZipFile(stream, "w") as new:
      for name in names:
        content = old.read(name)
        if name == victim:  # mostly its header
          head = 128 if rng.random() < 0.8 else len(content)
          content = mutated(rng, content[:head]) + content[head:]
        new.writestr(name, content)
  return stream.getvalue()


def _text(data: bytes) -> str:
  return data.decode(errors="surrogateescape")


def _change_values(rng: np.random.Generator, data: bytes) -> bytes:
  value = json.loads(data)
  for _ in range(rng.integers(1, 4)):
    value = changed(rng, value)
  return json.dumps(value).encode()


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


def _plans(scratch: pathlib.Path, mutate: Any) -> dict[str, Parser]:
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


def main() -> None:
  """Gives each parser its inputs, in a process of its own."""
  parse = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parse.add_argument("--count", type=int, default=100_000)
  parse.add_argument("--first", type=int, default=0)
  parse.add_argument("--only", help="one parser, in this process; prints it")
  parse.add_argument("--json", type=pathlib.Path, default=HERE / "fuzz.json")
  args = parse.parse_args()
  known = parsers()
  if args.only:
    outcome = run(args.only, known[args.only], args.first, args.count)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(json.dumps(outcome._asdict() | {"peak_mb": round(peak_mb)}))
    return
  results = readers.read_json(args.json) if args.json.exists() else {}
  for name in known:
    while (done := results.get(name, {}).get("inputs", 0)) < args.count:
      count = min(STEP, args.count - done)
      results[name] = _added(results.get(name), _in_process(name, done, count))
      writers.write_json(args.json, results)
    print(name, results[name], flush=True)


def _in_process(name: str, first: int, count: int) -> dict[str, Any]:
  flags = [f"--only={name}", f"--first={first}", f"--count={count}"]
  done = subprocess.run(
    [sys.executable, "-m", "experiments.faults.fuzz", *flags],
    capture_output=True,
    text=True,
    check=True,
  )
  return json.loads(done.stdout.splitlines()[-1])


def _added(
  before: dict[str, Any] | None, now: dict[str, Any]
) -> dict[str, Any]:
  if before is None:
    return now
  return {
    "inputs": before["inputs"] + now["inputs"],
    "accepted": before["accepted"] + now["accepted"],
    "faults": before["faults"] + now["faults"],
    "longest_s": max(before["longest_s"], now["longest_s"]),
    "peak_mb": max(before["peak_mb"], now["peak_mb"]),
  }


if __name__ == "__main__":
  main()
