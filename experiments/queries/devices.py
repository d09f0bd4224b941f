"""Do answers keep their budgets on 27 devices with published latencies?

  python experiments/queries/devices.py --workdir=runs/nb201_digits \
      --data_dir=DIR

DIR holds help_latency_nb201.npz ({setting: float32[15625] ms}, published with
HELP, MIT) and nb201_cifar10.npz (`ops[15625, 6]`). The run is any finished one
of NAS-Bench-201's space (README.md has a small one's command); its table is
that of the machine it ran on. Each setting's table is made from that one and 20
measured cells, by `costs.correct.transfer` with a prior from all settings but
those of the same device, for the liveness rule under which the cells predict
each other better. Budgets are uniform between the smallest and the largest
predicted latency there; the published latencies are the measuring function.
Settings that --json has are skipped.
"""

import argparse
import functools
import pathlib
from typing import Any

import msgspec
import numpy as np

import hwnas_jax as hw
from hwnas_jax.config import problem as problems
from hwnas_jax.core.types import Genotype
from hwnas_jax.costs import table as tables
from hwnas_jax.costs.correct import calibration, devices, regression, transfer
from hwnas_jax.costs.correct.features import LIVENESS
from hwnas_jax.costs.measured import Measured
from hwnas_jax.costs.table import LatencyTable
from hwnas_jax.derive.settle import Measure
from hwnas_jax.io import readers, versions, writers
from hwnas_jax.io.cache import use_compilation_cache
from hwnas_jax.io.records import Measurement
from hwnas_jax.runs import query

HERE = pathlib.Path(__file__).parent
NUM_CALIBRATION = 20

Latencies = dict[Genotype, float]


def load(folder: pathlib.Path) -> dict[str, Latencies]:
  """{setting: {genotype: ms}}."""
  with np.load(folder / "nb201_cifar10.npz") as file:
    cells = [tuple(map(int, row)) for row in file["ops"]]
  with np.load(folder / "help_latency_nb201.npz") as file:
    return {
      name: dict(zip(cells, map(float, file[name]), strict=True))
      for name in file.files
    }


def device_of(setting: str) -> str:
  """The device of a setting: 1080ti of 1080ti_32."""
  name, _, batch = setting.rpartition("_")
  return name if batch in ("1", "32", "256") else setting


def prior_without(run: hw.Run, setting: str) -> regression.Prior:
  """What the other devices say of log multipliers on the run's table."""
  costs = {"R": tables.raw_costs(run.table)}
  reference = devices.from_costs(run.nets.derived, costs)
  shipped = devices.shipped()
  others = {
    name: row
    for name, row in shipped.coefficients_ms.items()
    if device_of(name) != device_of(setting)
  }
  shipped = shipped._replace(coefficients_ms=others)
  columns = [shipped.names.index(name) for name in reference.names]
  logs = reference.shapes()
  prior = transfer.learn_prior(logs, logs[0], [shipped.shapes()[:, columns]])
  assert prior is not None
  return prior


def table_of(
  run: hw.Run, setting: str, latencies_ms: Latencies
) -> LatencyTable:
  """The setting's table: the run's, and 20 cells measured there."""
  net, costs = run.nets.derived, tables.raw_costs(run.table)
  rule, rng = problems.rule_of(run.config), np.random.default_rng(0)
  chosen = calibration.choose(net, costs, rule, rng, NUM_CALIBRATION)
  measured = Measured(chosen, [latencies_ms[g] for g in chosen])
  fit = functools.partial(transfer.fit, prior_without(run, setting))
  fits = [
    calibration.calibrate(net, costs, measured, liveness=liveness, fit=fit)
    for liveness in LIVENESS
  ]
  best = min(fits, key=error)
  device = msgspec.structs.replace(run.table.device, device_kind=setting)
  moved = transfer.move(run.table, device)
  return msgspec.structs.replace(moved, calibration=best)


def error(fitted: calibration.Calibration) -> float:
  """Median error of its cells, each predicted by the fit to the others."""
  return calibration.errors(fitted).calibrated.median_absolute_error


def ask(
  run: hw.Run, table: LatencyTable, budget_ms: float, measure: Measure
) -> dict[str, Any]:
  """One budget: what was tried, or why it was refused."""
  question = query.Question(f"{budget_ms}ms", table, measure=measure)
  try:
    genotype, certificate = query.ask(run.finished, question)
  except ValueError as refusal:
    return {"budget_ms": budget_ms, "refused": str(refusal)}
  assert certificate.measured is not None
  return {
    "budget_ms": budget_ms,
    "genotype": list(genotype),
    "measured_ms": certificate.measured.median_ms,
    "tried_ms": [
      tried.measured.median_ms for tried in certificate.tried if tried.measured
    ],
    "unconstrained_best_fits": certificate.unconstrained_best_fits,
  }


def summarise(
  rows: list[dict[str, Any]], latencies_ms: Latencies
) -> dict[str, Any]:
  """Counts over the budgets of a setting; over is by the published value."""
  answered = [r for r in rows if "refused" not in r]
  over = [latencies_ms[tuple(r["genotype"])] > r["budget_ms"] for r in answered]
  before = [r["tried_ms"][0] > r["budget_ms"] for r in answered]
  binding = [r for r in answered if not r["unconstrained_best_fits"]]
  use = [r["measured_ms"] / r["budget_ms"] for r in binding]
  known = np.asarray(list(latencies_ms.values()))
  fullest = [known[known <= r["budget_ms"]].max() for r in binding]
  return {
    "budgets": len(rows),
    "refused": len(rows) - len(answered),
    "refused_though_possible": sum(
      min(latencies_ms.values()) <= r["budget_ms"]
      for r in rows
      if "refused" in r
    ),
    "over": int(np.sum(over)),
    "over_before_measuring": int(np.sum(before)),
    "binding": len(use),
    "use": use,
    # Of the budget, by the slowest of all 15,625 cells that keeps it.
    "possible_use": [
      float(ms / r["budget_ms"]) for ms, r in zip(fullest, binding, strict=True)
    ],
    "mean_measured": float(np.mean([len(r["tried_ms"]) for r in answered])),
  }


def ask_setting(
  run: hw.Run, setting: str, latencies_ms: Latencies, budgets: int
) -> dict[str, Any]:
  """One setting."""
  table = table_of(run, setting, latencies_ms)
  assert table.calibration is not None
  low, high = query.reach_ms(run.nets.derived, table, run.config.derive.rule)
  drawn = np.random.default_rng(1).uniform(low, high, budgets)
  measure = lambda g: Measurement(latencies_ms[g], 0.0)  # noqa: E731
  rows = [ask(run, table, float(ms), measure) for ms in drawn]
  return {
    **summarise(rows, latencies_ms),
    "reach_ms": [low, high],
    "liveness": table.calibration.liveness,
    "calibration_error": error(table.calibration),
    "rows": rows,
  }


def print_table(results: dict[str, Any]) -> None:
  """One line a setting, and their sums."""
  names = ("budgets", "refused", "over", "over_before_measuring", "binding")
  print(f"{'':16}{''.join(f'{n:>23}' for n in names)}  use (possible)")
  for setting, row in results.items():
    pairs = zip(row["use"], row["possible_use"], strict=True)
    uses = ", ".join(f"{u:.2f} ({p:.2f})" for u, p in pairs)
    print(f"{setting:16}{''.join(f'{row[n]:23}' for n in names)}  {uses}")
  sums = [sum(row[n] for row in results.values()) for n in names]
  print(f"{'all':16}{''.join(f'{value:23}' for value in sums)}")
  use = np.concatenate([row["use"] for row in results.values()])
  best = np.concatenate([row["possible_use"] for row in results.values()])
  if not len(use):
    print("no budget binds: each keeps the best network without a budget")
    return
  print(
    f"use of binding budgets: median {np.median(use):.3f}, at least 0.9 in"
    f" {np.sum(use >= 0.9)} of {len(use)}, where that is possible"
    f" {np.sum(use[best >= 0.9] >= 0.9)} of {np.sum(best >= 0.9)}"
  )


def main() -> None:
  """Asks on the settings that --json lacks; prints all of them."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--workdir", type=pathlib.Path, required=True)
  parser.add_argument("--data_dir", type=pathlib.Path, required=True)
  parser.add_argument(
    "--json", type=pathlib.Path, default=HERE / "devices.json"
  )
  parser.add_argument("--budgets", type=int, default=10, help="of each setting")
  parser.add_argument("--settings", nargs="+", help="these alone")
  args = parser.parse_args()
  use_compilation_cache()
  results = readers.read_json(args.json) if args.json.exists() else {}
  rows = results.setdefault("settings", {})
  run = hw.load(args.workdir)
  for setting, latencies_ms in load(args.data_dir).items():
    if setting not in rows and setting in (args.settings or [setting]):
      rows[setting] = ask_setting(run, setting, latencies_ms, args.budgets)
      results["versions"] = versions.versions()
      results["calibration_cells"] = NUM_CALIBRATION
      writers.write_json(args.json, results)
      print(setting, rows[setting]["use"], flush=True)
  print_table(rows)


if __name__ == "__main__":
  main()
