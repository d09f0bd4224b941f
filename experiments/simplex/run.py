"""Simplex experiment 1 on Fashion-MNIST, and its controls.

  python experiments/simplex/run.py --seed=0 --variant=corrected --retrain
  python experiments/simplex/run.py --seed=0 --variant=corrected --retrain B C

Variants, the last two with the corrected sign:
  corrected         near pivots count, as the text has it
  published         far pivots count, as the published code has it
  penalty_only      the cross-entropy does not depend on the architecture
  shuffled_labels   labels of the training split, permuted

Results go to --json by variant, seed and batch size; what is there is skipped,
and a search or a training that was stopped goes on from its checkpoint.
"""

import argparse
import dataclasses
import functools
import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import hwnas_jax as hw
from hwnas_jax.config import method
from hwnas_jax.config import problem as problems
from hwnas_jax.config.fields import Config
from hwnas_jax.config.problem import Problem
from hwnas_jax.core.rng import stream
from hwnas_jax.core.types import Array, Genotype, Params, Paths
from hwnas_jax.costs import counts
from hwnas_jax.costs.measure import timing
from hwnas_jax.data import arrays
from hwnas_jax.io import readers, records, versions, writers
from hwnas_jax.io.cache import use_compilation_cache
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.nets.supernet import Net
from hwnas_jax.runs import derived, pipeline, searching, training
from hwnas_jax.runs.searching import Searched
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.spec import Spec

RESULTS = pathlib.Path(__file__).parent / "results.json"
CONFIG = "fashion_mnist"
VARIANTS = ("corrected", "published", "penalty_only", "shuffled_labels")
# The operation that each vector makes expensive (docs/methods.md#simplex).
PENALISED = {"B": "sep_conv_3x3", "C": "avg_pool_3x3", "D": "skip_connect"}


def make_problem(args: argparse.Namespace) -> Problem:
  """The problem of the experiment's config; --smoke is its smoke variant."""
  config = hw.load_config(f"{CONFIG}:smoke" if args.smoke else CONFIG)
  config.seed = args.seed
  config.search.batch_size = args.batch_size
  config.controller.sign = 1 if args.variant == "published" else -1
  if args.variant == "penalty_only":
    config.data.name = "mock_fashion_mnist"  # never reaches the controller
  fields = problems.resolve(config)
  return problems.make(fields, problems.make_nets(fields), None)


def shuffle_labels(dataset: arrays.Dataset, seed: int) -> arrays.Dataset:
  """The data set with the labels of the training split permuted."""
  labels = np.random.default_rng(seed).permutation(dataset.train.labels)
  train = dataset.train._replace(labels=jnp.asarray(labels))
  digest = arrays.digest(np.asarray(train.images), labels)
  return dataclasses.replace(dataset, train=train, digest=digest)


def constant_net(num_classes: int) -> Net:
  """A net that answers the same whatever the mix and the images are."""

  def apply(
    weights: Params,
    mix: Array,
    images: Array,
    paths: Paths | None = None,
    identity: Array | None = None,
  ) -> Array:
    del mix, paths, identity
    rows = images.shape[0], num_classes
    return jnp.broadcast_to(weights["bias"], rows)

  return Net(lambda key: {"bias": jnp.zeros(num_classes)}, apply)


def search_by_penalty(problem: Problem, dataset: arrays.Dataset) -> Searched:
  """`searching.search` with the same draws, without a supernet."""
  config = problem.config
  parts, settings = method.make_parts(problem, dataset)
  num_classes = problem.nets.supernet.num_classes
  parts = parts._replace(net=constant_net(num_classes))
  data, _ = method.make_search_data(config, dataset)
  init, steps = method.make_search(config, parts, settings)
  state = init(stream(config.seed, "search"))
  while int(state.step) < config.search.num_steps:
    state, _ = steps(state, data, problem.costs)
  return Searched(parts, state)


def search(problem: Problem, variant: str, folder: RunFolder) -> Searched:
  """Runs or resumes the search of a variant."""
  dataset = pipeline.load_dataset(problem.config)
  if variant == "penalty_only":
    return search_by_penalty(problem, dataset)
  if variant == "shuffled_labels":
    dataset = shuffle_labels(dataset, problem.config.seed)
  return searching.search(problem, folder, dataset)


def describe(net: Spec, genotype: Genotype) -> dict[str, Any]:
  """Counts over the 28 edges, and parameters.

  op_params is the paper's number: without stem, preprocessing, classifier
  and the scales of BN. params is the derived network's total.
  """
  space = net.space()
  cost = functools.partial(counts.genotype_cost, net, genotype)
  searched = counts.site_costs(space, counts.search_params)
  return {
    "genotype": architecture.to_json(space, genotype),
    "op_counts": architecture.op_counts(space, genotype),
    "op_params": int(cost(searched) - space.base_cost(searched)),
    "params": int(cost(counts.site_costs(space, counts.params))),
  }


def acceptance(networks: dict[str, Any]) -> dict[str, bool]:
  """What the paper's tables let expect of A, B, C and D (see the page)."""
  counts = {name: row["op_counts"] for name, row in networks.items()}
  flags = {
    f"{name}: at most 1 {op}": counts[name][op] <= 1
    for name, op in PENALISED.items()
  }
  return flags | {"A: all operations": min(counts["A"].values()) > 0}


def last_metrics(folder: RunFolder) -> dict[str, float]:
  """The search's last row and its seconds a step, where it logged any."""
  path = folder.search / "metrics.jsonl"
  if not path.exists():
    return {}
  rows = readers.read_jsonl(path)
  at = np.asarray([(r["step"], r["unix_time_s"]) for r in rows])
  steps, seconds = np.diff(at, axis=0).T
  # The median: a row may come after an interruption.
  return {**rows[-1], "step_s": float(np.median(seconds / steps))}


def run_search(
  problem: Problem, variant: str, folder: RunFolder
) -> dict[str, Any]:
  """Searches and describes the networks at A, B, C and D."""
  net = problem.nets.derived
  start = time.perf_counter()
  searched = search(problem, variant, folder)
  jax.block_until_ready(searched.state)
  seconds = time.perf_counter() - start
  swept = derived.derive(problem, searched)
  space = net.space()
  genotypes = {
    architecture.identity(space, network.genotype): network.genotype
    for network in swept.networks
  }
  networks = {
    point.name[0]: describe(net, genotypes[point.id]) for point in swept.points
  }
  return {
    "networks": networks,
    "acceptance": acceptance(networks),
    "search": last_metrics(folder),
    "last_session_s": seconds,
    "config": records.to_json(problem.config),
    "versions": versions.versions(),
    "device": records.to_json(versions.device_fingerprint()),
  }


def retrain(
  config: Config, net: Spec, folder: RunFolder, networks: dict[str, Any]
) -> dict[str, Any]:
  """Trains the networks on the whole training split; tests and times them."""
  space, dataset = net.space(), pipeline.load_dataset(config)
  genotypes = {
    name: architecture.from_json(space, row["genotype"])
    for name, row in networks.items()
  }
  # Two prices may give the same network.
  different = list(dict.fromkeys(genotypes.values()))
  trained = training.train(config, folder, dataset, net, different)
  accuracies = dict(zip(different, trained, strict=True))
  compiled = timing.compile_networks(net, genotypes, config.latency.batch_size)
  measured = timing.measure_networks(compiled, config.latency.repeats)
  return {
    "networks": {
      name: {
        **records.to_json(accuracies[genotype]),
        "latency": records.to_json(measured[name]),
      }
      for name, genotype in genotypes.items()
    },
    "versions": versions.versions(),
    "device": records.to_json(versions.device_fingerprint()),
  }


def print_table(results: dict[str, Any]) -> None:
  """One line a network; the flags of each search under it."""
  for key, result in results.items():
    print(f"\n{key}")
    for name, row in result["networks"].items():
      counts = "  ".join(f"{n:2} {op}" for op, n in row["op_counts"].items())
      line = f"  {name}  {counts}  {row['op_params']:7} op  {row['params']:7}"
      retrained = result.get("retrained", {"networks": {}})["networks"]
      if again := retrained.get(name):
        line += f"  {100 * np.mean(again['test_accuracies']):.2f} %"
        line += f"  {again['latency']['median_ms']:.2f} ms"
      print(line)
    flags = result["acceptance"].items()
    print("  " + "; ".join(f"{name}: {passed}" for name, passed in flags))


def parse() -> argparse.Namespace:
  """The command line."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--variant", choices=VARIANTS, default=VARIANTS[0])
  parser.add_argument("--batch_size", type=int, default=64)
  parser.add_argument("--workdir", type=pathlib.Path, default="runs/simplex")
  parser.add_argument("--json", type=pathlib.Path, default=RESULTS)
  parser.add_argument(
    "--retrain", nargs="*", choices="ABCD", help="train these; A to D if none"
  )
  parser.add_argument("--smoke", action="store_true", help="tiny, mock data")
  args = parser.parse_args()
  if args.smoke and args.json == RESULTS:
    parser.error("--smoke needs a --json of its own")
  if args.retrain is not None and args.variant != "corrected":
    parser.error("--retrain is for --variant=corrected")
  return args


def main() -> None:
  """Searches, retrains where asked, writes --json and prints it all."""
  args = parse()
  use_compilation_cache()
  problem = make_problem(args)
  key = f"{args.variant} seed={args.seed} batch={args.batch_size}"
  folder = RunFolder.at(args.workdir / key.replace(" ", "_"))
  results = readers.read_json(args.json) if args.json.exists() else {}
  if key not in results:
    results[key] = run_search(problem, args.variant, folder)
    writers.write_json(args.json, results)
  if args.retrain is not None:
    networks = results[key]["networks"]
    wanted = {name: networks[name] for name in args.retrain or networks}
    known = results[key].get("retrained", {"networks": {}})["networks"]
    if not wanted.keys() <= known.keys():
      results[key]["retrained"] = retrain(
        problem.config, problem.nets.derived, folder, wanted
      )
      writers.write_json(args.json, results)
  print_table(readers.read_json(args.json))


if __name__ == "__main__":
  main()
