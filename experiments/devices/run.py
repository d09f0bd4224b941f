"""The same search on 1, 2 and 8 devices: losses and networks.

  python -m experiments.devices.run [--only digits cifar]

From the repository root, on a CPU that is made to look like eight. Each
config's variant `smoke` is searched for 40 steps from one seed: from the same
weights, with the same examples and samples. Multiply-accumulates stand for
latency, so that no table is needed. Rows that results.json has stay.

A row has, of 2 and of 8 devices against 1: the largest relative difference of a
mean loss of ten steps, the largest difference of a logit, and the choices that
differ, each with the difference of the two operations' logits on one device.
"""

import argparse
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.made import begin, made
from experiments.precision.run import CONFIGS, DISPATCH, Search, make_config
from hwnas_jax.core import devices
from hwnas_jax.core.types import Genotype
from hwnas_jax.derive import sweep
from hwnas_jax.io import readers, writers

RESULTS = pathlib.Path(__file__).parent / "results.json"
COUNTS = (2, 8)  # beside 1
STEPS, SEED = 40, 0


class Outcome(NamedTuple):
  """Of one search.

  losses: mean of each ten steps.
  logits: [points, E, O], at the conditions of the family.
  genotypes: [points], the rule's architectures.
  """

  losses: np.ndarray
  logits: np.ndarray
  genotypes: list[Genotype]


def search(name: str, count: int) -> Outcome:
  """Searches a config's smoke on `count` devices."""
  config = make_config(name, SEED, STEPS)
  config.devices = count
  running = Search(config)
  losses = [running.run()[0] for _ in range(STEPS // DISPATCH)]
  problem, parts = running.problem, running.parts
  state = devices.gather(running.state, devices.make_mesh(count))
  logits = sweep.logits_of(
    parts.controller,
    parts.conditions,
    state.controller,
    [point.condition for point in problem.points],
  )
  space = problem.nets.supernet.space()
  genotypes = [problem.rule(space, rows) for rows in logits]
  return Outcome(np.asarray(losses), np.asarray(logits), genotypes)


def compare(one: Outcome, several: Outcome) -> dict[str, Any]:
  """How far a search on several devices is from that on one."""
  apart = []
  for logits, before, after in zip(
    one.logits, one.genotypes, several.genotypes, strict=True
  ):
    for row, old, new in zip(logits, before, after, strict=True):
      if old != new:
        apart.append(float(row[old] - row[new]))
  return {
    "loss": float(np.abs(several.losses / one.losses - 1).max()),
    "logit": float(np.abs(several.logits - one.logits).max()),
    "logits_spread": float(np.std(one.logits)),
    "choices": sum(map(len, one.genotypes)),
    "choices_that_differ_by_logit": apart,
  }


def main() -> None:
  """Searches each config that has no row."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--only", nargs="*", default=list(CONFIGS))
  parser.add_argument("--json", type=pathlib.Path, default=RESULTS)
  args = parser.parse_args()
  jax.config.update("jax_num_cpu_devices", max(COUNTS))
  rows = readers.read_json(args.json) if args.json.exists() else {}
  for name in args.only:
    if name not in rows:
      start, one = begin(), search(name, 1)
      rows[name] = {
        **{str(n): compare(one, search(name, n)) for n in COUNTS},
        "steps": STEPS,
        "made": made(start, search=SEED),
      }
      writers.write_json(args.json, rows)
    for count in COUNTS:
      print(name, count, rows[name][str(count)], flush=True)


if __name__ == "__main__":
  main()
