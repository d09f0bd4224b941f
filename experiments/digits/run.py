"""Whole runs on the digits, from several seeds, and a linear baseline.

  python experiments/digits/run.py --workdir=runs/digits_seeds
  python experiments/digits/run.py --draw

Runs `python -m hwnas_jax.main` once a seed, each with an empty compilation
cache. A run that was stopped goes on; one that is in --json is skipped.
Spearman's correlation is of scale and measured latency over the family's sweep:
at -1 every larger scale gives a faster network. --draw draws the first seed's
networks from --json.
"""

import argparse
import os
import pathlib
import signal
import subprocess
import sys
import time
from typing import Any

import numpy as np
from scipy import stats
from sklearn.linear_model import LogisticRegression

import hwnas_jax as hw
from hwnas_jax.data import load
from hwnas_jax.io import readers, records, versions, writers
from hwnas_jax.io.records import Family, Member
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.report import comparison, plots, verdict
from hwnas_jax.report import family as reading

RESULTS = pathlib.Path(__file__).parent / "results.json"
CONFIG = "digits"
COLUMNS = (
  "wall_s",
  "spearman",
  "latency_ratio",
  "accuracy_slowest",
  "accuracy_fastest",
  "accuracy_random",
  "over_largest",
  "over_random",
)


def run(config: str, seed: int, workdir: pathlib.Path) -> dict[str, Any]:
  """Runs or resumes the main job: its wall seconds, and if it was resumed."""
  folder = workdir / f"seed_{seed}"
  resumed = folder.exists()
  command = [sys.executable, "-m", "hwnas_jax.main", f"--config={config}"]
  command += [f"--config.seed={seed}", f"--workdir={folder}"]
  env = {**os.environ, "HWNAS_CACHE_DIR": str(workdir / f"cache_{seed}")}
  start = time.perf_counter()
  subprocess.run(command, check=True, env=env)
  seconds = time.perf_counter() - start
  family = RunFolder.at(folder).family()
  assert family is not None
  return {"wall_s": seconds, "resumed": resumed, **describe(family)}


def describe(family: Family) -> dict[str, Any]:
  """The numbers of a family.

  accuracy_slowest and accuracy_fastest are those of the slowest and the fastest
  trained member, accuracy_random the mean of the random architectures.
  over_largest and over_random are the mean differences of the members from
  their own baselines.
  """
  members = {member.id: member for member in family.members}
  sweep = sorted(family.sweep, key=lambda point: point.condition.scale)
  scales = [point.condition.scale for point in sweep]
  latencies_ms = [members[point.id].latency_ms or 0.0 for point in sweep]
  kinds = reading.by_kind(family.members)
  searched = [m for m in kinds["member"] if reading.accuracy(m) is not None]
  rank = stats.spearmanr(scales, latencies_ms).statistic
  over = {
    f"over_{c.kind}": c.difference for c in comparison.comparisons(family)
  }
  return {
    "spearman": float(rank) if len(set(latencies_ms)) > 1 else None,
    "num_members": len(kinds["member"]),
    "latency_ratio": min(latencies_ms) / max(latencies_ms),
    "accuracy_slowest": reading.accuracy(searched[-1]),
    "accuracy_fastest": reading.accuracy(searched[0]),
    "accuracy_random": float(
      np.mean([reading.accuracy(member) or 0.0 for member in kinds["random"]])
    ),
    **over,
    "verdict": verdict.sentences(family),
    "baselines": records.to_json(family.baselines),
    "members": records.to_json(family.members),
    "sweep": records.to_json(family.sweep),
  }


def linear_accuracy() -> float:
  """Test accuracy of logistic regression on the pixels, same split."""
  data = load.load("digits")
  train, test = (
    (
      np.asarray(s.images).reshape(len(s.labels), -1) / 255,
      np.asarray(s.labels),
    )
    for s in (data.train, data.test)
  )
  return float(LogisticRegression(max_iter=5000).fit(*train).score(*test))


def print_table(results: dict[str, Any]) -> None:
  """One line a seed, their mean and standard deviation, the baseline."""
  rows = {name: row for name, row in results.items() if name != "linear"}
  print("".join(f"{name:>25}" for name in ("", *COLUMNS)))
  values = np.asarray(
    [[row.get(c) for c in COLUMNS] for row in rows.values()], float
  )
  lines = dict(zip(rows, values, strict=True))
  lines["mean"] = values.mean(0)
  if len(values) > 1:
    lines["standard deviation"] = values.std(0, ddof=1)
  for name, line in lines.items():
    print(f"{name:>25}" + "".join(f"{value:25.4f}" for value in line))
  linear = results["linear"]["test_accuracy"]
  print(f"logistic regression on the pixels: {linear:.4f}")


def draw(results: dict[str, Any], path: pathlib.Path) -> None:
  """Draws the first seed's networks: test accuracy over measured latency."""
  first = min(name for name in results if name.startswith("seed "))
  members = [
    records.from_json(f"{first}, member {i}", member, Member)
    for i, member in enumerate(results[first]["members"])
  ]
  plots.pareto_figure(members).savefig(path, dpi=160)


def parse() -> argparse.Namespace:
  """The command line."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
  parser.add_argument(
    "--workdir", type=pathlib.Path, default="runs/digits_seeds"
  )
  parser.add_argument("--json", type=pathlib.Path, default=RESULTS)
  parser.add_argument("--draw", action="store_true", help="the figure, no run")
  parser.add_argument("--smoke", action="store_true", help="tiny, one seed")
  args = parser.parse_args()
  if args.smoke and args.json == RESULTS:
    parser.error("--smoke needs a --json of its own")
  if args.smoke:
    args.seeds = [0]
  return args


def main() -> None:
  """Runs what --json lacks; prints all of it."""
  args = parse()
  if args.draw:
    draw(readers.read_json(args.json), args.json.with_name("pareto.png"))
    return
  # As an exception, it ends the run of the moment too.
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
  config = f"{CONFIG}:smoke" if args.smoke else CONFIG
  about = {
    "config": hw.load_config(config).to_dict(),
    "versions": versions.versions(),
    "device": records.to_json(versions.device_fingerprint()),
  }
  results = readers.read_json(args.json) if args.json.exists() else {}
  if "linear" not in results:
    results["linear"] = {"test_accuracy": linear_accuracy(), **about}
  for seed in args.seeds:
    if f"seed {seed}" not in results:
      results[f"seed {seed}"] = {**run(config, seed, args.workdir), **about}
      writers.write_json(args.json, results)
  print_table(results)


if __name__ == "__main__":
  main()
