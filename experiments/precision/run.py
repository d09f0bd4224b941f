"""bfloat16 against float32: loss and time of the reduced searches.

  python -m experiments.precision.run [--only digits cifar]

From the repository root. Each config's variant `smoke` is searched for 200
steps in both precisions from each of three seeds: from the same weights, with
the same examples and samples, dispatches in turns. Multiply-accumulates stand
for latency, so that no table is needed. Rows that results.json has stay.
"""

import argparse
import itertools
import pathlib
import time
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

import hwnas_jax as hw
from hwnas_jax.config import method
from hwnas_jax.config import problem as problems
from hwnas_jax.core import devices
from hwnas_jax.core.precision import PRECISIONS
from hwnas_jax.core.rng import stream
from hwnas_jax.data import load
from hwnas_jax.io import readers, versions, writers

RESULTS = pathlib.Path(__file__).parent / "results.json"
CONFIGS = ("digits", "nasbench201", "cifar", "mobile", "fashion_mnist")
STEPS, DISPATCH = 200, 10
AVERAGED = 5  # dispatches at the end whose mean loss is compared
SEEDS = 3


def make_config(name: str, seed: int, num_steps: int) -> ConfigDict:
  """A config's variant `smoke`, priced by what needs no table."""
  config = hw.load_config(f"{name}:smoke")
  config.seed = seed
  if config.cost.name == "latency":
    config.cost.update(name="macs", predictor="")
    config.penalty.target = ""
  config.search.update(
    num_steps=num_steps,
    warmup_steps=0,
    steps_per_dispatch=DISPATCH,
    checkpoint_every=num_steps,
  )
  return config


class Search:
  """A search of a config; `run` makes DISPATCH steps."""

  def __init__(self, config: ConfigDict) -> None:
    fields = problems.resolve(config)
    dataset = load.load(fields.data.name)
    nets = problems.make_nets(fields, dataset)
    self.problem = problems.make(fields, nets, None)
    self.parts, settings = method.make_parts(self.problem, dataset)
    data = method.make_search_data(fields, dataset)[0], self.problem.costs
    mesh = devices.make_mesh(fields.devices)
    self.inputs = devices.place(data, mesh)
    init, self.steps = method.make_search(fields, self.parts, settings)
    self.state = init(devices.place(stream(fields.seed, "search"), mesh))

  def run(self) -> tuple[float, float]:
    """(mean cross-entropy of DISPATCH steps, seconds)."""
    start = time.perf_counter()
    self.state, metrics = self.steps(self.state, *self.inputs)
    loss = float(metrics["cross_entropy"])
    return loss, time.perf_counter() - start


def compare(name: str, seed: int) -> dict[str, Any]:
  """A config's row of one seed."""
  searches = {}
  for precision in PRECISIONS:
    config = make_config(name, seed, STEPS)
    config.precision = precision
    searches[precision] = Search(config)
  losses: dict[str, list[float]] = {p: [] for p in PRECISIONS}
  seconds: dict[str, list[float]] = {p: [] for p in PRECISIONS}
  for _ in range(STEPS // DISPATCH):
    for precision, search in searches.items():  # in turns
      loss, took = search.run()
      losses[precision].append(loss)
      seconds[precision].append(took / DISPATCH)
  last = {p: float(np.mean(row[-AVERAGED:])) for p, row in losses.items()}
  finite = all(np.isfinite(row).all() for row in losses.values())
  return {
    "losses": losses,
    "last": last,
    "difference": last["bfloat16"] / last["float32"] - 1,
    "finite": bool(finite),
    "step_seconds": {p: float(np.median(s[1:])) for p, s in seconds.items()},
    "step_iqr_seconds": {
      p: float(np.subtract(*np.percentile(s[1:], [75, 25])))
      for p, s in seconds.items()
    },
  }


def main() -> None:
  """Runs each config that has no row."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--only", nargs="*", default=list(CONFIGS))
  parser.add_argument("--json", type=pathlib.Path, default=RESULTS)
  args = parser.parse_args()
  rows = readers.read_json(args.json) if args.json.exists() else {}
  for seed, name in itertools.product(range(SEEDS), args.only):
    of_seeds = rows.setdefault(name, {})
    if str(seed) not in of_seeds:
      of_seeds[str(seed)] = compare(name, seed)
      rows["versions"] = versions.versions()
      rows["device"] = jax.devices()[0].device_kind
      writers.write_json(args.json, rows)
    row = of_seeds[str(seed)]
    print(name, seed, row["difference"], row["step_seconds"], flush=True)


if __name__ == "__main__":
  main()
