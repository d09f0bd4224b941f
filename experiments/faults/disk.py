"""Fills the disk during the main job, at sizes spread over what it writes.

  sudo python -m experiments.faults.disk --workdir=runs/faults

From the repository root, as root, since it mounts a tmpfs; after
`experiments.faults.kill`, whose finished run it compares with. In each trial
the run folder lies on a disk of a part of the size that the run needs. The
command has to end with one line that says that the disk is full. Then the disk
grows, the same command has to end well, and the bits have to be those of the
undisturbed run. The last trial is a folder that cannot be written.

Writes disk.json, a row a trial; what is there is not done again.
"""

import argparse
import pathlib
import subprocess
import sys
from typing import Any

from experiments.faults import kill
from hwnas_jax.io import readers, versions, writers
from hwnas_jax.io.run_folder import RunFolder

HERE = pathlib.Path(__file__).parent
FULL, READ_ONLY = "the disk is full", "may not be read or written"


def mount(disk: pathlib.Path, options: str) -> None:
  """Mounts a tmpfs, or changes one that is mounted."""
  disk.mkdir(parents=True, exist_ok=True)
  command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)]
  subprocess.run(command, check=True)


def run(command: list[str]) -> tuple[int, str]:
  """(exit code, the command's own last line, marked after a traceback)."""
  done = subprocess.run(
    [sys.executable, "-m", *command],
    capture_output=True,
    text=True,
    timeout=kill.LIMIT_S,
    check=False,
  )
  lines = done.stderr.splitlines()
  said = [line for line in lines if line.startswith("search: ")] or [""]
  traceback = any(line.startswith("Traceback") for line in lines)
  return done.returncode, "TRACEBACK " * traceback + said[-1]


def trial(
  args: argparse.Namespace, kilobytes: int | None, wanted: dict[str, str]
) -> dict[str, Any]:
  """One disk; None is a read-only one."""
  disk, base = args.workdir / "disk", args.workdir / "base"
  mount(disk, "ro" if kilobytes is None else f"size={kilobytes}k")
  try:
    command = kill.arguments("main", disk / "run", base)
    first, line = run(command)
    mount(disk, "remount,rw,size=1g")
    again, _ = run(command)
    got = kill.bits(RunFolder(disk / "run"))
  finally:
    subprocess.run(["umount", str(disk)], check=True)
  both = got.keys() & wanted.keys()
  lost = sorted(name for name in both if got[name] != wanted[name])
  said = READ_ONLY if kilobytes is None else FULL
  return {
    "kilobytes": kilobytes,
    "first_exit": first,
    "line": line[-300:],
    "again_exit": again,
    "lost": lost,
    "fine": first == 1
    and said.lower() in line.lower()
    and "TRACEBACK" not in line
    and again == 0
    and not lost
    and bool(got["search"]),
  }


def main() -> None:
  """Runs the trials that disk.json lacks, and prints a line each."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--workdir", type=pathlib.Path, required=True)
  parser.add_argument("--count", type=int, default=20)
  parser.add_argument("--json", type=pathlib.Path, default=HERE / "disk.json")
  args = parser.parse_args()
  base = RunFolder(args.workdir / "base")
  if base.family() is None:
    parser.error("run experiments.faults.kill first: its run is compared with")
  wanted = kill.bits(base)
  files = [p for p in base.path.rglob("*") if p.is_file()]
  needed = sum(-(-p.stat().st_size // 4096) * 4 for p in files)  # whole pages
  parts = [needed * (i + 0.5) / args.count for i in range(args.count)]
  sizes = [None, *(max(4, round(part)) for part in parts)]
  results = readers.read_json(args.json) if args.json.exists() else {}
  rows = results.setdefault("trials", [])
  for kilobytes in sizes[len(rows) :]:
    row = trial(args, kilobytes, wanted)
    print(row, flush=True)
    rows.append(row)
    results |= {"needed_kb": needed, "versions": versions.versions()}
    writers.write_json(args.json, results)
  fine = sum(row["fine"] for row in rows)
  print(f"disk: {fine} of {len(rows)} ended in a line and lost nothing")


if __name__ == "__main__":
  main()
