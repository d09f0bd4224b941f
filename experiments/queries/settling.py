"""How many networks does a query measure? Corrections of predictions compared.

  python -m experiments.queries.settling measure --workdir=runs/digits
  python -m experiments.queries.settling simulate

From the repository root. `measure` times up to 16 candidates of each of seven
budgets of a finished run, four times in another order each, and writes
settling.json. `simulate` answers 600 random budgets from these latencies: eight
random networks were measured before, as the main job measures its family, and
ranks are random. It compares the product's correction of a prediction with
others, and adds what came out to settling.json, with the share of answers that
exceed their budget when they are measured once more. A measurement is

  quiet           the smallest of a network's four, with 2 % of noise
  slower before   the same; those before took 1.35 times as long
  as measured     the steadier of two of the four
  slower of two   the slower of two of the four
"""

import argparse
import functools
import math
import pathlib
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import hwnas_jax as hw
from hwnas_jax.core.compile import ahead
from hwnas_jax.core.types import Genotype
from hwnas_jax.costs.measure import timing
from hwnas_jax.derive import settle
from hwnas_jax.derive.settle import Candidate, Known
from hwnas_jax.io import readers, versions, writers
from hwnas_jax.io.cache import use_compilation_cache
from hwnas_jax.io.records import Measurement
from hwnas_jax.runs import query
from hwnas_jax.runs.candidates import Proposals

RESULTS = pathlib.Path(__file__).with_suffix(".json")
SHARES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # of the largest's latency
EACH, ROUNDS = 16, 4
BUDGETS, BEFORE = 600, 8
NOISES = ("quiet", "slower before", "as measured", "slower of two")
SLOWER = 1.35
Correct = Callable[..., float]


def measure(workdir: pathlib.Path) -> list[dict[str, Any]]:
  """Latencies of candidates, a row for each."""
  finished, rng = hw.load(workdir).finished, random.Random(0)
  net, table = finished.problem.nets.derived, finished.problem.table
  proposals = Proposals(finished, table, {})
  rule = finished.problem.config.derive.rule
  _, largest_ms = query.reach_ms(net, table, rule)
  chosen: dict[Genotype, Candidate] = {}
  for share in SHARES:
    ranked = proposals.within(share * largest_ms).candidates
    chosen |= {
      c.genotype: c for c in rng.sample(ranked, min(EACH, len(ranked)))
    }
  build = functools.partial(
    timing.compile_network, net, batch_size=table.batch_size
  )
  compiled = dict(zip(chosen, ahead(build, chosen), strict=True))
  rows = {
    g: {"genotype": g, "predicted_ms": c.predicted_ms, "measured": []}
    for g, c in chosen.items()
  }
  for number in range(ROUNDS):
    for genotype in rng.sample([*chosen], len(chosen)):
      found = timing.measure_networks({0: compiled[genotype]}, query.REPEATS)[0]
      rows[genotype]["measured"].append([found.median_ms, found.iqr_ms])
    print(f"round {number + 1} of {ROUNDS}", flush=True)
  return [*rows.values()]


def weighted(power: float) -> Correct:
  """By all that is known, with weights (1 + choices that differ)^-power."""

  def correct(
    candidate: Candidate, before: list[Known], now: Sequence[Known] = ()
  ) -> float:
    ratio = settle._ratio(candidate.genotype, [*before, *now], power)
    return candidate.predicted_ms * ratio

  return correct


CORRECTIONS: dict[str, Correct] = {
  "the product's": settle._corrected_ms,
  "the nearest": weighted(20.0),
  "all alike, weights 1 / (1 + d)^2": weighted(2.0),
  "weights 1 / (1 + d)": weighted(1.0),
  "weights 1 / (1 + d)^3": weighted(3.0),
  "the mean": weighted(0.0),
}


def answer(
  rows: list[dict[str, Any]], noise: str, seed: int
) -> dict[str, float]:
  """One budget: what was measured and ranked, and the share that is used."""
  rng = random.Random(seed)
  by_genotype = {tuple(row["genotype"]): row for row in rows}
  genotypes = [*by_genotype]
  least_ms = {
    g: min(ms for ms, _ in row["measured"]) for g, row in by_genotype.items()
  }
  shuffled = rng.sample(genotypes, len(genotypes))
  places = {genotype: i + 1 for i, genotype in enumerate(shuffled)}
  counts = {"measured": 0, "ranked": 0}
  shuffled_ms = {
    g: rng.sample(row["measured"], ROUNDS) for g, row in by_genotype.items()
  }

  def timed(genotype: Genotype, fresh: bool = False) -> Measurement:
    """By two of the measurements, or by the two others."""
    counts["measured"] += 1
    if noise in ("quiet", "slower before"):
      return Measurement(least_ms[genotype] * math.exp(rng.gauss(0, 0.02)), 0.0)
    both = shuffled_ms[genotype][2:] if fresh else shuffled_ms[genotype][:2]
    if noise == "slower of two" and not fresh:
      return Measurement(*max(both))
    return Measurement(*min(both, key=lambda m: m[1] / m[0]))

  def candidate(genotype: Genotype) -> Candidate:
    predicted_ms = by_genotype[genotype]["predicted_ms"]
    return Candidate(genotype, places[genotype], predicted_ms, "capacity")

  slower = SLOWER if noise == "slower before" else 1.0
  before = [
    Known(g, candidate(g).predicted_ms, slower * timed(g).median_ms)
    for g in rng.sample(genotypes, BEFORE)
  ]
  counts["measured"] = 0
  others = [g for g in genotypes if g not in {k.genotype for k in before}]

  def within(limit_ms: float) -> list[Candidate]:
    """The slowest that fit, and some others, as a ranking has them."""
    counts["ranked"] += 1
    fits = [c for c in map(candidate, others) if c.predicted_ms <= limit_ms]
    fits.sort(key=lambda c: -c.predicted_ms)
    some = fits[:25] + [c for c in fits[25:] if rng.random() < 0.3]
    return sorted(some, key=lambda c: c.place)

  low, high = 1.3 * min(least_ms.values()), 0.95 * max(least_ms.values())
  budget_ms = rng.uniform(low, high)
  ranked = within(budget_ms / settle.correction(before))
  if not ranked:
    return {}
  first = settle.begin(ranked, budget_ms, 1.0, before)
  try:
    settled = settle.settle(ranked, within, budget_ms, timed, first, before)
  except ValueError:
    return counts | {"used": 0.0}
  found = counts | {"used": settled.measured.median_ms / budget_ms}
  again = timed(settled.candidate.genotype, fresh=True)
  return found | {"again": again.median_ms / budget_ms}


def simulate(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
  """A row for each noise and correction: means over the budgets."""
  results = []
  product = settle._corrected_ms
  for noise in NOISES:
    for name, correct in CORRECTIONS.items():
      settle._corrected_ms = correct
      answers = [answer(rows, noise, i) for i in range(BUDGETS)]
      settle._corrected_ms = product
      answers = [a for a in answers if a]
      of = {k: [a[k] for a in answers] for k in ("measured", "ranked", "used")}
      results.append(
        {
          "noise": noise,
          "correction": name,
          "budgets": len(answers),
          "measured": round(float(np.mean(of["measured"])), 2),
          "ranked": round(float(np.mean(of["ranked"])), 2),
          "fill": round(float(np.mean(np.asarray(of["used"]) >= 0.9)), 3),
          "refused": of["used"].count(0.0),
          "over": round(
            float(np.mean([a["again"] > 1 for a in answers if "again" in a])), 3
          ),
        }
      )
      print(results[-1], flush=True)
  return results


def main() -> None:
  """Measures, or simulates from what was measured."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("stage", choices=("measure", "simulate"))
  parser.add_argument("--workdir", type=pathlib.Path)
  args = parser.parse_args()
  if args.stage == "measure":
    if args.workdir is None:
      parser.error("measure needs --workdir")
    use_compilation_cache()
    networks = measure(args.workdir)
    results = {"versions": versions.versions(), "networks": networks}
  else:
    results = readers.read_json(RESULTS)
    results["simulated"] = simulate(results["networks"])
  writers.write_json(RESULTS, results)


if __name__ == "__main__":
  main()
