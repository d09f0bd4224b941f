"""Damages each file of a run, and looks at what reads it.

  python -m experiments.faults.files --workdir=runs/faults

From the repository root, after `experiments.faults.kill`, whose finished run it
copies; of the networks' folders, all alike, the first one is damaged. Each file
is emptied, cut in half, replaced by `{}` and by `[]`, deleted, and gets one
flipped bit in 20 places. After each of these, report, inference, query and the
main job run, in this order, in this process; pictures are not drawn.

A command may name the file, or the folder of checkpoints, in an error of one
line ("named"); give what it gave before ("same"), since it does not read the
file or another copy is intact; or leave the file as it was ("rebuilt"). Another
exception, or another result, is a fault. The main job may derive a family again
where family.json is gone: its trained networks have to have the same bits.

Writes files.json, a row for each file and mutation; what is there is not done
again.
"""

import argparse
import contextlib
import io
import pathlib
import random
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import hwnas_jax as hw
from experiments import part
from experiments.faults import kill
from hwnas_jax.config import problem as problems
from hwnas_jax.io import readers, versions, writers
from hwnas_jax.io.records import Measurement
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.report import style

HERE = pathlib.Path(__file__).parent
FLIPS = 20
# They are logs, pictures and the lock: no command's result depends on them.
LOGS = ("metrics.jsonl", "report.html", ".lock")
ERRORS = (ValueError, OSError)  # what a command turns into one line


def flipped(content: bytes, place: int) -> bytes:
  """The content with one bit flipped at a random byte."""
  at = random.Random(place).randrange(len(content))
  changed = bytearray(content)
  changed[at] ^= 1 << (place % 8)
  return bytes(changed)


def mutations(content: bytes) -> Iterator[tuple[str, bytes | None]]:
  """Damaged contents by name; None deletes the file."""
  yield "deleted", None
  yield "empty", b""
  yield "half", content[: len(content) // 2]
  yield "{}", b"{}"
  yield "[]", b"[]"
  for place in range(FLIPS if content else 0):
    yield f"flip {place}", flipped(content, place)


def measure(genotype: Any) -> Measurement:
  """A query's measurement, without a clock: every network fills 1 ms."""
  del genotype
  return Measurement(0.95, 0.0)


def report(run: RunFolder) -> Any:
  """What the report is made of."""
  hw.load(run.path).write_report()
  return run.family()


def infer(run: RunFolder) -> Any:
  """Logits of the first network that the undamaged run has weights of."""
  name = kill.trained(RunFolder(run.path.parent / "base"))[0]
  loaded = hw.load(run.path)
  pixels = np.zeros((1, *loaded.nets.derived.image), np.float32)
  return np.asarray(loaded.network(name).infer(pixels)).tolist()


def query(run: RunFolder) -> Any:
  """The answer of a query, ranked without a compilation."""
  answer = hw.load(run.path).query("1ms", measure=measure, judges=("macs",))
  return answer.network.id


def search(run: RunFolder) -> Any:
  """The main job again; the bits of what it trained."""
  settings = RunFolder.at(run.path.parent / "base").settings()
  config = problems.resolve(settings.config)
  table = hw.Table.load(run.path.parent / "base" / "table.json")
  hw.search(config, workdir=run.path, table=table)
  return kill.bits(run)


COMMANDS: dict[str, Callable[[RunFolder], Any]] = {
  "report": report,
  "infer": infer,
  "query": query,
  "main": search,
}


def outcome(
  command: str, run: RunFolder, file: pathlib.Path, wanted: Any
) -> str:
  """`same`, `named`, or what is wrong."""
  quiet = io.StringIO()
  try:
    with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
      got = COMMANDS[command](run)
  except ERRORS as error:
    # A checkpoint is named by its folder, a lost network by its id.
    names = {file.name, *(part for part in file.parts[len(run.path.parts) :])}
    named = any(name in str(error) for name in names)
    return "named" if named else f"FAULT: not named: {error!s:.200}"
  except Exception as error:  # what this experiment looks for
    return f"FAULT: {type(error).__name__}: {error!s:.200}"
  if command == "main" and isinstance(wanted, dict):
    got = {name: got.get(name) for name in wanted}
  return "same" if got == wanted else f"FAULT: another result: {got!s:.100}"


def try_file(
  base: RunFolder, file: pathlib.Path, wanted: dict[str, Any]
) -> Iterator[dict[str, Any]]:
  """A row for each mutation of a file, relative to the run."""
  content = (base.path / file).read_bytes()
  for name, damaged in mutations(content):
    run = RunFolder(base.path.parent / "damaged")
    shutil.rmtree(run.path, ignore_errors=True)
    shutil.copytree(base.path, run.path)
    path = run.path / file
    if damaged is None:
      path.unlink()
    else:
      path.write_bytes(damaged)
    row = {"file": str(file), "mutation": name}
    row |= {c: outcome(c, run, path, wanted[c]) for c in COMMANDS}
    restored = path.exists() and path.read_bytes() == content
    yield row | {"restored": restored}


def main() -> None:
  """Tries what files.json lacks; prints faults, then a count."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--workdir", type=pathlib.Path, required=True)
  parser.add_argument("--json", type=pathlib.Path, default=HERE / "files.json")
  part.add_flag(parser, "files")
  args = parser.parse_args()
  style.to_svg = lambda *_: ""  # most of a command's time
  base = RunFolder(args.workdir / "base")
  if base.family() is None:
    parser.error("run experiments.faults.kill first: its run is copied")
  query(base)  # so that there are scores and an answer
  wanted = {name: command(base) for name, command in COMMANDS.items()}
  results = readers.read_json(args.json) if args.json.exists() else {"rows": []}
  done = {row["file"] for row in results["rows"]}
  others = kill.trained(base)[1:]
  files = sorted(
    path
    for path in base.path.rglob("*")
    if path.is_file() and not set(path.parts) & {*others}
  )
  files.sort(key=lambda p: "checkpoints" in p.parts)  # many: the last
  names = [path.relative_to(base.path) for path in files]
  todo = [n for n in names if n.name not in LOGS and str(n) not in done]
  for file in args.part.of(todo):
    rows = list(try_file(base, file, wanted))
    results["rows"] += rows
    results["versions"] = versions.versions()
    writers.write_json(args.json, results)
    faults = [r for r in rows if any("FAULT" in str(v) for v in r.values())]
    print(f"{file}: {len(rows)} mutations, {len(faults)} faults", flush=True)
    for row in faults[:3]:
      print(f"  {row}", flush=True)


if __name__ == "__main__":
  main()
