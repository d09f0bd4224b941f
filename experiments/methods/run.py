"""Nine methods on one space, one data set and two budgets.

  python experiments/methods/run.py --workdir=runs/methods [--smoke]

Every method of configs/methods searches DARTS's cells of three operations (3
cells, C=8) on the digits for the same number of steps and of examples a step.
One table prices for all: measured and calibrated once, with the predictors
trained on the same networks. The budgets are 40 and 25 % of the largest
architecture's latency. A method with a target searches once for each budget. A
family (DARTS-CC, simplex, MODNAS, and `cone`, configs/digits.py) gives for each
budget the slowest network of its sweep that keeps it by the table, all from one
search. A method with neither weighs latency by a constant for each budget.
DARTS does not read latency. Beside them are `fixed`, the cone's search at one
condition, and random architectures that keep the budget. All networks are
trained alike, and at the end those of all seeds are measured in turns. A run
that was stopped goes on; searches that are in --json are skipped.
"""

import argparse
import itertools
import pathlib
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

import hwnas_jax as hw
from hwnas_jax.config import files
from hwnas_jax.config import problem as problems
from hwnas_jax.config.fields import Config
from hwnas_jax.core import budget as budgets
from hwnas_jax.core.types import Genotype
from hwnas_jax.costs import table as tables
from hwnas_jax.costs.measure import networks, sites, timing
from hwnas_jax.costs.predict import predictor
from hwnas_jax.io import readers, records, versions, writers
from hwnas_jax.io.cache import use_compilation_cache
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.runs import derived, pipeline, searching, training
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.rules import RULES
from hwnas_jax.spaces.spec import Spec

RESULTS = pathlib.Path(__file__).parent / "results.json"
METHODS = (
  *("darts", "darts_cc", "simplex", "fbnet", "proxyless", "la_darts"),
  *("surgenas", "lightnas", "modnas", "cone", "fixed", "random"),
)
FAMILIES = "darts_cc", "simplex", "modnas", "cone"
# Beside a budget the weight of latency where a search has no target: on the
# digits the cone's networks take about as much there.
BUDGETS = {"40%": 0.3, "25%": 3.0}
SEEDS = 3
STEPS, WARMUP, EPOCH = 1000, 200, 40
DRAWS = 3  # FBNet's samples, and random architectures, a seed
CALIBRATION, HELD_OUT = 30, 10  # networks


class Job(NamedTuple):
  """A row of the results."""

  budget: str
  seed: int
  method: str

  @property
  def name(self) -> str:
    """In --json."""
    return f"{self.method} {self.seed} {self.budget}"

  @property
  def folder(self) -> str:
    """Of its search; a family's answers every budget."""
    parts = self.method, str(self.seed), self.budget
    return "_".join(parts[: 2 if self.method in FAMILIES else 3])


class Ground(NamedTuple):
  """What all methods share."""

  path: pathlib.Path  # of the table; a kind's predictor lies beside it
  table: tables.LatencyTable
  net: Spec
  budget_ms: dict[str, float]

  def predictor(self, kind: str) -> pathlib.Path:
    """Where the predictor of a kind is."""
    return self.path.with_suffix(f".{kind}.npz")

  def predict_ms(self, genotype: Genotype) -> float:
    """By the calibrated table."""
    return tables.predict_ms(self.table, self.net, genotype)


def base_config(smoke: bool) -> ConfigDict:
  """The digits', at a budget."""
  config = hw.load_config("digits")
  config.derive.update(num_scales=33, num_random=0)
  part = config.search
  part.update(num_steps=STEPS, warmup_steps=WARMUP)
  if smoke:
    part.update(num_steps=60, warmup_steps=20, checkpoint_every=60)
    config.train.num_steps = 20
    config.latency.repeats = 3
  return config


def make_ground(workdir: pathlib.Path, smoke: bool) -> Ground:
  """Measures the table and the networks, trains the predictors."""
  config = problems.resolve(base_config(smoke))
  nets = problems.make_nets(config)
  net, path, part = nets.derived, workdir / "table.json", config.latency
  workdir.mkdir(parents=True, exist_ok=True)
  table = sites.profile_space(net.space(), part.batch_size, path, part.repeats)
  measured = networks.profile_chosen(
    net, table, path, RULES["argmax"], CALIBRATION + HELD_OUT, part.repeats
  )
  table = networks.calibrated(net, table, measured, CALIBRATION)
  table.save(path)
  largest_ms = problems.make(config, nets, table).reach().largest_ms
  budget_ms = {
    budget: budgets.to_ms(budgets.parse(budget, "budget"), largest_ms)
    for budget in BUDGETS
  }
  ground = Ground(path, table, net, budget_ms)
  assert table.errors is not None
  errors = {"raw": table.errors.raw, "calibrated": table.errors.calibrated}
  for kind in ("mlp", "graph"):
    if not ground.predictor(kind).exists():
      trained, errors[kind] = networks.train_predictor(
        kind, net, table, measured, CALIBRATION
      )
      predictor.save(ground.predictor(kind), trained)
  for name, error in errors.items():
    print(f"{name}: {error.median_absolute_error:.1%} off, held out")
  return ground


def make_config(job: Job, ground: Ground, smoke: bool) -> Config:
  """A method's config on the common ground, checked."""
  base, name = base_config(smoke), f"methods/{job.method}"
  config = hw.load_config(name) if name in files.names() else base_config(smoke)
  if job.method == "fixed":
    config.condition.name, config.controller.name = "fixed", "table"
  for part in ("data", "space", "train", "latency"):
    config[part].update(base[part].to_dict())
  config.latency.table = str(ground.path)
  samples = DRAWS * bool(config.derive.num_samples)
  config.derive.update(base.derive.to_dict() | {"num_samples": samples})
  config.derive.vectors = {}
  if config.cost.predictor:
    config.cost.predictor = str(ground.predictor(config.cost.predictor))
  config.cost.name = "latency"  # the same prices for all
  if config.condition.name == "simplex":
    config.condition.update(base.condition.to_dict())
  if config.condition.name == "fixed":
    config.condition.high = BUDGETS[job.budget]
  if config.penalty.target:
    config.penalty.target = job.budget
  if config.penalty.name == "log_product":  # latencies are about 1 ms here
    config.penalty.name = "power"
  part, common = config.search, base.search
  for name in (
    *("num_steps", "warmup_steps", "batch_size", "steps_per_dispatch"),
    *("checkpoint_every", "weights_lr", "controller_lr", "controller_decay"),
  ):
    part[name] = common[name]
  if part.epoch_steps:  # as many steps of the weights as the others
    part.epoch_steps = part.controller_epoch_steps = 20 if smoke else EPOCH
    part.num_steps += part.num_steps - part.warmup_steps
  config.seed = job.seed
  return problems.resolve(config)


def search(
  job: Job, config: Config, folder: RunFolder, ground: Ground
) -> tuple[list[Genotype], dict[str, Any]]:
  """The networks of one search, and what it took and spans."""
  path = config.cost.predictor
  problem = problems.make(
    config,
    problems.make_nets(config),
    ground.table,
    predictor.load(path) if path else None,
  )
  searched = searching.search(problem, folder, pipeline.load_dataset(config))
  swept = derived.derive(problem, searched)
  predicted_ms = {
    network.genotype: ground.predict_ms(network.genotype)
    for network in swept.networks
  }
  about = {
    "search_s": round(search_s(folder), 1),
    "members": len(predicted_ms),
    "predicted_ms": [min(predicted_ms.values()), max(predicted_ms.values())],
  }
  if job.method not in FAMILIES:
    return list(predicted_ms), about
  limit_ms = ground.budget_ms[job.budget]
  keeping = [g for g, ms in predicted_ms.items() if ms <= limit_ms]
  fastest = min(predicted_ms, key=predicted_ms.__getitem__)
  slowest = max(keeping, key=predicted_ms.__getitem__, default=fastest)
  return [slowest], about


def search_s(folder: RunFolder) -> float:
  """Seconds of the search's steps, without compilation and pauses.

  A dispatch that took five times their median counts as the median.
  """
  rows = readers.read_jsonl(folder.search / "metrics.jsonl")
  spans = np.diff([row["unix_time_s"] for row in rows])
  median = np.median(spans)
  spans = np.where(spans > 5 * median, median, spans)
  return float(spans.sum() + median)


def draw(job: Job, ground: Ground) -> list[Genotype]:
  """Random architectures that keep the budget by the table."""
  rng, space = np.random.default_rng(job.seed), ground.net.space()
  drawn: dict[Genotype, None] = {}
  while len(drawn) < DRAWS:
    genotype = architecture.random_genotype(space, rng)
    if ground.predict_ms(genotype) <= ground.budget_ms[job.budget]:
      drawn[genotype] = None
  return list(drawn)


def run_one(
  job: Job, ground: Ground, workdir: pathlib.Path, smoke: bool
) -> dict[str, Any]:
  """Searches, and trains the networks that come of it."""
  folder = RunFolder.at(workdir / job.folder)
  cost: dict[str, Any] = {}
  if job.method == "random":
    base = base_config(smoke)
    base.seed = job.seed
    config, genotypes = problems.resolve(base), draw(job, ground)
  else:
    config = make_config(job, ground, smoke)
    pipeline.begin(
      folder,
      config,
      "experiments/methods/run.py",
      pipeline.load_dataset(config),
      problems.make_nets(config),
    )
    genotypes, cost = search(job, config, folder, ground)
  dataset, space = pipeline.load_dataset(config), ground.net.space()
  trained = training.train(config, folder, dataset, ground.net, genotypes)
  rows = [
    {
      "id": architecture.identity(space, genotype),
      "edges": architecture.to_json(space, genotype),
      "predicted_ms": ground.predict_ms(genotype),
      **records.to_json(accuracies),
    }
    for genotype, accuracies in zip(genotypes, trained, strict=True)
  ]
  return {**cost, "networks": rows}


def measure_all(
  results: dict[str, Any], ground: Ground, repeats: int
) -> dict[str, Any]:
  """The latency of every network, all in turns, as JSON."""
  space = ground.net.space()
  genotypes = {
    row["id"]: architecture.from_json(space, row["edges"])
    for run in results["runs"].values()
    for row in run["networks"]
  }
  compiled = timing.compile_networks(
    ground.net, genotypes, ground.table.batch_size
  )
  return records.to_json(timing.measure_networks(compiled, repeats))


def print_method(method: str, budget: str, results: dict[str, Any]) -> None:
  """Means over a seed's networks: their mean and standard deviation."""
  runs = [
    run
    for name, run in results["runs"].items()
    if (name.split()[0], name.split()[-1]) == (method, budget)
  ]
  if not runs:
    return
  latency, budget_ms = results["latency"], results["budget_ms"][budget]
  by_seed = [run["networks"] for run in runs]
  each = [latency[row["id"]]["median_ms"] for rows in by_seed for row in rows]
  ms, accuracies = (
    [np.mean([value(row) for row in rows]) for rows in by_seed]
    for value in (
      lambda row: latency[row["id"]]["median_ms"],
      lambda row: 100 * row["test_accuracy"],
    )
  )
  seconds = [run.get("search_s", 0) for run in runs]
  print(
    f"{budget} {method:10}{np.mean(ms):6.2f} ms (SD {deviation(ms):.2f}),"
    f" {sum(one > budget_ms for one in each)} of {len(each)} over,"
    f" {max(each) / budget_ms:.2f} of the budget at most;"
    f"{np.mean(accuracies):6.1f} % (SD {deviation(accuracies):.1f});"
    f"{np.median(seconds):6.0f} s of search ({min(seconds)} to {max(seconds)})"
  )


def deviation(values: list[Any]) -> float:
  """Standard deviation over the seeds; not a number for a single one."""
  return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def jobs(smoke: bool) -> list[Job]:
  """By budget and seed first: what is there when it stops has all methods."""
  names = itertools.product(BUDGETS, range(1 if smoke else SEEDS), METHODS)
  first = next(iter(BUDGETS))
  return [
    job
    for job in itertools.starmap(Job, names)
    if job.method != "darts" or job.budget == first
  ]


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
  ground = make_ground(args.workdir, args.smoke)
  results = readers.read_json(args.json) if args.json.exists() else {}
  results.setdefault("runs", {})
  for job in jobs(args.smoke):
    if job.name in results["runs"]:
      continue
    print(job.name, flush=True)
    results["runs"][job.name] = run_one(job, ground, args.workdir, args.smoke)
    results.pop("latency", None)
    writers.write_json(args.json, results)
  if "latency" not in results:
    results |= {
      "budget_ms": ground.budget_ms,
      "latency": measure_all(results, ground, 3 if args.smoke else 100),
      "versions": versions.versions(),
      "device": records.to_json(versions.device_fingerprint()),
    }
    writers.write_json(args.json, results)
  for budget, name in itertools.product(BUDGETS, METHODS):
    print_method(name, budget, results)


if __name__ == "__main__":
  main()
