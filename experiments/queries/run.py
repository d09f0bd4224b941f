"""Do answers keep their budgets? 100 budgets, measured in another process.

  python experiments/queries/run.py --workdir=runs/digits

Budgets are uniform between the smallest and the largest predicted latency of
the run's space. The run's table is calibrated first. Every budget is answered
as by `Run.query` on this device; then a fresh process measures every answer
again, all of them in turn. After a stop the same command goes on; if --json is
complete, only its summary is printed.

Reported: answers whose second measurement exceeds the budget, by any amount and
by more than the stated interquartile range; first candidates that exceeded it
before anything was measured; the share of the budget used, over budgets that
the best architecture without a budget does not keep.
"""

import argparse
import pathlib
import subprocess
import sys
from typing import Any

import msgspec
import numpy as np

import hwnas_jax as hw
from hwnas_jax.config import problem as problems
from hwnas_jax.core.types import Genotype
from hwnas_jax.costs import table as tables
from hwnas_jax.costs.correct import calibration
from hwnas_jax.costs.measure import timing
from hwnas_jax.costs.measured import Measured
from hwnas_jax.costs.table import LatencyTable
from hwnas_jax.io import readers, records, versions, writers
from hwnas_jax.io.cache import use_compilation_cache
from hwnas_jax.runs import query
from hwnas_jax.spaces import architecture

RESULTS = pathlib.Path(__file__).parent / "results.json"
NUM_CALIBRATION = 20
KEPT = ("predicted_ms", "measured", "unconstrained_best_fits")


def calibrated(run: hw.Run, path: pathlib.Path, repeats: int) -> LatencyTable:
  """The run's table, calibrated on networks measured now; kept at `path`."""
  if path.exists():
    return LatencyTable.load(path)
  net, costs = run.nets.derived, tables.raw_costs(run.table)
  rule, rng = problems.rule_of(run.config), np.random.default_rng(0)
  chosen = calibration.choose(net, costs, rule, rng, NUM_CALIBRATION)
  measured = Measured(chosen, measure(run, chosen, repeats))
  fitted = calibration.calibrate(net, costs, measured)
  table = msgspec.structs.replace(run.table, calibration=fitted)
  table.save(path)
  return table


def measure(
  run: hw.Run, genotypes: list[Genotype], repeats: int
) -> list[float]:
  """Median latencies in ms, all measured in turn."""
  size = run.table.batch_size
  named = {str(i): genotype for i, genotype in enumerate(genotypes)}
  compiled = timing.compile_networks(run.nets.derived, named, size)
  rows = timing.measure_networks(compiled, repeats)
  return [rows[str(i)].median_ms for i in range(len(genotypes))]


def ask(run: hw.Run, table: LatencyTable, ms: float) -> dict[str, Any]:
  """One budget's certificate and architecture, or why it was refused."""
  try:
    # `Run.query` would write the weights of every answer too.
    genotype, answer = query.ask(run.finished, query.Question(f"{ms}ms", table))
  except ValueError as error:
    return {"budget_ms": ms, "refused": str(error)}
  certificate = records.to_json(answer)
  return {
    "budget_ms": ms,
    "genotype": architecture.to_json(run.nets.derived.space(), genotype),
    "tried": [tried["measured"] for tried in certificate["tried"]],
    **{name: certificate[name] for name in KEPT},
  }


def again(run: hw.Run, rows: list[dict[str, Any]], repeats: int) -> list[float]:
  """Measures the answers of `rows`, a different network once: ms a row."""
  space = run.nets.derived.space()
  genotypes = [architecture.from_json(space, r["genotype"]) for r in rows]
  different = list(dict.fromkeys(genotypes))
  ms = dict(zip(different, measure(run, different, repeats), strict=True))
  return [ms[g] for g in genotypes]


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
  """The counts that the module's docstring names."""
  answered = [r for r in rows if "refused" not in r]
  over = [r["again_ms"] - r["budget_ms"] for r in answered]
  iqr = [r["measured"]["iqr_ms"] for r in answered]
  binding = [r for r in answered if not r["unconstrained_best_fits"]]
  use = [r["measured"]["median_ms"] / r["budget_ms"] for r in binding]
  first = [r["tried"][0]["median_ms"] > r["budget_ms"] for r in answered]
  return {
    "budgets": len(rows),
    "refused": len(rows) - len(answered),
    "over": int(np.sum(np.asarray(over) > 0)),
    "over_by_more_than_the_iqr": int(np.sum(np.greater(over, iqr))),
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
  results = readers.read_json(args.json) if args.json.exists() else {}
  if len(results.get("rows", [])) >= args.budgets and "summary" in results:
    print(results["summary"])
    return
  run = hw.load(args.workdir)
  if args.again:
    answered = [r for r in results["rows"] if "refused" not in r]
    for row, ms in zip(
      answered, again(run, answered, args.repeats), strict=True
    ):
      row["again_ms"] = ms
    results["summary"] = summarise(results["rows"])
    writers.write_json(args.json, results)
    return
  table = calibrated(run, args.workdir / "table_calibrated.json", args.repeats)
  assert table.calibration is not None
  low, high = query.reach_ms(run.nets.derived, table, run.config.derive.rule)
  budgets = np.random.default_rng(1).uniform(low, high, args.budgets)
  rows = results.setdefault("rows", [])
  results.pop("summary", None)
  for number in range(len(rows), args.budgets):
    rows.append(ask(run, table, float(budgets[number])))
    errors = records.to_json(calibration.errors(table.calibration))
    results["calibration"] = errors
    results["reach_ms"] = [low, high]
    results["versions"] = versions.versions()
    results["device"] = records.to_json(versions.device_fingerprint())
    writers.write_json(args.json, results)
    print(f"{number + 1}/{args.budgets}", rows[-1], flush=True)
  subprocess.run(
    [sys.executable, __file__, *sys.argv[1:], "--again"], check=True
  )
  print(readers.read_json(args.json)["summary"])


if __name__ == "__main__":
  main()
