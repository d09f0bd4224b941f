"""Nine methods on one space, one data set and one budget.

  python experiments/methods/run.py --workdir=runs/methods [--smoke]

Every method of configs/methods searches DARTS's cells of three operations (3
cells, C=8) on the digits for the same number of steps and of examples a step,
by one latency table, measured once; what it derives is trained alike, then
measured. Beside them stand random architectures, and `fixed`: the price cone's
method at one price. Three seeds each. What a method needs otherwise (schedule,
sampler, controller, penalty) is its config's; a target is 60 % of the largest
latency; predictors are trained on 30 measured networks. A run that was stopped
goes on, and what is in --json is skipped.
"""

import argparse
import pathlib
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from hwnas_jax import build, run
from hwnas_jax import config as configuration
from hwnas_jax.costs import measure
from hwnas_jax.io import versions, writers
from hwnas_jax.io.cache import use_compilation_cache

HERE = pathlib.Path(__file__).parent
CONFIGS = HERE.parents[1] / "configs"
RESULTS = HERE / "results.json"
METHODS = (
  *("darts", "darts_cc", "simplex", "fbnet", "proxyless", "la_darts"),
  *("surgenas", "lightnas", "modnas", "fixed"),
)
SEEDS = 3
STEPS, WARMUP, EPOCH = 1500, 300, 60
SCALES = 4  # members of a method that gives a family


def make_config(method: str, seed: int, table: str, smoke: bool) -> ConfigDict:
  """A method's config on the common ground."""
  digits = configuration.load(f"{CONFIGS / 'digits.py'}")
  if method == "fixed":
    config = configuration.load(f"{CONFIGS / 'digits.py'}")
    config.condition.update(name="fixed", high=1.0)
    config.controller.name = "table"
  else:
    config = configuration.load(f"{CONFIGS / 'methods' / method}.py")
  for part in ("data", "space", "train"):
    config[part].update(digits[part].to_dict())
  config.derive.update(
    rule="argmax", num_cells=0, channels=0, num_random=0, num_scales=SCALES
  )
  config.latency.update(batch_size=digits.latency.batch_size, table=table)
  config.latency.update(repeats=digits.latency.repeats)
  config.latency.calibration_networks = 30 * bool(config.cost.predictor)
  if config.penalty.target:
    config.penalty.target = "60%"
  if config.penalty.name == "log_product":  # latencies are about 1 ms here
    config.penalty.name = "power"
  if config.cost.name == "paper":  # the same prices for all: the device's
    config.cost.name, config.condition.name = "latency", "cone"
    config.derive.vectors = {}
  part = config.search
  part.update(num_steps=STEPS, batch_size=64, checkpoint_every=500)
  part.update(
    steps_per_dispatch=20,
    warmup_steps=WARMUP,
    epoch_steps=EPOCH * bool(part.epoch_steps),
    weights_lr=0.05,
    controller_lr=0.01,
  )
  if method == "simplex":
    config.condition.update(digits.condition.to_dict())
    config.controller.update(digits.controller.to_dict())
    config.derive.num_random = 4  # the baseline, once a seed
  if smoke:
    part.update(num_steps=60, warmup_steps=20, checkpoint_every=60)
    part.epoch_steps = 20 * bool(part.epoch_steps)
    config.train.num_steps = 20
    config.latency.calibration_networks = 0
    config.cost.predictor = ""
  config.seed = seed
  return config


def shared_table(workdir: pathlib.Path) -> str:
  """The path of the device's table of the common space."""
  config = configuration.load(f"{CONFIGS / 'digits.py'}")
  path = workdir / "table.json"
  workdir.mkdir(parents=True, exist_ok=True)
  space = build.make_nets(config)[1].space()
  part = config.latency
  measure.profile_space(space, part.batch_size, path, part.repeats)
  return str(path)


def search_s(folder: pathlib.Path) -> float:
  """Seconds of the search's steps, its first dispatch counted as the others."""
  rows = writers.read_jsonl(folder / "search" / "metrics.jsonl")
  first, last = rows[0], rows[-1]
  elapsed = last["unix_time_s"] - first["unix_time_s"]
  return elapsed * last["step"] / max(last["step"] - first["step"], 1)


def run_one(config: ConfigDict, folder: pathlib.Path) -> dict[str, Any]:
  """The networks of one search, trained and measured."""
  run.main_job(config, str(folder), "experiments/methods/run.py")
  rows = writers.read_json(folder / "family.json")["members"]
  return {
    "search_s": round(search_s(folder), 1),
    "networks": [
      {
        "kind": row["kind"],
        "name": row["name"],
        "latency_ms": row["latency"]["median_ms"],
        "iqr_ms": row["latency"]["iqr_ms"],
        "test_accuracy": row["test_accuracy"],
        "params": row["params"],
      }
      for row in rows
    ],
    "versions": versions.versions(),
  }


def print_method(method: str, found: list[dict[str, Any]]) -> None:
  """Mean and spread over seeds of each member, in order."""
  seconds = np.median([one["search_s"] for one in found])
  for kind in ("member", "random"):
    rows = [[n for n in one["networks"] if n["kind"] == kind] for one in found]
    for place in range(min(len(r) for r in rows)):
      nets = [sorted(r, key=lambda n: n["latency_ms"])[place] for r in rows]
      ms = [n["latency_ms"] for n in nets]
      accuracy = [100 * n["test_accuracy"] for n in nets]
      name = method if kind == "member" else "random"
      print(
        f"{name:10}{np.mean(ms):7.2f} ms (SD {np.std(ms):.2f})"
        f"{np.mean(accuracy):7.1f} % (SD {np.std(accuracy):.1f})"
        f"{seconds:8.0f} s of search, {len(nets)} seeds"
      )


def main() -> None:
  """Runs what --json lacks; prints all of it."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--workdir", type=pathlib.Path, required=True)
  parser.add_argument("--json", type=pathlib.Path, default=RESULTS)
  parser.add_argument("--smoke", action="store_true", help="a few steps each")
  args = parser.parse_args()
  if args.smoke and args.json == RESULTS:
    parser.error("--smoke needs a --json of its own")
  use_compilation_cache()
  table = shared_table(args.workdir)
  results = writers.read_json(args.json) if args.json.exists() else {}
  # By seed first: what is there when it is stopped has all methods.
  for seed in range(1 if args.smoke else SEEDS):
    for method in METHODS:
      name = f"{method} seed={seed}"
      if name not in results:
        config = make_config(method, seed, table, args.smoke)
        results[name] = run_one(config, args.workdir / name.replace(" ", "_"))
        writers.write_json(args.json, results)
  for method in METHODS:
    found = [r for n, r in results.items() if n.startswith(f"{method} ")]
    if found:
      print_method(method, found)


if __name__ == "__main__":
  main()
