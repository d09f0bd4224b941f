"""Do answers keep their budgets? 100 budgets, measured again elsewhere.

  python experiments/queries/run.py --workdir=runs/digits

Budgets are uniform between the smallest and the largest predicted latency of
the run's space. The run's table is calibrated first. Every budget is answered
by `finished.Family.query` on this device; then a fresh process measures every
answer again, all of them in turn. Stopped, the same command goes on.

Reported: answers whose second measurement breaks the budget, by any amount
and by more than the spread that was stated; first candidates that broke it
before anything was measured; the budget's use, over budgets that the best
architecture without a budget does not keep.
"""

import argparse
import dataclasses
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np

from hwnas_jax.costs import table
from hwnas_jax.costs.correct import calibration
from hwnas_jax.costs.measure import timing
from hwnas_jax.io import versions, writers
from hwnas_jax.io.cache import use_compilation_cache
from hwnas_jax.runs import family
from hwnas_jax.spaces import architecture, rules

HERE = pathlib.Path(__file__).parent
RESULTS = HERE / "results.json"
NUM_CALIBRATION = 20


def calibrated(
  of: family.Family, path: pathlib.Path, repeats: int
) -> table.LatencyTable:
  """The run's table, calibrated on networks measured now; kept at `path`."""
  if path.exists():
    return table.load(path)
  costs = table.raw_costs(of.table)
  rule = rules.RULES[of.config.derive.rule]
  rng = np.random.default_rng(0)
  chosen = calibration.choose(of.derived, costs, rule, rng, NUM_CALIBRATION)
  measured = measure(of, chosen, repeats)
  found = calibration.calibrate(of.derived, costs, chosen, measured)
  result = dataclasses.replace(of.table, calibration=found)
  table.save(path, result)
  return result


def measure(of: family.Family, genotypes: list, repeats: int) -> list[float]:
  """Median latencies in ms, all measured in turn."""
  size = of.table.batch_size
  named = {str(i): genotype for i, genotype in enumerate(genotypes)}
  compiled = timing.compile_networks(of.derived, named, size)
  rows = timing.measure_networks(compiled, repeats)
  return [rows[str(i)]["median_ms"] for i in range(len(genotypes))]


def ask(of: family.Family, found: table.LatencyTable, ms: float) -> dict:
  """One budget's certificate and genotype, or why it was refused."""
  try:
    answer = of.query(f"{ms}ms", table=found)
  except ValueError as error:
    return {"budget_ms": ms, "refused": str(error)}
  edges = architecture.to_json(of.derived.space(), answer.genotype)
  kept = ("predicted_ms", "measured", "tried", "unconstrained_best_fits")
  certificate = {name: answer.certificate[name] for name in kept}
  return {"budget_ms": ms, "genotype": edges, **certificate}


def again(of: family.Family, rows: list[dict], repeats: int) -> list[float]:
  """Measures the answers of `rows`, a different network once: ms a row."""
  space = of.derived.space()
  genotypes = [architecture.from_json(space, r["genotype"]) for r in rows]
  different = list(dict.fromkeys(genotypes))
  ms = dict(zip(different, measure(of, different, repeats), strict=True))
  return [ms[g] for g in genotypes]


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
  """The counts that the module's docstring names."""
  answered = [r for r in rows if "refused" not in r]
  over = [r["again_ms"] - r["budget_ms"] for r in answered]
  spread = [r["measured"]["spread_ms"] for r in answered]
  binding = [r for r in answered if not r["unconstrained_best_fits"]]
  use = [r["measured"]["median_ms"] / r["budget_ms"] for r in binding]
  first = [r["tried"][0]["median_ms"] > r["budget_ms"] for r in answered]
  return {
    "budgets": len(rows),
    "refused": len(rows) - len(answered),
    "over": int(np.sum(np.asarray(over) > 0)),
    "over_by_more_than_the_spread": int(np.sum(np.greater(over, spread))),
    "over_before_measuring": int(np.sum(first)),
    "binding": len(binding),
    "median_use": float(np.median(use)) if use else None,
    "mean_use": float(np.mean(use)) if use else None,
    "median_measured": float(np.median([len(r["tried"]) for r in answered])),
  }


def parse() -> argparse.Namespace:
  """The command line."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--workdir", type=pathlib.Path, required=True)
  parser.add_argument("--json", type=pathlib.Path, default=RESULTS)
  parser.add_argument("--budgets", type=int, default=100)
  parser.add_argument("--repeats", type=int, default=30)
  parser.add_argument("--again", action="store_true", help=argparse.SUPPRESS)
  return parser.parse_args()


def main() -> None:
  """Asks what --json lacks, measures again, prints the summary."""
  args = parse()
  use_compilation_cache()
  results = writers.read_json(args.json) if args.json.exists() else {}
  of = family.load(args.workdir)
  if args.again:
    answered = [r for r in results["rows"] if "refused" not in r]
    for row, ms in zip(
      answered, again(of, answered, args.repeats), strict=True
    ):
      row["again_ms"] = ms
    results["summary"] = summarise(results["rows"])
    writers.write_json(args.json, results)
    return
  found = calibrated(of, args.workdir / "table_calibrated.json", args.repeats)
  low, high = family.reach_ms(of, found)
  budgets = np.random.default_rng(1).uniform(low, high, args.budgets)
  rows = results.setdefault("rows", [])
  for number in range(len(rows), args.budgets):
    rows.append(ask(of, found, float(budgets[number])))
    results["calibration"] = calibration.errors(found.calibration)
    results["reach_ms"] = [low, high]
    results["versions"] = versions.versions()
    results["device"] = versions.device_fingerprint()
    writers.write_json(args.json, results)
    print(f"{number + 1}/{args.budgets}", rows[-1], flush=True)
  subprocess.run(
    [sys.executable, __file__, *sys.argv[1:], "--again"], check=True
  )
  print(writers.read_json(args.json)["summary"])


if __name__ == "__main__":
  main()
