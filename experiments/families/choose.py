"""One search, and what each role has at each of six latency budgets.

- family: what `query` answers, with its committee, without a short training;
- finalists: the committee's best whose measured latency keeps the budget, of
  which a short training will keep one;
- largest: the network of most multiply-accumulates whose measured latency keeps
  the budget;
- random: a random living network whose measured latency is within 10 % below
  the budget, or 20 % where no random one is.
"""

import dataclasses
import pathlib
import time
from typing import Any

import numpy as np

import hwnas_jax as hw
from experiments.families import sizes
from hwnas_jax.core.types import Genotype
from hwnas_jax.costs import table as tables
from hwnas_jax.costs.measure import timing
from hwnas_jax.derive import capacity, exact
from hwnas_jax.io import readers, records, versions, writers
from hwnas_jax.runs.candidates import Proposals
from hwnas_jax.runs.query import measure_here
from hwnas_jax.spaces import architecture, rules

# Of the way from the fastest network measured to the largest.
SHARES = (1 / 7, 2 / 7, 3 / 7, 4 / 7, 5 / 7, 6 / 7)
ABOVE = 2.0  # of the budget, the largest predicted latency that is looked at
NEAR = 1.02  # of the budget, the largest expected latency that is measured
BANDS = (0.9, 0.8)  # of the budget, what a random network takes at least
FINALISTS = 5
LIMITS = (1.0, 0.9, 0.8)  # predicted, where too few keep the budget as measured
FITTED = 12  # random networks measured first
MOST = 20_000  # more than the space has


@dataclasses.dataclass
class Device:
  """This device, and what was measured on it.

  The latency of the next network is expected from how many of each operation
  the measured ones run: all cells are alike, so places matter little.
  """

  run: hw.Run
  latencies_ms: dict[Genotype, float] = dataclasses.field(default_factory=dict)
  weights: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))

  def counts(self, genotype: Genotype) -> np.ndarray:
    """1, and how often each operation reaches the output: [O + 1]."""
    net = self.run.nets.derived
    ops = np.asarray(capacity.reaching(net, genotype))
    counted = [(ops == op).sum() for op in range(len(net.ops))]
    return np.asarray([1.0, *counted])

  def begin(self) -> None:
    """Measures random networks."""
    net, rule = self.run.nets.derived, self.run.config.derive.rule
    rng = np.random.default_rng(sizes.SEED)
    while len(self.latencies_ms) < FITTED:
      genotype = rules.random(net.space(), rule, rng)
      if net.alive(genotype):
        self.measured_ms(genotype)

  def expected_ms(self, genotype: Genotype) -> float:
    """By a ridge on what was measured."""
    return float(self.counts(genotype) @ self.weights)

  def measured_ms(self, genotype: Genotype) -> float:
    """Measured once."""
    if genotype not in self.latencies_ms:
      net, batch = self.run.nets.derived, self.run.config.latency.batch_size
      latency = measure_here(net, batch, genotype)
      self.latencies_ms[genotype] = latency.median_ms
      rows = np.asarray([self.counts(g) for g in self.latencies_ms])
      square = rows.T @ rows + 0.1 * np.eye(rows.shape[1])
      measured = rows.T @ np.asarray([*self.latencies_ms.values()])
      self.weights = np.linalg.solve(square, measured)
    return self.latencies_ms[genotype]

  def keeps(self, genotype: Genotype, budget_ms: float) -> bool:
    """Whether it keeps a budget; it is not measured if it is far from it."""
    if self.expected_ms(genotype) > budget_ms * NEAR:
      return False
    return self.measured_ms(genotype) <= budget_ms


def choose(args: Any, path: pathlib.Path) -> dict[str, Any]:
  """Searches and chooses; what is in `path` is not chosen again."""
  start = time.monotonic()
  run = hw.search(sizes.make_config(args), workdir=args.workdir)
  document = readers.read_json(path) if path.exists() else {"budgets": []}
  rows, space = document["budgets"], run.nets.derived.space()
  device = Device(run)
  device.begin()
  budgets = document.setdefault("budgets_ms", budgets_ms(device).tolist())
  for place, budget_ms in enumerate(budgets):
    if place < len(rows):
      continue
    answer = run.query(f"{budget_ms:.6g}ms").network.genotype
    device.measured_ms(answer)
    largest_one = largest(device, budget_ms)
    genotypes = {
      "family": [answer],
      "finalists": finalists(device, budget_ms, largest_one),
      "largest": [largest_one],
      "random": [random_at(device, budget_ms, place)],
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
    document["wall_s_of_last_process"] = time.monotonic() - start
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


def budgets_ms(device: Device) -> np.ndarray:
  """The budgets at SHARES of the reach, as measured: ms."""
  net, rule = device.run.nets.derived, device.run.config.derive.rule
  costs = tables.costs(device.run.table)
  limit = exact.limit("latency", net.space(), costs, np.inf)
  (slowest,) = capacity.largest(net, rule, [limit], 1)
  high = device.measured_ms(slowest)
  low = min(device.latencies_ms.values())
  return low + (high - low) * np.asarray(SHARES)


def largest(device: Device, budget_ms: float) -> Genotype:
  """The largest network whose measured latency keeps the budget."""
  run = device.run
  net, rule = run.nets.derived, run.config.derive.rule
  costs = tables.costs(run.table)
  limit = exact.limit("latency", net.space(), costs, budget_ms * ABOVE)
  for genotype in capacity.largest(net, rule, [limit], MOST):
    if device.keeps(genotype, budget_ms):
      return genotype
  raise ValueError(f"no network keeps {budget_ms:.3g} ms")


def finalists(
  device: Device, budget_ms: float, largest_one: Genotype
) -> list[Genotype]:
  """The committee's best that keep the budget as measured.

  The largest network that does says what the table predicts at this budget.
  Equal functions count once: each limit may propose other forms of one.
  """
  proposals = Proposals(device.run.finished, device.run.table, {})
  table, net = device.run.table, device.run.nets.derived
  predicted_ms = tables.predict_ms(table, net, largest_one)
  kept: dict[Genotype, Genotype] = {}  # by what reaches the output
  for share in LIMITS:
    limit_ms = share * max(budget_ms, predicted_ms * 1.001)
    for candidate in proposals.within(limit_ms).candidates:
      genotype = candidate.genotype
      function = capacity.reaching(net, genotype)
      new = len(kept) < FINALISTS and function not in kept
      if new and device.keeps(genotype, budget_ms):
        kept[function] = genotype
  return list(kept.values())


def random_at(device: Device, budget_ms: float, seed: int) -> Genotype:
  """A random living network that takes most of the budget: see BANDS."""
  net, rule = device.run.nets.derived, device.run.config.derive.rule
  for band in BANDS:
    rng = np.random.default_rng([sizes.SEED, seed])
    for _ in range(20_000):
      genotype = rules.random(net.space(), rule, rng)
      near = band * budget_ms <= device.expected_ms(genotype) <= budget_ms
      if not near or not net.alive(genotype):
        continue
      if band * budget_ms <= device.measured_ms(genotype) <= budget_ms:
        return genotype
  raise ValueError(f"no random network takes {budget_ms:.3g} ms")


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
