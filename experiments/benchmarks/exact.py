"""Times the exact search under budgets on FBNet's 22 layers x 9 operations.

  python experiments/benchmarks/exact.py --problems 200

Random problems: scores are log softmax of normal logits, whose standard
deviation is drawn from 0.3 to 3; latency, parameters and MACs are
gamma-distributed and correlated, as in a real space; each budget lies between 5
% and 95 % of the way from the least to the most expensive architecture. Writes
exact.json.
"""

import argparse
import pathlib
import time

import numpy as np

from hwnas_jax.derive.exact import Constraint, best
from hwnas_jax.derive.shortlist import log_softmax
from hwnas_jax.io import records, versions, writers
from hwnas_jax.spaces.spec import Site, Space

HERE = pathlib.Path(__file__).parent
SHAPE = 22, 9
NAMES = ("latency", "params", "macs")


def layers() -> Space:
  """A chain of 22 layers with 9 operations; where they run does not matter."""
  num_layers, num_ops = SHAPE
  ops = tuple(f"op{o}" for o in range(num_ops))
  return Space(
    ops=ops,
    choices=tuple(f"layer{e}" for e in range(num_layers)),
    sites=(tuple((Site(op, 1, 1, 1, 1, 1),) for op in ops),) * num_layers,
    fixed=(),
    group=tuple(range(num_layers)),
    keep=1,
  )


def problem(rng: np.random.Generator) -> tuple[np.ndarray, list[Constraint]]:
  """(scores, three constraints)."""
  scores = log_softmax(rng.uniform(0.3, 3.0) * rng.standard_normal(SHAPE))
  size = rng.gamma(1.0, 1.0, SHAPE)
  constraints = []
  for name in NAMES:
    cost = size * rng.gamma(4.0, 0.25, SHAPE)
    low, high = cost.min(1).sum(), cost.max(1).sum()
    budget = low + rng.uniform(0.05, 0.95) * (high - low)
    constraints.append(Constraint(name, cost, 0.0, budget))
  return scores, constraints


def main() -> None:
  """Times the first answer and the ten best of each problem."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--problems", type=int, default=200)
  parser.add_argument("--json", type=pathlib.Path, default=HERE / "exact.json")
  args = parser.parse_args()
  rng, space = np.random.default_rng(0), layers()
  seconds: dict[str, list[float]] = {"1": [], "10": []}
  infeasible = 0
  for _ in range(args.problems):
    scores, constraints = problem(rng)
    for count, row in seconds.items():
      start = time.perf_counter()
      genotypes = best(space, "argmax", scores, constraints, int(count))
      row.append(time.perf_counter() - start)
    infeasible += not genotypes
  result = {
    "problems": args.problems,
    "infeasible": infeasible,
    "seconds": {
      f"{count} best": {
        "median": float(np.median(row)),
        "p95": float(np.quantile(row, 0.95)),
        "max": float(np.max(row)),
      }
      for count, row in seconds.items()
    },
    "versions": versions.versions(),
    "device": records.to_json(versions.device_fingerprint()),
  }
  writers.write_json(args.json, result)
  print(result)


if __name__ == "__main__":
  main()
