"""The simplex method's three experiments, and their controls.

  python experiments/simplex/run.py --seed=0 --variant=corrected --retrain
  python experiments/simplex/run.py --seed=0 --variant=corrected --retrain B C
  python experiments/simplex/run.py --experiment=2 --num_steps=2350

Experiments: 1 Fashion-MNIST, three operations; 2 the same, five operations; 3
CIFAR-10, three operations. --num_steps is for a reduced search, whose schedules
end there.

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
import re
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
VARIANTS = ("corrected", "published", "penalty_only", "shuffled_labels")
POOLS = ("avg_pool_3x3", "max_pool_3x3")
CONVOLUTIONS = ("sep_conv_3x3", "sep_conv_5x5")
# The operations that each vector makes expensive (docs/methods.md#simplex).
PENALISED = {"B": CONVOLUTIONS, "C": POOLS, "D": ("skip_connect",)}
# Of the 28 edges, how many have a pool, a convolution and the identity in the
# published tables. 3C is read with its last two exchanged, since only so its
# parameters can be counted.
PUBLISHED = {
  1: {"A": (12, 6, 10), "B": (17, 0, 11), "C": (0, 13, 15), "D": (18, 9, 1)},
  2: {"A": (16, 8, 4), "B": (22, 1, 5), "C": (4, 13, 11), "D": (22, 6, 0)},
  3: {"A": (4, 18, 6), "B": (12, 0, 16), "C": (0, 19, 9), "D": (17, 11, 0)},
}


def make_config(args: argparse.Namespace) -> Any:
  """The experiment's config; --smoke is its smoke variant."""
  config = hw.load_config(
    "fashion_mnist:smoke" if args.smoke else "fashion_mnist"
  )
  if args.experiment == 2:
    config.space.ops = "five"
    # Order of the prices: average and max pooling, identity, convolutions.
    config.derive.vectors = {
      "A uniform": (1.0,) * 5,
      "B convolution expensive": (1.0, 1.0, 1.0, 5.0, 5.0),
      "C pooling expensive": (5.0, 5.0, 1.0, 1.0, 1.0),
      "D identity expensive": (1.0, 1.0, 5.0, 1.0, 1.0),
    }
    config.search.num_steps *= 2  # 20 epochs
  elif args.experiment == 3:
    config.data.update(name="cifar10", pad=4, flip=True)
    config.temperature.end = 0.216
    config.search.num_steps = 19_550  # 50 epochs
  if args.num_steps:
    config.search.num_steps = args.num_steps
  if args.smoke:
    config.data.name = f"mock_{config.data.name.removeprefix('mock_')}"
    config.search.num_steps = 20
  return config


def make_problem(args: argparse.Namespace) -> Problem:
  """The problem of the variant."""
  config = make_config(args)
  config.seed = args.seed
  if args.data:
    config.data.name = args.data
  config.search.batch_size = args.batch_size
  config.controller.sign = 1 if args.variant == "published" else -1
  if args.variant == "penalty_only":
    # Never reaches the controller.
    config.data.name = (
      "mock_cifar10" if args.experiment == 3 else "mock_fashion_mnist"
    )
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


def by_kind(row: dict[str, Any]) -> tuple[int, int, int]:
  """How many edges have a pool, a convolution and the identity."""
  kinds = POOLS, CONVOLUTIONS, ("skip_connect",)
  pools, convolutions, identities = (
    sum(row["op_counts"].get(op, 0) for op in ops) for ops in kinds
  )
  return pools, convolutions, identities


def acceptance(networks: dict[str, Any], experiment: int) -> dict[str, bool]:
  """What the paper's tables let expect of A, B, C and D (see the page)."""
  flags = {}
  for name, ops in PENALISED.items():
    kind = (POOLS, CONVOLUTIONS, ("skip_connect",)).index(ops)
    most = max(1, PUBLISHED[experiment][name][kind])
    count = by_kind(networks[name])[kind]
    flags[f"{name}: at most {most} {' or '.join(ops)}"] = count <= most
  return flags | {
    "A: pools, convolutions and identities": min(by_kind(networks["A"])) > 0
  }


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
  problem: Problem, variant: str, folder: RunFolder, experiment: int
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
    "acceptance": acceptance(networks, experiment),
    "published": PUBLISHED[experiment],
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
  parser.add_argument("--experiment", type=int, default=1, choices=PUBLISHED)
  parser.add_argument("--num_steps", type=int, help="default: as published")
  parser.add_argument("--data", help="such as npz:PATH; default: TFDS's")
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
  if args.experiment > 1:
    steps = problem.config.search.num_steps
    key = f"experiment {args.experiment}, {steps} steps: {key}"
  folder = RunFolder.at(args.workdir / re.sub("[ ,:]+", "_", key))
  results = readers.read_json(args.json) if args.json.exists() else {}
  if key not in results:
    results[key] = run_search(problem, args.variant, folder, args.experiment)
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
