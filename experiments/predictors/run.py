"""Latency predictors against calibrated tables on 27 measured devices.

  python experiments/predictors/run.py --data_dir=DIR

DIR holds help_latency_nb201.npz (HELP's latencies of NAS-Bench-201, ms, MIT)
and nb201_cifar10.npz (`ops`). Models, all fitted to the same measured cells:

  table_all, table_used, table_live   op counts under one liveness rule
  table                               the rule with the least held-out error
  mlp, graph                          a network over `table`

Cells without a path from input to output are left out: they are no networks.
TEST cells are never trained on; settings of the training were chosen on cells
that are neither tested on nor, there, trained on. Jobs (size and model) that
--json already has are skipped; a killed run goes on with the next job.
"""

import argparse
import functools
import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import kendalltau

from hwnas_jax.core import graph as graphs
from hwnas_jax.core.graph import Graph
from hwnas_jax.core.rng import stream
from hwnas_jax.core.types import Array
from hwnas_jax.costs.predict import fit
from hwnas_jax.costs.predict import predictor as predictors
from hwnas_jax.costs.predict.fit import Samples, Settings
from hwnas_jax.costs.predict.predictor import HeldOut
from hwnas_jax.io import readers, versions, writers

RESULTS = pathlib.Path(__file__).parent / "results.json"
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
CELL = Graph(EDGES, inputs=(0,), outputs=(3,), nothing=(0,))
NUM_OPS = 5
REFERENCE = np.ones((len(EDGES), NUM_OPS), np.float32)
TEST = 3000
# Seeds a size: each draws its own training cells.
SEEDS = {30: 5, 100: 5, 900: 2, 10000: 1}
# One member is enough where samples are many; so are fewer chances to stop.
SETTINGS = {
  30: Settings(),
  100: Settings(),
  900: Settings(),
  10000: Settings(members=1),
}
RULES = {f"table_{rule}": i for i, rule in enumerate(graphs.RULES)}
MODELS = (*RULES, "table", "mlp", "graph")
BARS = {900: 0.12, 10000: 0.09}  # mean error of `graph` on BARRED
BARRED = ("raspi4", "pixel3")


def load(folder: pathlib.Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
  """Connected cells' mixes [N, E, O] and ms [N] by setting, shuffled."""
  ops = np.load(folder / "nb201_cifar10.npz")["ops"]
  mixes = np.eye(NUM_OPS, dtype=np.float32)[ops]
  live = np.asarray(graphs.runs(CELL, jnp.asarray(mixes)))[:, -1]
  rows = np.random.default_rng(0).permutation(np.flatnonzero(live.any(1)))
  with np.load(folder / "help_latency_nb201.npz") as file:
    return mixes[rows], {name: file[name][rows] for name in file.files}


@functools.partial(jax.jit, static_argnums=(0, 1))
def predict(
  model: str,
  settings: Settings,
  mixes: Array,
  latency_ms: Array,
  unseen: Array,
  key: Array,
) -> tuple[Array, HeldOut | None]:
  """Fits to mixes [N, E, O] on all devices [S, N]; ms [S, T] of unseen."""
  reference = jnp.asarray(REFERENCE)

  def by_rule(samples: Samples, rule: Array) -> Array:
    table = fit.fit_table(CELL, samples, rule)
    return fit.table_ms(CELL, reference, table, unseen)

  def one(latency_ms: Array) -> tuple[Array, HeldOut | None]:
    samples = Samples(reference, mixes, latency_ms)
    if model in RULES:
      return by_rule(samples, jnp.asarray(RULES[model])), None
    if model == "table":
      folds = fit.split(len(mixes), fit.FOLDS, key)
      tables = fit.best_tables(CELL, samples, folds)
      return by_rule(samples, tables.rule[0]), None
    trained = fit.fit(model, CELL, settings, samples, key)
    return predictors.cost(trained, unseen), trained.held_out

  return jax.vmap(one)(latency_ms)


def scores(predicted_ms: np.ndarray, latency_ms: np.ndarray) -> dict[str, Any]:
  """Relative errors and Kendall's tau on the test cells."""
  error = np.abs(predicted_ms / latency_ms - 1)
  return {
    "mean": round(float(error.mean()), 5),
    "median": round(float(np.median(error)), 5),
    "tau": round(float(kendalltau(predicted_ms, latency_ms).statistic), 5),
  }


def run_job(
  size: int,
  model: str,
  settings: Settings,
  seeds: int,
  mixes: np.ndarray,
  devices: dict[str, np.ndarray],
) -> dict[str, Any]:
  """One model at one size: a list of scores, one a seed, by device."""
  unseen, pool = jnp.asarray(mixes[:TEST]), np.arange(TEST, len(mixes))
  latency = np.stack([*devices.values()])
  rows: dict[str, list] = {name: [] for name in devices}
  start = time.process_time()
  for seed in range(seeds):
    drawn = np.random.default_rng(seed).choice(pool, size, replace=False)
    data = jnp.asarray(mixes[drawn]), jnp.asarray(latency[:, drawn])
    key = stream(seed, f"predictors {size}")
    predicted_ms, held_out = predict(model, settings, *data, unseen, key)
    for i, name in enumerate(devices):
      row = scores(np.asarray(predicted_ms[i]), latency[i, :TEST])
      if held_out is not None:
        errors = jax.tree.map(lambda leaf, i=i: leaf[i], held_out)
        row["held_out"] = round(float(errors.mean), 5)
        row["table_held_out"] = round(float(errors.table_mean), 5)
        row["recommended"] = predictors.recommended(errors)
      rows[name].append(row)
  return {
    "devices": rows,
    "cpu_s": round(time.process_time() - start, 1),
    "settings": settings._asdict(),
    "versions": versions.versions(),
  }


def mean_of(job: dict[str, Any], device: str, score: str) -> float:
  """A score's mean over seeds."""
  return float(np.mean([row[score] for row in job["devices"][device]]))


def print_size(jobs: dict[str, Any]) -> None:
  """Mean error in % of every model on every device; who is best."""
  print(f"{'mean error, %':16}" + "".join(f"{model:>12}" for model in jobs))
  first = next(iter(jobs.values()))
  for device in first["devices"]:
    errors = {m: 100 * mean_of(job, device, "mean") for m, job in jobs.items()}
    best = min(errors, key=lambda model: errors[model])
    cells = "".join(f"{error:12.2f}" for error in errors.values())
    print(f"{device:16}{cells}   {best}")
  for score in ("mean", "median", "tau"):
    cells = "".join(
      f"{np.mean([mean_of(job, d, score) for d in job['devices']]):12.4f}"
      for job in jobs.values()
    )
    print(f"{'all, ' + score:16}{cells}")


def print_recommended(jobs: dict[str, Any]) -> None:
  """How often the rule of `predictors.recommended` says what is true."""
  table = jobs["table"]["devices"]
  for model in ("mlp", "graph"):
    rows = [
      (row["recommended"], row["mean"] < base["mean"])
      for device, rows_of_seeds in jobs[model]["devices"].items()
      for row, base in zip(rows_of_seeds, table[device], strict=True)
    ]
    said, true = np.asarray(rows).T
    print(
      f"{model}: recommended {said.sum()} of {len(said)}, better than the table"
      f" in {(said & true).sum()} of these and in {(~said & true).sum()} others"
    )


def print_bars(size: int, jobs: dict[str, Any]) -> None:
  """The figures that were asked for, passed or not."""
  for device in BARRED:
    ours = mean_of(jobs["graph"], device, "mean")
    if size in BARS:
      print(f"{device}: graph {ours:.4f} <= {BARS[size]}: {ours <= BARS[size]}")
    for model in ("table_used", "table_live", "table"):
      other = mean_of(jobs[model], device, "mean")
      print(f"{device}: graph {ours:.4f} < {model} {other:.4f}: {ours < other}")


def main() -> None:
  """Runs the jobs that are missing, then prints all."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--data_dir", type=pathlib.Path, required=True)
  parser.add_argument("--json", type=pathlib.Path, default=RESULTS)
  parser.add_argument("--smoke", action="store_true", help="30 cells, 1 seed")
  args = parser.parse_args()
  if args.smoke and args.json == RESULTS:
    parser.error("--smoke needs a --json of its own")
  mixes, devices = load(args.data_dir)
  results = readers.read_json(args.json) if args.json.exists() else {}
  for size in [30] if args.smoke else SEEDS:
    jobs = results.setdefault(str(size), {})
    settings = Settings(evaluations=2) if args.smoke else SETTINGS[size]
    seeds = 1 if args.smoke else SEEDS[size]
    for model in [model for model in MODELS if model not in jobs]:
      jobs[model] = run_job(size, model, settings, seeds, mixes, devices)
      writers.write_json(args.json, results)
    print(f"\n{size} measured cells, {seeds} seeds")
    jobs = {model: jobs[model] for model in MODELS}
    print_size(jobs)
    print_recommended(jobs)
    print_bars(size, jobs)


if __name__ == "__main__":
  main()
