"""How near to its target T each penalty ends: |derived latency / T - 1|.

  python experiments/penalties/run.py --workdir=runs/penalties

Short searches on the digits: dual ascent at its default, and the penalties
with a constant at three values each, for three targets at even steps of the
space's latencies, three seeds each. The additive penalty has no target: each of
its networks is compared with all three. Latency is the table's sum over the
derived network; the table is --table, or measured once into --workdir. A run
that was stopped goes on; one that is in --json is skipped.
"""

import argparse
import pathlib
import sys
from typing import Any

import numpy as np
from ml_collections import ConfigDict

import hwnas_jax as hw
from hwnas_jax.config import method
from hwnas_jax.config import problem as problems
from hwnas_jax.config.problem import Problem
from hwnas_jax.core.rng import stream
from hwnas_jax.costs import table as tables
from hwnas_jax.costs.measure import sites
from hwnas_jax.costs.table import LatencyTable
from hwnas_jax.io import readers, records, versions, writers
from hwnas_jax.io.cache import use_compilation_cache
from hwnas_jax.method.state import SearchState
from hwnas_jax.method.step import Parts, Step
from hwnas_jax.runs import pipeline
from hwnas_jax.spaces import architecture

RESULTS = pathlib.Path(__file__).parent / "results.json"
CONFIG = "digits"
SPREAD = (0.25, 0.5, 0.75)  # targets, between the smallest and the largest
STRENGTHS = {
  "dual_ascent": (0.5, 5.0, 50.0),
  "hinge": (0.1, 1.0, 10.0),
  "log_product": (0.3, 0.6, 2.0),
  "power": (0.1, 0.5, 2.0),
  "additive": (0.3, 3.0, 30.0),  # scales of the condition
}


def make_config(args: argparse.Namespace) -> ConfigDict:
  """The digits' config, for one network and a short search."""
  config = hw.load_config(f"{CONFIG}:smoke" if args.smoke else CONFIG)
  config.condition.name = "fixed"
  config.latency.batch_size = 256  # log_product needs more than 1 ms
  if not args.smoke:
    config.space.num_nodes = 2
    config.search.update(num_steps=600, warmup_steps=120)
  return config


def read_table(args: argparse.Namespace, config: ConfigDict) -> LatencyTable:
  """--table, or one measured on this device."""
  fields = problems.resolve(config)
  space, part = problems.make_nets(fields).derived.space(), fields.latency
  path = args.table or args.workdir / "table.json"
  if args.table is None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sites.profile_space(space, part.batch_size, path, part.repeats)
  table = LatencyTable.load(path)
  tables.require(table, space, part.batch_size)
  return table


class Searches:
  """Searches by job; one compile serves all targets and strengths."""

  def __init__(self, config: ConfigDict, table: LatencyTable) -> None:
    """Nothing is compiled yet."""
    fields = problems.resolve(config)
    self.config, self.table = config, table
    self.nets = problems.make_nets(fields)
    self.dataset = pipeline.load_dataset(fields)
    self.compiled: dict[Any, Step] = {}

  def run(self, job: dict[str, Any]) -> dict[str, Any]:
    """What one search gives, by the table."""
    config = problems.resolve(apply(self.config, job))
    problem = problems.make(config, self.nets, self.table)
    parts, settings = method.make_parts(problem, self.dataset)
    # A scale is a constant of the step, other strengths are in its state.
    key = job["name"], config.condition.high
    init, steps = method.make_search(config, parts, settings)
    steps = self.compiled.setdefault(key, steps)
    data, _ = method.make_search_data(config, self.dataset)
    state = init(stream(config.seed, "search"))
    while int(state.step) < config.search.num_steps:
      state, metrics = steps(state, data, problem.costs)
    return _describe(problem, parts, state, metrics)


def _describe(
  problem: Problem, parts: Parts, state: SearchState, metrics: dict[str, Any]
) -> dict[str, Any]:
  """The latency of the network that a search gives, and its last metrics."""
  space = problem.nets.supernet.space()
  drawn = parts.conditions.draw(stream(0, "condition"))
  features = parts.conditions.features(drawn)
  logits = np.asarray(parts.controller.apply(state.controller, features))
  # The plain rule: `problem.rule` would take what is nearest to the target.
  genotype = problems.rule_of(problem.config)(space, logits)
  table_ms = np.asarray(problem.costs.reference)
  chosen_ms = table_ms[np.arange(len(genotype)), list(genotype)]
  return {
    "latency_ms": float(problem.costs.base + chosen_ms.sum()),
    "expected_latency_ms": float(metrics["expected_cost"]),
    "cross_entropy": float(metrics["cross_entropy"]),
    "state": {name: float(v) for name, v in state.penalty.items()},
    "genotype": architecture.to_json(space, genotype),
  }


def jobs(seeds: list[int], targets_ms: list[float]) -> list[dict[str, Any]]:
  """Every search to run; additive ones have no target."""
  return [
    {"name": name, "strength": strength, "target_ms": target, "seed": seed}
    for seed in seeds
    for name, strengths in STRENGTHS.items()
    for strength in strengths
    for target in ([None] if name == "additive" else targets_ms)
  ]


def apply(config: ConfigDict, job: dict[str, Any]) -> ConfigDict:
  """The config of a job."""
  config = config.copy_and_resolve_references()
  config.seed = job["seed"]
  config.penalty.name = job["name"]
  if job["name"] == "additive":
    config.condition.high = job["strength"]
  else:
    config.penalty.update(
      target=f"{job['target_ms']!r}ms", strength=job["strength"]
    )
  return config


def gaps(results: dict[str, Any], targets_ms: list[float]) -> dict[str, Any]:
  """{(penalty, strength): |latency / T - 1| [targets, seeds]}."""
  by_penalty: dict[tuple[str, float], list[list[float]]] = {}
  for row in results["runs"].values():
    key = row["name"], row["strength"]
    for i, target in enumerate(targets_ms):
      if row["target_ms"] in (None, target):
        cells = by_penalty.setdefault(key, [[] for _ in targets_ms])
        cells[i].append(abs(row["latency_ms"] / target - 1))
  return {key: np.asarray(cells) for key, cells in by_penalty.items()}


def print_table(results: dict[str, Any]) -> None:
  """Mean and worst gap over the seeds, by penalty, strength and target."""
  targets = results["targets_ms"]
  head = "".join(f"{f'T={t:.3g} ms':>20}" for t in targets)
  print(f"reach {results['reach_ms']} ms; gaps in %: mean (largest) of seeds")
  print(f"{'penalty':>12}{'strength':>10}{head}{'all':>20}")
  for (name, strength), cells in gaps(results, targets).items():
    rows = [*cells, cells.ravel()]
    text = "".join(
      f"{f'{100 * r.mean():.1f} ({100 * r.max():.1f})':>20}" for r in rows
    )
    print(f"{name:>12}{strength:>10g}{text}")


def parse() -> argparse.Namespace:
  """The command line."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
  parser.add_argument("--table", type=pathlib.Path)
  parser.add_argument("--workdir", type=pathlib.Path, default="runs/penalties")
  parser.add_argument("--json", type=pathlib.Path, default=RESULTS)
  parser.add_argument("--smoke", action="store_true", help="tiny, one seed")
  args = parser.parse_args()
  if args.smoke and args.json == RESULTS:
    parser.error("--smoke needs a --json of its own")
  if args.smoke:
    args.seeds = [0]
    STRENGTHS.update({name: row[:1] for name, row in STRENGTHS.items()})
  return args


def main() -> None:
  """Runs what --json lacks; prints all of it."""
  args = parse()
  use_compilation_cache()
  config = make_config(args)
  table = read_table(args, config)
  fields = problems.resolve(config)
  reach = problems.make(fields, problems.make_nets(fields), table).reach()
  low, high = reach.smallest_ms, reach.largest_ms
  about = {
    "config": config.to_dict(),
    "reach_ms": [low, high],
    "targets_ms": [low + part * (high - low) for part in SPREAD],
    "versions": versions.versions(),
    "device": records.to_json(versions.device_fingerprint()),
    "runs": {},
  }
  results = readers.read_json(args.json) if args.json.exists() else about
  if results["reach_ms"] != about["reach_ms"]:
    sys.exit(f"{args.json} is of another table: give another --json")
  print(reach)
  searches = Searches(config, table)
  for job in jobs(args.seeds, results["targets_ms"]):
    values = (job["name"], job["strength"], job["target_ms"], job["seed"])
    name = "_".join(
      f"{v:.4g}" if isinstance(v, float) else str(v) for v in values
    )
    if name not in results["runs"]:
      results["runs"][name] = job | searches.run(job)
      writers.write_json(args.json, results)
  print_table(results)


if __name__ == "__main__":
  main()
