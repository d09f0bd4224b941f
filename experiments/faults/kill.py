"""Kills a command at moments drawn over its whole time; what is lost?

  python -m experiments.faults.kill --workdir=runs/faults
  python -m experiments.faults.kill --workdir=runs/faults --signal=TERM

From the repository root. The job is the smoke variant of the digits' config, on
a table that is measured once, with a warm compilation cache. It runs once
without a kill. Then a trial: the command is started in a fresh folder, killed
after a random part of that time, and started again until it ends. Its final
state must have the bits of the first run: the search's last checkpoint, and the
weights of every network that both trained. Measured times may differ, and so
may the baselines, which are chosen by them.

--command=query, export, scale or profile kills that command instead, in a copy
of the finished run; profile only has to end.

A command that ends before its moment comes is no trial of the signal; they go
on until the signal struck --count times. Writes kill.json, a row a trial; what
is there is not done again.
"""

import argparse
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time
from typing import Any

from hwnas_jax.io import checkpoint, readers, versions, writers
from hwnas_jax.io.run_folder import RunFolder

HERE = pathlib.Path(__file__).parent
CONFIG = "--config=configs/digits.py:smoke"
COMMANDS = ("main", "query", "export", "scale", "profile")
SIGNALS = {"KILL": signal.SIGKILL, "TERM": signal.SIGTERM, "INT": signal.SIGINT}
# How a command ends that a signal stopped; it may also end before it is sent.
STOPPED = {"KILL": {-9}, "TERM": {143, -15}, "INT": {130, -2, 143}}
LIMIT_S = 600.0  # of one start


def arguments(command: str, run: pathlib.Path, base: pathlib.Path) -> list[str]:
  """The command line on a run folder; `base` is the finished run."""
  workdir = f"--workdir={run}"
  if command == "main":
    table = f"--config.latency.table={base / 'table.json'}"
    return ["hwnas_jax.main", CONFIG, workdir, table]
  if command == "profile":
    return ["hwnas_jax.profile", CONFIG, f"--out={run / 'new.json'}"]
  if command == "query":
    # A budget that is kept on a busy machine too.
    return ["hwnas_jax.query", workdir, "--latency=200%"]
  network = f"--id={trained(RunFolder(run))[0]}"
  if command == "export":
    return ["hwnas_jax.export", workdir, network, f"--out={run / 'export'}"]
  return ["hwnas_jax.scale", workdir, network, "--widths=1,2", "--sides=1"]


def trained(folder: RunFolder) -> list[str]:
  """Ids of the networks that have weights."""
  paths = sorted(folder.path.glob("networks/*/weights.npz"))
  return [path.parent.name for path in paths]


def start(command: list[str], after_s: float | None, how: int) -> int:
  """Runs a command, with a signal after some time; returns its exit code."""
  process = subprocess.Popen(
    [sys.executable, "-m", *command],
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  try:
    process.wait(LIMIT_S if after_s is None else after_s)
  except subprocess.TimeoutExpired:
    process.send_signal(signal.SIGKILL if after_s is None else how)
    process.wait(LIMIT_S)
  return process.returncode


def bits(folder: RunFolder) -> dict[str, str]:
  """Digests of what must not depend on a kill, by what they are of."""
  last = max(checkpoint.steps(folder.search / "checkpoints"), default=0)
  weights = {
    name: str(readers.read_arrays(folder.network(name).weights)["seal"])
    for name in trained(folder)
  }
  step = folder.search / "checkpoints" / str(last)
  state = checkpoint._read_record(step)["digest"] if last else ""
  return {"search": str(state), **weights}


def trial(args: argparse.Namespace, number: int, base: Any) -> dict[str, Any]:
  """One kill: its moment, and what came of it."""
  rng = random.Random(f"{args.command} {args.signal} {number}")
  after_s = rng.uniform(0.0, base["seconds"])
  run = args.workdir / f"trial_{args.command}"
  shutil.rmtree(run, ignore_errors=True)
  finished = args.workdir / "base"
  if args.command == "main":
    run.mkdir(parents=True)
  else:
    shutil.copytree(finished, run)
  command = arguments(args.command, run, finished)
  first = start(command, after_s, SIGNALS[args.signal])
  again = start(command, None, 0)
  wanted = base["bits"]
  got = bits(RunFolder(run)) if args.command != "profile" else wanted
  both = got.keys() & wanted.keys()
  lost = [name for name in both if got[name] != wanted[name]]
  return {
    "after_s": round(after_s, 2),
    "first_exit": first,
    "again_exit": again,
    "lost": sorted(lost),
    "fine": again == 0
    and not lost
    and "search" in got
    and first in {0, *STOPPED[args.signal]},
  }


def reference(args: argparse.Namespace) -> dict[str, Any]:
  """The undisturbed run: made once; its bits, and the command's seconds."""
  run = args.workdir / "base"
  if RunFolder(run).family() is None:
    profile = ["hwnas_jax.main", CONFIG, f"--workdir={run}"]
    if start(profile, None, 0):
      raise SystemExit("the undisturbed run failed")
  again = args.workdir / "again"
  shutil.rmtree(again, ignore_errors=True)
  if args.command != "main":
    shutil.copytree(run, again)
  began = time.monotonic()
  if start(arguments(args.command, again, run), None, 0):
    raise SystemExit(f"the undisturbed {args.command} failed")
  return {
    "seconds": time.monotonic() - began,
    "bits": bits(RunFolder(again if args.command == "main" else run)),
  }


def main() -> None:
  """Runs the trials that kill.json lacks, and prints a line each."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--workdir", type=pathlib.Path, required=True)
  parser.add_argument("--command", choices=COMMANDS, default="main")
  parser.add_argument("--signal", choices=SIGNALS, default="KILL")
  parser.add_argument("--count", type=int, default=100)
  parser.add_argument("--json", type=pathlib.Path, default=HERE / "kill.json")
  args = parser.parse_args()
  # What a shell starts in the background ignores it, and so would the command.
  signal.signal(signal.SIGINT, signal.default_int_handler)
  results = readers.read_json(args.json) if args.json.exists() else {}
  key = f"{args.command} {args.signal}"
  rows = results.setdefault(key, {"trials": []})
  trials, base = rows["trials"], None
  while sum(struck(row, args.signal) for row in trials) < args.count:
    base = base or reference(args)
    row = trial(args, len(trials), base)
    print(f"{key} {len(trials)}: {row}", flush=True)
    trials.append(row)
    rows |= {"seconds": base["seconds"], "versions": versions.versions()}
    writers.write_json(args.json, results)
  hit = sum(struck(row, args.signal) for row in trials)
  fine = sum(row["fine"] for row in trials)
  print(f"{key}: struck {hit} of {len(trials)} times; {fine} lost nothing")


def struck(row: dict[str, Any], name: str) -> bool:
  """Whether the command was stopped by the signal of a name."""
  return row["first_exit"] in STOPPED[name]


if __name__ == "__main__":
  main()
