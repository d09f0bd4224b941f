"""What a teacher and inherited weights give the final training.

  python experiments/training/options.py --data=npz:PATH --workdir=runs/options
  python experiments/training/options.py --draw

Fashion-MNIST, reduced: 10,000 training images of 14x14 (means of 2x2 pixels),
all test images. One search (seed 0, priced by multiply-accumulates) gives a
family. Its smallest member, a middle one and the largest are trained plain,
from the supernet's weights, with a teacher, and both; and plain, but for as
many steps more as the search had. The largest is the teacher, so nobody teaches
it, and its training without a teacher is made once. Each seed has a teacher of
its own. A stopped run goes on; --draw prints and draws what --json has.
"""

import argparse
import pathlib
import shutil
import sys
import time
from typing import Any

import numpy as np
from matplotlib import figure
from msgspec.structs import replace

import hwnas_jax as hw
from hwnas_jax.config import problem as problems
from hwnas_jax.config.fields import Config
from hwnas_jax.core.types import Genotype
from hwnas_jax.data import arrays
from hwnas_jax.data import load as data_load
from hwnas_jax.derive import capacity
from hwnas_jax.io import readers, records, versions, writers
from hwnas_jax.io.cache import use_compilation_cache
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.runs import derived, helpers, pipeline, searching, training
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.spec import Spec

RESULTS = pathlib.Path(__file__).parent / "options.json"
OPTIONS: dict[str, dict[str, Any]] = {
  "plain": {},
  "teacher": {"teacher": True},
  "inherit": {"inherit": True},
  "both": {"teacher": True, "inherit": True},
  "longer": {},  # plain, for the search's steps more
}
# Both train the largest network alike.
SIBLING = {
  "plain": "teacher",
  "teacher": "plain",
  "inherit": "both",
  "both": "inherit",
  "longer": "longer",
}
NAMES = ("small", "middle", "large")  # the last is the teacher
IMAGES = 10_000  # of the training split, drawn with seed 0


def make_config(smoke: bool) -> Config:
  """The digits' config, priced by multiply-accumulates."""
  config = hw.load_config("digits")
  config.cost.name = "macs"
  config.space.num_nodes = 2
  config.search.update(num_steps=600, warmup_steps=120, checkpoint_every=200)
  config.train.update(num_steps=300, checkpoint_every=100)
  if smoke:
    config.space.update(num_cells=1, channels=4)
    config.search.update(num_steps=40, warmup_steps=20, checkpoint_every=20)
    config.train.update(num_steps=40, checkpoint_every=20)
  return problems.resolve(config)


def reduced(data: str, smoke: bool) -> arrays.Dataset:
  """The data set in the reduced size."""
  whole = data_load.load(data)
  count = 200 if smoke else IMAGES
  rows = np.random.default_rng(0).permutation(len(whole.train.labels))[:count]
  splits = (
    (
      np.asarray(whole.train.images)[rows],
      np.asarray(whole.train.labels)[rows],
    ),
    tuple(np.asarray(x)[: 200 if smoke else None] for x in whole.test),
  )
  (train, train_labels), (test, test_labels) = (
    (halved(images), labels) for images, labels in splits
  )
  return arrays.make_dataset(
    "reduced fashion_mnist", train, train_labels, test, test_labels
  )


def halved(images: np.ndarray) -> np.ndarray:
  """uint8[N, H, W, C] -> uint8[N, H/2, W/2, C], the means of 2x2 pixels."""
  n, h, w, c = images.shape
  means = images.reshape(n, h // 2, 2, w // 2, 2, c).mean((2, 4))
  return np.round(means).astype(np.uint8)


def chosen(net: Spec, family: list[Genotype]) -> list[Genotype]:
  """The smallest, a middle and the largest member, in this order."""
  sizes = capacity.macs(net, family)
  order = [family[i] for i in np.argsort(sizes, kind="stable")]
  if len(order) < len(NAMES):
    sys.exit(f"the search gave {len(order)} networks; {len(NAMES)} are needed")
  return [order[0], order[len(order) // 2], order[-1]]


def share(home: pathlib.Path, sibling: pathlib.Path) -> None:
  """Copies a network that was trained alike, if there is one."""
  if (sibling / "metrics.json").exists() and not home.exists():
    shutil.copytree(sibling, home)


def trained(
  config: Config,
  folder: RunFolder,
  dataset: arrays.Dataset,
  net: Spec,
  genotypes: list[Genotype],
  by: helpers.Helpers,
) -> list[dict[str, Any]]:
  """Each network's accuracy, and seconds of its steps without compilation."""
  accuracies = training.train(config, folder, dataset, net, genotypes, by)
  rows = []
  for genotype, each in zip(genotypes, accuracies, strict=True):
    home = folder.network(architecture.identity(net.space(), genotype))
    times = [row["unix_time_s"] for row in readers.read_jsonl(home.metrics)]
    dispatch_s = float(np.median(np.diff(times)))
    rows.append(
      {
        "test_accuracy": each.test_accuracy,
        "steps_s": round(dispatch_s * len(times), 2),
        "teacher": records.to_json(each.teacher),
        "supernet": each.supernet,
      }
    )
  return rows


def make_recipe(config: Config, option: str, seed: int) -> Config:
  """The config that trains one of OPTIONS."""
  part = replace(config.train, **OPTIONS[option])
  if option == "longer":
    steps = part.num_steps + config.search.num_steps
    part = replace(part, num_steps=steps)
  return replace(config, seed=seed, train=part)


def run(args: argparse.Namespace) -> dict[str, Any]:
  """Searches once, and trains what --json lacks."""
  config, dataset = make_config(args.smoke), reduced(args.data, args.smoke)
  nets = problems.make_nets(config, dataset)
  problem = problems.make(config, nets, None)
  folder, begun_s = RunFolder(args.workdir / "search"), time.monotonic()
  pipeline.begin(folder, config, " ".join(sys.argv), dataset, nets)
  searched = searching.search(problem, folder, dataset)
  search_s = time.monotonic() - begun_s
  net = nets.derived
  swept = derived.derive(problem, searched)
  family = [n.genotype for n in swept.networks if n.condition is not None]
  genotypes = chosen(net, family)
  about = {
    "config": records.to_json(config),
    "data": dataset.digest,
    "networks": {
      name: {
        "macs": int(size),
        "architecture": architecture.to_json(net.space(), genotype),
      }
      for name, genotype, size in zip(
        NAMES, genotypes, capacity.macs(net, genotypes), strict=True
      )
    },
    "members": len(family),
    "search_s": round(search_s, 1),
    "versions": versions.versions(),
    "device": records.to_json(versions.device_fingerprint()),
    "runs": {},
  }
  results = readers.read_json(args.json) if args.json.exists() else about
  if any(results[key] != about[key] for key in ("config", "data", "networks")):
    sys.exit(f"{args.json} is of another search: give another --json")
  for seed in args.seeds:
    for option in rotated(seed):
      name = f"{option} {seed}"
      if name in results["runs"]:
        continue
      recipe = make_recipe(config, option, seed)
      weights = searched.state.weights
      by = helpers.choose(recipe.train, net, genotypes, weights)
      place, sibling = (
        RunFolder(args.workdir / f"{each}_{seed}")
        for each in (option, SIBLING[option])
      )
      largest = architecture.identity(net.space(), genotypes[-1])
      share(place.network(largest).path, sibling.network(largest).path)
      begun_s, begun_cpu_s = time.monotonic(), time.process_time()
      rows = trained(recipe, place, dataset, net, genotypes, by)
      results["runs"][name] = {
        "wall_s": round(time.monotonic() - begun_s, 1),
        "cpu_s": round(time.process_time() - begun_cpu_s, 1),
        "networks": dict(zip(NAMES, rows, strict=True)),
      }
      writers.write_json(args.json, results)
  return results


def rotated(seed: int) -> list[str]:
  """The options in an order of its own for each seed."""
  names = list(OPTIONS)
  return names[seed % len(names) :] + names[: seed % len(names)]


def accuracies(results: dict[str, Any], option: str, name: str) -> np.ndarray:
  """Test accuracies of a network, in %, by seed: [N]; NaN where none is yet."""
  runs = results["runs"]
  seeds = sorted({key.split()[1] for key in runs})
  rows = [runs.get(f"{option} {seed}") for seed in seeds]
  return np.asarray(
    [
      100 * row["networks"][name]["test_accuracy"] if row else np.nan
      for row in rows
    ]
  )


def shown(option: str, name: str) -> bool:
  """Whether an option changes a network: nobody teaches the largest."""
  return name != NAMES[-1] or "teacher" not in OPTIONS[option]


def spread(values: np.ndarray, sign: str = "") -> str:
  """Mean and standard deviation of the values that there are."""
  values = values[~np.isnan(values)]
  if not len(values):
    return "-"
  deviation = f"{values.std(ddof=1):.2f}" if len(values) > 1 else "one seed"
  return f"{values.mean():{sign}.2f} ({deviation})"


def print_table(results: dict[str, Any]) -> None:
  """Accuracy of each network by option, and its gain over plain."""
  print("test accuracy, mean (standard deviation) of seeds, %; then the gain")
  print("over plain, seed by seed")
  print(f"{'':>9}{'MACs':>9}" + "".join(f"{o:>30}" for o in OPTIONS))
  for name in NAMES:
    line = f"{name:>9}{results['networks'][name]['macs']:>9}"
    plain = accuracies(results, "plain", name)
    for option in OPTIONS:
      values, text = accuracies(results, option, name), "-"
      if shown(option, name):
        gain = "" if option == "plain" else spread(values - plain, "+")
        text = f"{spread(values)} {gain}"
      line += f"{text:>30}"
    print(line)


def draw(results: dict[str, Any], path: pathlib.Path) -> None:
  """Accuracy of each network by option: a point a seed, a bar the mean."""
  fig = figure.Figure(figsize=(7, 3.2), layout="constrained")
  ax = fig.subplots()
  for i, option in enumerate(OPTIONS):
    for j, name in enumerate(NAMES):
      if not shown(option, name):
        continue
      values, x = accuracies(results, option, name), j + 0.15 * (i - 2)
      label = option if j == 0 else None
      ax.plot([x] * len(values), values, "o", ms=4, color=f"C{i}", label=label)
      ax.hlines(np.nanmean(values), x - 0.06, x + 0.06, color=f"C{i}")
  macs = [results["networks"][name]["macs"] for name in NAMES]
  ticks = [f"{n}\n{m / 1e6:.2f} M" for n, m in zip(NAMES, macs, strict=True)]
  ax.set_xticks(range(len(NAMES)), ticks)
  ax.set(
    xlabel="network and multiply-accumulates (the large one is the teacher)",
    ylabel="test accuracy, %",
  )
  ax.legend(fontsize=8)
  fig.savefig(path, dpi=120)


def parse() -> argparse.Namespace:
  """The command line."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--data", default="fashion_mnist")
  parser.add_argument("--workdir", type=pathlib.Path, default="runs/options")
  parser.add_argument("--json", type=pathlib.Path, default=RESULTS)
  parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
  parser.add_argument("--draw", action="store_true", help="trains nothing")
  parser.add_argument("--smoke", action="store_true", help="tiny")
  args = parser.parse_args()
  if args.smoke and args.json == RESULTS:
    parser.error("--smoke needs a --json of its own")
  return args


def main() -> None:
  """Trains what is missing; prints and draws everything."""
  args = parse()
  use_compilation_cache()
  results = readers.read_json(args.json) if args.draw else run(args)
  print_table(results)
  draw(results, args.json.with_suffix(".png"))


if __name__ == "__main__":
  main()
