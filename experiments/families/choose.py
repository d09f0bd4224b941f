"""One search, and what each role has at each of six latency budgets.

- family: what `query` answers, with its committee, without a short training;
- finalists: the committee's best whose measured latency keeps the budget, of
  which a short training will keep one;
- largest: the network of most multiply-accumulates whose measured latency keeps
  the budget;
- random: a random living network whose measured latency is within 10 % below
  the budget.
"""

import pathlib
from typing import Any

import numpy as np

import hwnas_jax as hw
from experiments.families import sizes
from hwnas_jax.core.types import Genotype
from hwnas_jax.costs import table as tables
from hwnas_jax.costs.measure import timing
from hwnas_jax.derive import capacity, exact
from hwnas_jax.io import readers, records, versions, writers
from hwnas_jax.runs import query
from hwnas_jax.runs.candidates import Proposals
from hwnas_jax.runs.query import measure_here
from hwnas_jax.spaces import architecture, rules

# Of the way from the fastest to the slowest network; that one is alone.
SHARES = (1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 5.5 / 6)
ABOVE = 1.1  # of the budget, the largest predicted latency that is measured
BAND = 0.9  # of the budget, what a random network takes at least
FINALISTS = 5
TRIES = 40  # networks measured for one


def choose(args: Any, path: pathlib.Path) -> dict[str, Any]:
  """Searches and chooses; what is in `path` is not chosen again."""
  run = hw.search(sizes.make_config(args), workdir=args.workdir)
  document = readers.read_json(path) if path.exists() else {"budgets": []}
  rows, space = document["budgets"], run.nets.derived.space()
  for place, budget_ms in enumerate(budgets_ms(run)):
    if place < len(rows):
      continue
    genotypes = {
      "family": family(run, budget_ms),
      "finalists": finalists(run, budget_ms),
      "largest": [largest(run, budget_ms)],
      "random": [random_at(run, budget_ms, place)],
    }
    row = {
      role: [architecture.to_json(space, g) for g in of_role]
      for role, of_role in genotypes.items()
    }
    rows.append({"budget_ms": float(budget_ms), **row})
    writers.write_json(path, document)
    print(f"budget {budget_ms:.3g} ms: {row}", flush=True)
  if "latencies" not in document:
    document |= about(run) | {"latencies": measured(run, rows)}
    writers.write_json(path, document)
  return document


def about(run: hw.Run) -> dict[str, Any]:
  """What the choices were made by."""
  return {
    "data": run.dataset.name,
    "batch_size": run.config.latency.batch_size,
    "config": records.to_json(run.config),
    "seed": sizes.SEED,
    "versions": versions.versions(),
    "device": records.to_json(versions.device_fingerprint()),
  }


def budgets_ms(run: hw.Run) -> np.ndarray:
  """The budgets at SHARES of the reach: ms."""
  low, high = query.reach_ms(
    run.nets.derived, run.table, run.config.derive.rule
  )
  return low + (high - low) * np.asarray(SHARES)


def family(run: hw.Run, budget_ms: float) -> list[Genotype]:
  """What the query answers."""
  return [run.query(f"{budget_ms:.6g}ms").network.genotype]


def finalists(run: hw.Run, budget_ms: float) -> list[Genotype]:
  """The committee's best that keep the budget as measured."""
  ranking = Proposals(run.finished, run.table, {}).within(budget_ms * ABOVE)
  kept: list[Genotype] = []
  for candidate in ranking.candidates[:TRIES]:
    if len(kept) < FINALISTS and _keeps(run, candidate.genotype, budget_ms):
      kept.append(candidate.genotype)
  return kept


def largest(run: hw.Run, budget_ms: float) -> Genotype:
  """The largest network whose measured latency keeps the budget."""
  net, rule = run.nets.derived, run.config.derive.rule
  costs = tables.costs(run.table)
  limit = exact.limit("latency", net.space(), costs, budget_ms * ABOVE)
  for genotype in capacity.largest(net, rule, [limit], TRIES):
    if _keeps(run, genotype, budget_ms):
      return genotype
  raise ValueError(f"none of {TRIES} networks keeps {budget_ms:.3g} ms")


def _keeps(run: hw.Run, genotype: Genotype, budget_ms: float) -> bool:
  net, batch_size = run.nets.derived, run.config.latency.batch_size
  return measure_here(net, batch_size, genotype).median_ms <= budget_ms


def random_at(run: hw.Run, budget_ms: float, seed: int) -> Genotype:
  """A random living network that takes BAND to all of the budget."""
  net, rule = run.nets.derived, run.config.derive.rule
  rng = np.random.default_rng([sizes.SEED, seed])
  space, ratios, drawn = net.space(), [1.0], 0
  while len(ratios) <= TRIES and drawn < 100_000:
    genotype, drawn = rules.random(space, rule, rng), drawn + 1
    predicted_ms = tables.predict_ms(run.table, net, genotype)
    # What was measured corrects the predictions of the next ones.
    expected_ms = predicted_ms * float(np.median(ratios))
    near = BAND * budget_ms <= expected_ms <= budget_ms
    if not near or not net.alive(genotype):
      continue
    measured_here = measure_here(net, run.config.latency.batch_size, genotype)
    ratios.append(measured_here.median_ms / predicted_ms)
    if BAND * budget_ms <= measured_here.median_ms <= budget_ms:
      return genotype
  raise ValueError(f"none of {TRIES} random networks takes {budget_ms:.3g} ms")


def measured(
  run: hw.Run, rows: list[dict[str, Any]]
) -> dict[str, dict[str, float]]:
  """Latency and size of every network that was chosen, by id; in turns."""
  net, space = run.nets.derived, run.nets.derived.space()
  genotypes = {}
  for row in rows:
    for role in sizes.CHOSEN:
      for stored in row[role]:
        genotype = architecture.from_json(space, stored)
        genotypes[architecture.identity(space, genotype)] = genotype
  compiled = timing.compile_networks(
    net, genotypes, run.config.latency.batch_size
  )
  latencies = timing.measure_networks(compiled, run.config.latency.repeats)
  return {
    name: {
      "latency_ms": latencies[name].median_ms,
      "iqr_ms": latencies[name].iqr_ms,
      "macs": float(capacity.macs(net, [genotype])[0]),
    }
    for name, genotype in genotypes.items()
  }
