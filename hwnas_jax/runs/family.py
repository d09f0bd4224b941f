"""A finished run as a family that answers budgets.

  family = finished.load("runs/digits")
  answer = sweep.query("0.6x")            # or "5ms", "60%"
  answer.certificate["measured"]           # {"median_ms": ..., ...}

The device is the one of the table: the run's own, or any other's. On that
device the answer is compiled and measured; elsewhere it is predicted, with
the margin of the table's calibration.
"""

import dataclasses
import functools
import pathlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from hwnas_jax.config import checks, method, pricing
from hwnas_jax.core import budget as budgets
from hwnas_jax.core.compile import jit
from hwnas_jax.core.types import Genotype, Params
from hwnas_jax.costs import counts
from hwnas_jax.costs import table as tables
from hwnas_jax.costs.measure import timing
from hwnas_jax.costs.table import LatencyTable
from hwnas_jax.data import arrays
from hwnas_jax.data.augment import normalise
from hwnas_jax.derive import reach, shortlist, sweep
from hwnas_jax.derive.exact import Constraint, spent
from hwnas_jax.derive.shortlist import Candidate, Known, Measurement, Settled
from hwnas_jax.io import checkpoint, versions, writers
from hwnas_jax.method.state import SearchState
from hwnas_jax.method.step import Parts
from hwnas_jax.nets.models import inherit, make_network
from hwnas_jax.runs import pipeline
from hwnas_jax.spaces import architecture, rules
from hwnas_jax.spaces.spec import Spec
from hwnas_jax.train import step as train_step

BATCH = 512  # held-out examples that candidates are ranked on
REPEATS = 30
ESTIMATED = 20  # batches of 128 that BN statistics are estimated on

Measure = Callable[[Genotype], Measurement]


@dataclasses.dataclass(frozen=True)
class Answer:
  """A network and how its latency is known."""

  genotype: Genotype
  certificate: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Family:
  """What a finished search knows.

  net: the supernet's dimensions; derived: those of its networks.
  columns: the priced operations. table: of the device it was priced on.
  measured: networks that the run measured on the table's device.
  losses: of architectures that were ranked before.
  """

  config: ConfigDict
  folder: pathlib.Path
  dataset: arrays.Dataset
  net: Spec
  derived: Spec
  parts: Parts
  state: SearchState
  columns: tuple[int, ...]
  table: LatencyTable
  measured: dict[Genotype, Measurement]
  losses: dict[Genotype, float] = dataclasses.field(default_factory=dict)

  def query(
    self,
    latency: str,
    *,
    table: LatencyTable | None = None,
    limits: Mapping[str, float] | None = None,
    measure: Measure | None = None,
  ) -> Answer:
    """The network for a latency budget, with a certificate.

    Args:
      latency: `5ms`, or `0.4x`, `60%` of the largest architecture's.
      table: of the device; the run's own by default.
      limits: more budgets by name: params, macs, memory_mb (compiled).
      measure: the device, where it is not the one this runs on.

    Returns:
      A `measured` answer on the table's device, else a `predicted` one.

    Raises:
      ValueError: a budget that nothing keeps, an unknown limit, or a
        prediction asked of a table without calibration.
    """
    return _Query(self, latency, table or self.table, limits, measure).answer()


def load(workdir: str | pathlib.Path) -> Family:
  """Reads a run folder.

  Raises:
    FileNotFoundError: there is no run.
    ValueError: its search is not finished, or has no family over scales.
  """
  folder = pathlib.Path(workdir).expanduser()
  config = checks.read_run(folder)
  if (config.condition.name, config.cost.name) != ("cone", "latency"):
    raise ValueError(
      f"{folder} has condition.name={config.condition.name} and"
      f" cost.name={config.cost.name}: a query needs a family over scales,"
      " cone and latency"
    )
  if config.controller.classifier:
    raise ValueError(
      f"{folder} has controller.classifier=True, a classifier a condition: a"
      " query ranks networks by one that all share"
    )
  steps = checkpoint.steps(folder / "search" / "checkpoints")
  if max(steps, default=0) < config.search.num_steps:
    raise ValueError(
      f"the search in {folder} is at step {max(steps, default=0)} of"
      f" {config.search.num_steps}: finish it with its own command,"
      f" `{writers.read_json(folder / 'config.json')['command']}`"
    )
  net, derived = method.make_nets(config)
  table = tables.load(folder / "table.json")
  dataset = method.load_dataset(config)
  reference = pricing.make_reference(config, net, derived, table)
  found = pipeline.search(config, folder, net, reference, dataset)
  state, parts, columns = found
  measured = _measured(folder, derived)
  return Family(
    config,
    folder,
    dataset,
    net,
    derived,
    parts,
    state,
    columns,
    table,
    measured,
  )


def _measured(folder: pathlib.Path, net: Spec) -> dict[Genotype, Measurement]:
  """The latencies in family.json, none where the run has not come to it."""
  path = folder / "family.json"
  if not path.exists():
    return {}
  return {
    architecture.from_json(net.space(), row["genotype"]): Measurement.of(
      row["latency"]
    )
    for row in writers.read_json(path)["members"]
  }


@dataclasses.dataclass(frozen=True)
class _Query:
  """One question to a family, with what several of its steps read."""

  of: Family
  latency: str
  table: LatencyTable
  limits: Mapping[str, float] | None
  measure: Measure | None

  def answer(self) -> Answer:
    space = self.of.derived.space()
    tables.require(self.table, space, self.table.batch_size)
    budget_ms, margin = self._budget_ms(), self._margin()
    # Measured, a prediction without its margin is the place to start from.
    factor = 1.0 if self._measures() else margin
    candidates = functools.cache(self._candidates)
    ranked = candidates(budget_ms / factor)
    if not ranked:
      raise ValueError(self._impossible(budget_ms, factor))
    ideal_loss, known = self._ideal_loss(), self._known()
    first = shortlist.begin(ranked, budget_ms, margin, known)
    settled = None
    if self._measures():
      settled = shortlist.settle(
        candidates, budget_ms, self._timed(), first, ideal_loss, known
      )
      first = settled.candidate
    point, residual = self._simplex
    about = {
      "budget": {"latency": self.latency, "latency_ms": budget_ms}
      | dict(self.limits or {}),
      "candidates": len(ranked),
      "unconstrained_best_fits": first.loss <= ideal_loss,
      "simplex": [float(s) for s in point],
      "simplex_residual": residual,
    }
    return Answer(first.genotype, about | self._certificate(first, settled))

  @functools.cached_property
  def _simplex(self) -> tuple[np.ndarray, float]:
    """The device as a point of the simplex, and what that loses."""
    prices = self.of.derived.space().cost_array(tables.costs(self.table))
    reference = tables.price_array(self.of.table, self.of.derived.space())
    return shortlist.simplex_of(prices, reference, self.of.columns)

  @functools.cached_property
  def _free(self) -> list[Genotype]:
    """What the rule gives at each scale without a budget."""
    rule = rules.RULES[self.of.config.derive.rule]
    space = self.of.derived.space()
    return [*{rule(space, rows): None for rows in self._logits}]

  def _ideal_loss(self) -> float:
    """The least loss where latency has no limit; other limits hold."""
    found = shortlist.shortlist(
      self.of.derived.space(),
      self.of.config.derive.rule,
      self._logits,
      self._constraints(),
      per_scale=3,
    )
    return self._rank(found)[0].loss

  def _candidates(self, limit_ms: float) -> list[Candidate]:
    """Those predicted to keep the latency and every other limit; best first."""
    space, costs = self.of.derived.space(), tables.costs(self.table)
    timed = Constraint(
      "latency", space.cost_array(costs), space.base_cost(costs), limit_ms
    )
    constraints = [timed, *self._constraints()]
    rule = self.of.config.derive.rule
    genotypes = shortlist.shortlist(space, rule, self._logits, constraints)
    ranked = self._rank([*dict.fromkeys([*genotypes, *self._free])])
    return [c for c in ranked if self._keeps(c, constraints)]

  def _keeps(self, of: Candidate, constraints: Sequence[Constraint]) -> bool:
    return all(spent(c, of.genotype) <= c.budget for c in constraints)

  def _measures(self) -> bool:
    if self.measure is not None:
      return True
    here = versions.fingerprint_id(versions.device_fingerprint())
    return here == self.table.fingerprint

  def _known(self) -> list[Known]:
    """What the run measured, where this table is of the same device."""
    of, table = self.of, self.table
    same = (table.fingerprint, table.batch_size) == (
      of.table.fingerprint,
      of.table.batch_size,
    )
    if self.measure is not None or not same or not self._measures():
      return []
    return [
      (Candidate(g, 0.0, tables.predict_ms(table, of.derived, g)), found)
      for g, found in of.measured.items()
    ]

  def _margin(self) -> float:
    """What a prediction is multiplied with for an upper bound."""
    if self.table.calibration:
      return self.table.calibration.margin
    if self._measures():
      return 1.0
    raise ValueError(
      f"the table of {self.table.fingerprint} is not calibrated, so nothing is"
      " known of its error, and that device is not here to measure on:"
      f" calibrate it there with `{tables.COMMAND}`"
    )

  def _budget_ms(self) -> float:
    asked = budgets.parse(self.latency, "latency")
    return budgets.to_ms(asked, reach_ms(self.of, self.table)[1])

  def _impossible(self, budget_ms: float, factor: float) -> str:
    low, high = reach_ms(self.of, self.table)
    more = f", {dict(self.limits)}" if self.limits else ""
    return (
      f"no architecture keeps {budget_ms:.4g} ms{more} on"
      f" {self.table.fingerprint}: predicted latencies are {low:.4g} to"
      f" {high:.4g} ms, times {factor:.3g} for their error"
    )

  def _constraints(self) -> list[Constraint]:
    """The additive limits beside latency, derive.max_skips among them."""
    space = self.of.derived.space()
    known = {"params": counts.params, "macs": counts.macs}
    unknown = set(self.limits or {}) - {*known, "memory_mb"}
    if unknown:
      raise ValueError(
        f"unknown limit {sorted(unknown)}: it is params, macs or memory_mb"
      )
    cap = pricing.skip_cap(self.of.config, space)
    found = [cap] if cap else []
    for name, limit in (self.limits or {}).items():
      if name in known:
        costs = counts.site_costs(space, known[name])
        found.append(
          Constraint(
            name, space.cost_array(costs), space.base_cost(costs), limit
          )
        )
    return found

  @functools.cached_property
  def _logits(self) -> np.ndarray:
    """[33, E, O] at the device's point, from the least scale on."""
    part = self.of.config.condition
    scales = np.geomspace(part.low, part.high, shortlist.NUM_SCALES + 1)
    points = [(self._simplex[0].tolist(), float(s)) for s in scales]
    return sweep.logits_of(
      self.of.parts.controller,
      self.of.parts.conditions,
      self.of.state.controller,
      points,
    )

  def _rank(self, genotypes: Sequence[Genotype]) -> list[Candidate]:
    of = self.of
    new = [g for g in genotypes if g not in of.losses]
    if new:
      images, labels = method.held_out(of.config, of.dataset, BATCH)
      found = shortlist.rank(
        of.parts.net, len(of.net.ops), of.state.weights, images, labels, new
      )
      of.losses.update(zip(new, map(float, found), strict=True))
    ranked = [
      Candidate(g, of.losses[g], tables.predict_ms(self.table, of.derived, g))
      for g in genotypes
    ]
    return sorted(ranked, key=lambda c: c.loss)

  def _timed(self) -> Measure:
    """The device, and the compiled network's memory where that is limited."""
    if self.measure is not None:
      return self.measure
    return functools.partial(
      measure_here,
      self.of.derived,
      self.table.batch_size,
      memory_mb=(self.limits or {}).get("memory_mb", np.inf),
    )

  def _certificate(
    self, answer: Candidate, settled: Settled | None
  ) -> dict[str, Any]:
    calibration = self.table.calibration
    margin = calibration and {
      "ratio": calibration.margin,
      "nominal_level": calibration.level,
      "attained_level": calibration.attained_level,
      "guaranteed_level": calibration.guaranteed_level,
      "networks": len(calibration.networks),
      "note": "empirical: of networks drawn as the calibration's were",
    }
    return {
      "kind": "measured" if settled else "predicted",
      "predicted_ms": answer.predicted_ms,
      "measured": settled and settled.measured._asdict(),
      "tried": [
        {"predicted_ms": c.predicted_ms, **m._asdict()}
        for c, m in (settled.tried if settled else [])
      ],
      "margin": margin,
      "shared_weights_loss": answer.loss,
      "batch_size": self.table.batch_size,
      "table": {
        "fingerprint": self.table.fingerprint,
        "digest": tables.digest(self.table),
      },
      "device": versions.device_fingerprint(),
      "versions": versions.versions(),
    }


def reach_ms(of: Family, table: LatencyTable) -> tuple[float, float]:
  """(smallest, largest) predicted latency of the space on a device."""
  space, costs = of.derived.space(), tables.costs(table)
  return reach.bounds_ms(
    space,
    space.cost_array(costs),
    space.base_cost(costs),
    of.config.derive.rule,
  )


def measure_here(
  net: Spec, batch_size: int, genotype: Genotype, *, memory_mb: float = np.inf
) -> Measurement:
  """Compiles and times a network; too much memory is infinitely slow."""
  compiled = timing.compile_network(net, genotype, batch_size)
  if compiled.peak_memory_mb > memory_mb:
    return Measurement(np.inf, 0.0)
  name = architecture.identity(net.space(), genotype)
  row = timing.measure_networks({name: compiled}, REPEATS)[name]
  return Measurement.of(row)


def write(of: Family, answer: Answer) -> pathlib.Path:
  """Writes queries/<id>/: certificate, architecture and weights.

  Weights are the trained ones where the network has been trained, else the
  supernet's with re-estimated BN statistics, if its shapes allow.

  Returns:
    The folder.
  """
  space = of.derived.space()
  name = architecture.identity(space, answer.genotype)
  folder = of.folder / "queries" / name
  folder.mkdir(parents=True, exist_ok=True)
  edges = architecture.to_json(space, answer.genotype)
  writers.write_json(folder / "architecture.json", {"edges": edges})
  trained = of.folder / "networks" / name / "weights.npz"
  found: dict[str, Any] = {"weights": "none: the supernet has other shapes"}
  if trained.exists():
    shutil.copyfile(trained, folder / "weights.npz")
    accuracies = writers.read_json(trained.parent / "metrics.json")
    found = {"weights": "trained", **accuracies}
  elif of.net == of.derived:
    params, stats, accuracy = inherited(of, answer.genotype)
    writers.write_arrays(
      folder / "weights.npz", {"params": params, "stats": stats}
    )
    found = {"weights": "inherited", "test_accuracy": accuracy}
  writers.write_json(
    folder / "certificate.json", {**answer.certificate, **found}
  )
  return folder


def inherited(of: Family, genotype: Genotype) -> tuple[Params, Params, float]:
  """(params, BN statistics, test accuracy) without any training.

  The supernet's weights under the network's names; BN is scaled by 1 and its
  statistics are estimated on the training split. Pooling has a BN in search
  alone, so a network with many pools loses much here.
  """
  network = make_network(of.derived, genotype, "train")
  shapes = train_step.init_variables(network, jax.random.key(0))
  params = _overlay(shapes[0], inherit(of.net, genotype, of.state.weights))
  augment = functools.partial(
    normalise, mean=of.dataset.mean, std=of.dataset.std
  )
  estimate = jit(train_step.make_estimate(network, augment, ESTIMATED))
  stats = estimate(params, shapes[1], of.dataset.train)
  evaluate = jit(
    train_step.make_evaluate(
      make_network(of.derived, genotype, "eval"),
      augment,
      of.config.train.batch_size,
    )
  )
  return params, stats, float(evaluate(params, stats, of.dataset.test))


def _overlay(under: Params, over: Params) -> Params:
  """`under` with the leaves that `over` has."""
  if not isinstance(under, Mapping):
    return over
  return {
    name: _overlay(value, over[name]) if name in over else value
    for name, value in under.items()
  }
