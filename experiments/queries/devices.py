"""Do answers keep their budgets on devices that are data? 27 of HELP's.

  python experiments/queries/devices.py --workdir=runs/nb201_digits \
      --data_dir=DIR

DIR holds help_latency_nb201.npz ({setting: float32[15625] ms}, published with
HELP, MIT) and nb201_cifar10.npz (`ops[15625, 6]`). The run is any finished one
of NAS-Bench-201's space (README.md has a small one's command); its table is
that of the machine it ran on. Each setting's table is made from that one and 20
measured cells, by `costs.transfer` with a prior from all settings but those of
the same device, for the liveness rule under which the cells predict each other
better. Budgets are uniform between the smallest and the largest predicted
latency there; the published latencies are the measuring function. Settings that
--json has are skipped.
"""

import argparse
import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from hwnas_jax.core.types import Genotype
from hwnas_jax.costs import table
from hwnas_jax.costs.correct import calibration, devices, regression, transfer
from hwnas_jax.derive.shortlist import Measurement
from hwnas_jax.io import versions, writers
from hwnas_jax.io.cache import use_compilation_cache
from hwnas_jax.runs import family
from hwnas_jax.spaces import rules

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


def prior_without(of: family.Family, setting: str) -> regression.Prior:
  """What the other devices say of log multipliers on the run's table."""
  own = devices.of_costs(of.derived, {"R": table.raw_costs(of.table)})
  known = devices.shipped()
  others = {
    name: row
    for name, row in known.coefficients_ms.items()
    if device_of(name) != device_of(setting)
  }
  known = known._replace(coefficients_ms=others)
  shapes = known.shapes()[:, [known.names.index(n) for n in own.names]]
  logs = own.shapes()
  prior = transfer.learn_prior(logs, logs[0], [shapes])
  assert prior is not None
  return prior


def table_of(
  of: family.Family, setting: str, latencies_ms: Latencies
) -> table.LatencyTable:
  """The setting's table: the run's, and 20 cells measured there."""
  costs, prior = table.raw_costs(of.table), prior_without(of, setting)
  rule = rules.RULES[of.config.derive.rule]
  rng = np.random.default_rng(0)
  chosen = calibration.choose(of.derived, costs, rule, rng, NUM_CALIBRATION)
  fits = [
    calibration.calibrate(
      of.derived,
      costs,
      chosen,
      [latencies_ms[g] for g in chosen],
      liveness=liveness,
      fit=lambda rows, ms: transfer.fit(prior, rows, ms),
    )
    for liveness in calibration.LIVENESS
  ]
  found = min(fits, key=lambda fit: error(fit)["median_absolute_error"])
  moved = transfer.move(of.table, {**of.table.device, "device_kind": setting})
  return dataclasses.replace(moved, calibration=found)


def error(found: calibration.Calibration) -> dict[str, float]:
  """Of its cells, each predicted by the fit to the others."""
  return calibration.errors(found)["calibrated"]


def ask(
  of: family.Family,
  found: table.LatencyTable,
  budget_ms: float,
  measure: Callable[[Genotype], Measurement],
) -> dict[str, Any]:
  """One budget: what was tried, or why it was refused."""
  try:
    answer = of.query(f"{budget_ms}ms", table=found, measure=measure)
  except ValueError as refusal:
    return {"budget_ms": budget_ms, "refused": str(refusal)}
  certificate = answer.certificate
  return {
    "budget_ms": budget_ms,
    "genotype": list(answer.genotype),
    "measured_ms": certificate["measured"]["median_ms"],
    "tried_ms": [row["median_ms"] for row in certificate["tried"]],
    "unconstrained_best_fits": certificate["unconstrained_best_fits"],
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


def run(
  of: family.Family, setting: str, latencies_ms: Latencies, budgets: int
) -> dict[str, Any]:
  """One setting."""
  found = table_of(of, setting, latencies_ms)
  assert found.calibration is not None
  low, high = family.reach_ms(of, found)
  drawn = np.random.default_rng(1).uniform(low, high, budgets)
  measure = lambda g: Measurement(latencies_ms[g], 0.0)  # noqa: E731
  rows = [ask(of, found, float(ms), measure) for ms in drawn]
  return {
    **summarise(rows, latencies_ms),
    "reach_ms": [low, high],
    "liveness": found.calibration.liveness,
    "calibration_error": error(found.calibration)["median_absolute_error"],
    "rows": rows,
  }


def tell(results: dict[str, Any]) -> None:
  """A line a setting, and their sums."""
  names = ("budgets", "refused", "over", "over_before_measuring", "binding")
  print(f"{'':16}{''.join(f'{n:>23}' for n in names)}  use (possible)")
  for setting, row in results.items():
    pairs = zip(row["use"], row["possible_use"], strict=True)
    use = ", ".join(f"{u:.2f} ({p:.2f})" for u, p in pairs)
    print(f"{setting:16}{''.join(f'{row[n]:23}' for n in names)}  {use}")
  sums = [sum(row[n] for row in results.values()) for n in names]
  print(f"{'all':16}{''.join(f'{value:23}' for value in sums)}")
  use = np.concatenate([row["use"] for row in results.values()])
  best = np.concatenate([row["possible_use"] for row in results.values()])
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
  args = parser.parse_args()
  use_compilation_cache()
  results = writers.read_json(args.json) if args.json.exists() else {}
  rows = results.setdefault("settings", {})
  of = family.load(args.workdir)
  for setting, latencies_ms in load(args.data_dir).items():
    if setting not in rows:
      rows[setting] = run(of, setting, latencies_ms, args.budgets)
      results["versions"] = versions.versions()
      results["calibration_cells"] = NUM_CALIBRATION
      writers.write_json(args.json, results)
      print(setting, rows[setting]["use"], flush=True)
  tell(rows)


if __name__ == "__main__":
  main()
