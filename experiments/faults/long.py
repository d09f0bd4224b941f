"""Does a process that does much for long keep its memory and its files?

  python -m experiments.faults.long --workdir=runs/faults

From the repository root, after `experiments.faults.kill`, whose finished smoke
run it uses. Three stages, each in a process of its own: a search of 20,000
steps with a checkpoint every 1,000; 2,000 rankings of candidates, each within
another latency; 100 whole queries, each for another budget, into a copy of the
run. Meanwhile the resident memory and the open file handles are sampled.

Writes long.json: by stage the seconds, memory in MB and handles at 21 moments
spread over the second half of the work, and `growth`, the median memory of the
last third of them over that of the first third. What is there is not done
again. --steps, --rankings and --queries make it smaller, which is recorded.
"""

import argparse
import functools
import itertools
import multiprocessing
import os
import pathlib
import shutil
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import hwnas_jax as hw
from hwnas_jax.config import problem as problems
from hwnas_jax.costs.table import LatencyTable
from hwnas_jax.io import readers, versions, writers
from hwnas_jax.io.cache import use_compilation_cache
from hwnas_jax.io.records import Measurement
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.runs import pipeline, searching
from hwnas_jax.runs.candidates import Proposals
from hwnas_jax.runs.query import reach_ms

HERE = pathlib.Path(__file__).parent
EVERY_S, MOMENTS = 0.2, 21


def resident_mb() -> float:
  """Of this process."""
  pages = pathlib.Path("/proc/self/statm").read_text().split()[1]
  return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


def handles() -> int:
  """Open files of this process."""
  return len(os.listdir("/proc/self/fd"))


def watched(work: Callable[[], None]) -> dict[str, Any]:
  """Does some work; samples memory and handles."""
  samples: list[tuple[float, float, int]] = []
  ended = threading.Event()
  start = time.monotonic()

  def watch() -> None:
    while not ended.wait(EVERY_S):
      samples.append((time.monotonic() - start, resident_mb(), handles()))

  watcher = threading.Thread(target=watch)
  watcher.start()
  try:
    work()
  finally:
    ended.set()
    watcher.join()
  # The first half compiles and fills caches.
  places = np.linspace(len(samples) // 2, len(samples) - 1, MOMENTS)
  kept = [samples[int(place)] for place in places]
  memory_mb = [row[1] for row in kept]
  third = MOMENTS // 3
  growth = np.median(memory_mb[-third:]) / np.median(memory_mb[:third])
  return {
    "seconds": round(time.monotonic() - start, 1),
    "memory_mb": [round(mb, 1) for mb in memory_mb],
    "handles": [row[2] for row in kept],
    "growth": round(float(growth), 4),
  }


def search(base: pathlib.Path, workdir: pathlib.Path, count: int) -> None:
  """A search of `count` steps."""
  config = hw.load_config("digits:smoke")
  config.search.update(num_steps=count, checkpoint_every=1000)
  config.latency.table = str(base / "table.json")
  config = problems.resolve(config)
  dataset = pipeline.load_dataset(config)
  nets = problems.make_nets(config, dataset)
  table = LatencyTable.load(base / "table.json")
  problem = problems.make(config, nets, table)
  folder = RunFolder.at(workdir)
  pipeline.begin(folder, config, "", dataset, nets)
  searching.search(problem, folder, dataset)


def rank(base: pathlib.Path, workdir: pathlib.Path, count: int) -> None:
  """`count` rankings, each within another latency of the space."""
  shutil.copytree(base, workdir)
  finished = hw.load(workdir).finished
  table = finished.problem.table
  assert table is not None
  rule = finished.problem.config.derive.rule
  low, high = reach_ms(finished.problem.nets.derived, table, rule)
  for limit_ms in np.linspace(1.01 * low, high, count):
    Proposals(finished, table, {}, ("macs",)).within(float(limit_ms))


def query(base: pathlib.Path, workdir: pathlib.Path, count: int) -> None:
  """`count` queries, on a made-up device: each network takes 1 us more."""
  shutil.copytree(base, workdir)
  run = hw.load(workdir)
  ticks = itertools.count(1)
  measure = lambda genotype: Measurement(1e-3 * next(ticks), 0.0)  # noqa: E731
  for percent in np.linspace(100, 101, count):
    run.query(f"{percent:.4f}%", measure=measure)


STAGES = {"steps": search, "rankings": rank, "queries": query}


def run_stage(
  name: str, base: pathlib.Path, workdir: pathlib.Path, count: int, out: Any
) -> None:
  """One stage in this process; puts its row."""
  use_compilation_cache()
  shutil.rmtree(workdir, ignore_errors=True)
  work = functools.partial(STAGES[name], base, workdir, count)
  out.put({"count": count, **watched(work)})


def main() -> None:
  """Runs each stage that has no row."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--workdir", type=pathlib.Path, required=True)
  parser.add_argument("--json", type=pathlib.Path, default=HERE / "long.json")
  parser.add_argument("--steps", type=int, default=20_000)
  parser.add_argument("--rankings", type=int, default=2000)
  parser.add_argument("--queries", type=int, default=100)
  args = parser.parse_args()
  rows = readers.read_json(args.json) if args.json.exists() else {}
  context = multiprocessing.get_context("spawn")
  for name in STAGES:
    if name in rows:
      continue
    out = context.Queue()
    folder = args.workdir / f"long_{name}"
    job = name, args.workdir / "base", folder, getattr(args, name), out
    process = context.Process(target=run_stage, args=job)
    process.start()
    process.join()
    if process.exitcode:
      raise SystemExit(f"{name} ended with {process.exitcode}")
    rows[name] = out.get()
    print(name, rows[name], flush=True)
    rows["versions"] = versions.versions()
    writers.write_json(args.json, rows)


if __name__ == "__main__":
  main()
