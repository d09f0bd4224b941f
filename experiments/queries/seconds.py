"""How long does a whole query take, as a user starts it?

  HWNAS_CACHE_DIR=CACHE python -m hwnas_jax.main --config=digits --workdir=RUN
  python -m experiments.queries.seconds --workdir=RUN --cache=CACHE

`python -m hwnas_jax.query` is timed from its start to its end, for budgets of
30 to 90 % of the largest architecture's latency, in turns. Every query finds
the run folder and JAX's cache as the main job left them. CACHE has its own path
again each time: JAX's keys depend on it. After a stop the same command goes on.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

from experiments.made import begin, made
from hwnas_jax.io import certificates, readers, records, writers

RESULTS = pathlib.Path(__file__).with_suffix(".json")
PERCENT = (30, 40, 50, 60, 70, 80, 90)
ROUNDS = 2
GOAL_S = 15.0


def ask(workdir: pathlib.Path, cache: pathlib.Path, latency: str) -> Any:
  """One query of copies: its seconds and what it measured."""
  with tempfile.TemporaryDirectory() as folder:
    kept, run = pathlib.Path(folder) / "cache", pathlib.Path(folder) / "run"
    shutil.copytree(cache, kept)
    shutil.copytree(workdir, run)
    command = [sys.executable, "-m", "hwnas_jax.query"]
    start = time.monotonic()
    done = subprocess.run(
      [*command, f"--workdir={run}", f"--latency={latency}"],
      env={**os.environ, "HWNAS_CACHE_DIR": str(cache)},
      capture_output=True,
      text=True,
    )
    seconds = time.monotonic() - start
    shutil.rmtree(cache)
    shutil.copytree(kept, cache)
    if done.returncode:
      raise SystemExit(f"the query of {latency} failed:\n{done.stderr}")
    (path,) = run.glob("queries/*/certificate.json")
    answer = records.read(path, certificates.Certificate)
  return {
    "latency": latency,
    "seconds": seconds,
    "networks_measured": len(answer.tried),
    "predicted_ms": [tried.predicted_ms for tried in answer.tried],
    "measured_ms": [tried.measured.median_ms for tried in answer.tried],
    "budget_ms": answer.budget.latency_ms,
    "load": os.getloadavg()[0],
  }


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
  """Seconds of all, and by the number of networks measured."""
  seconds = np.asarray([row["seconds"] for row in rows])
  counts = np.asarray([row["networks_measured"] for row in rows])
  return {
    "queries": len(rows),
    "median_s": float(np.median(seconds)),
    "largest_s": float(seconds.max()),
    f"within_{GOAL_S:.0f}_s": int((seconds <= GOAL_S).sum()),
    "by_networks_measured": {
      str(n): sorted(seconds[counts == n].round(1).tolist())
      for n in sorted(set(counts.tolist()))
    },
  }


def main() -> None:
  """Asks what --json lacks, prints the summary."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--workdir", type=pathlib.Path, required=True)
  parser.add_argument("--cache", type=pathlib.Path, required=True)
  parser.add_argument("--json", type=pathlib.Path, default=RESULTS)
  args, start = parser.parse_args(), begin()
  results = readers.read_json(args.json) if args.json.exists() else {"rows": []}
  wanted = [f"{percent}%" for _ in range(ROUNDS) for percent in PERCENT]
  for latency in wanted[len(results["rows"]) :]:
    row = ask(args.workdir, args.cache, latency)
    print(row, flush=True)
    results["rows"].append(row)
    results["summary"] = summarise(results["rows"])
    results["made"] = made(start, all=0)
    writers.write_json(args.json, results)
  print(results["summary"])


if __name__ == "__main__":
  main()
