"""Chooses the networks that stand beside the trained members of a family.

The largest network that fits is found by predicted latency. Then it is measured
beside its member, and found again with a limit that is corrected by what was
measured: a prediction may be off by more than a member gains.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from hwnas_jax.config.pricing import skip_cap
from hwnas_jax.config.problem import Problem
from hwnas_jax.core.types import Genotype
from hwnas_jax.costs import table as tables
from hwnas_jax.derive import baselines, capacity
from hwnas_jax.derive.exact import Constraint, limit, spent
from hwnas_jax.derive.family import Derived
from hwnas_jax.io.records import BaselineKind, Measurement
from hwnas_jax.nets.models import kind_of, scaled
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.spec import Spec

# Factors of the channels at which a reference is measured.
WIDTHS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0)
_ROUNDING = 1e-5  # of a budget: a member costs no more than itself


class MeasureNetworks(Protocol):
  """A device."""

  def __call__(
    self, networks: Sequence[Derived], /
  ) -> Mapping[str, Measurement]:
    """Measures networks in turn: the latency of each by its id."""


class Beside(NamedTuple):
  """A baseline and its member; the largest may be the member itself."""

  kind: BaselineKind
  member: Derived
  network: Derived


def identity(net: Spec, network: Derived) -> str:
  """The id of a network of a run.

  Args:
    net: the dimensions of the run's networks.
    network: the network.
  """
  return architecture.identity(net.space(), network.genotype, network.width)


def budgets(problem: Problem, network: Derived) -> tuple[Constraint, ...]:
  """What a baseline of a network may cost: as much as it does.

  The cost is latency by the table. Without a table it is the counted cost that
  the search priced, with the network's own prices where these vary.

  Returns:
    The cost, whose budget is the network's own; then that of derive.max_skips,
    if there is one.
  """
  net, table, part = problem.nets.derived, problem.table, problem.config.cost
  space = net.space()
  if table is not None:
    own = tables.predict_ms(table, net, network.genotype)
    cost = limit("latency", space, tables.costs(table), own)
  else:
    array = np.asarray(problem.costs.reference)
    counted = capacity.reaching(net, network.genotype)
    if part.name == "paper" and network.condition is not None:
      prices = np.zeros(len(space.ops))
      prices[list(problem.columns)] = network.condition.simplex
      array = array * prices
      counted = network.genotype  # its prices count what does not run, too
    cost = Constraint(part.name, array, float(problem.costs.base), 0.0)
    own = spent(cost, counted)
  cap = skip_cap(problem.config, space)
  return cost._replace(budget=own * (1 + _ROUNDING)), *([cap] if cap else [])


def cost_of(problem: Problem, network: Derived) -> float:
  """The predicted latency of a network, or what `budgets` counts."""
  return budgets(problem, network)[0].budget


def trained(problem: Problem, family: Sequence[Derived]) -> list[Derived]:
  """The members that are trained: derive.num_trained of them, or all."""
  count = problem.config.derive.num_trained
  if not 0 < count < len(family):
    return list(family)
  ordered = sorted(family, key=lambda member: cost_of(problem, member))
  return [ordered[i] for i in baselines.spread(len(ordered), count)]


def choose(
  problem: Problem,
  family: Sequence[Derived],
  members: Sequence[Derived],
  measure: MeasureNetworks,
) -> tuple[list[Beside], Mapping[str, Measurement]]:
  """Chooses the baselines; measures them and the family.

  Args:
    problem: the problem of the search.
    family: all of its networks.
    members: those that have baselines, at least one.
    measure: the device.

  Returns:
    (the baselines, the latencies of all networks by their ids). Where nothing
    is trained all baselines are random.
  """
  derive = problem.config.derive
  trains = bool(problem.config.train.num_steps)
  known = _Known(problem.nets.derived, family)
  candidates = [
    Beside("largest", member, known.network(_largest(problem, member)))
    for member in (members if trains else [])
  ]
  references = _references(problem) if trains and derive.references else []
  # Before anything is measured: a seed always gives the same ones.
  chosen = [*_randoms(problem, known, members)]
  if trains and (problem.table or references):
    pilot = measure([*members, *(c.network for c in candidates), *references])
    chosen += _scaled(problem, known, members, references, pilot)
    if problem.table:
      candidates += [*_corrected(problem, known, candidates, pilot)]
  networks = [b.network for b in (*candidates, *chosen)]
  latencies = measure([*family, *networks])
  if problem.table:
    candidates = [
      _fitting(problem.nets.derived, candidates, member, latencies)
      for member in (members if trains else [])
    ]
  return [*candidates, *chosen], latencies


class _Known:
  """The networks of a run: one of each function that a genotype computes."""

  def __init__(self, net: Spec, family: Sequence[Derived]):
    self._net = net
    self._by_function = {self._function(member): member for member in family}

  def _function(self, network: Derived) -> tuple[Genotype, float]:
    return capacity.reaching(self._net, network.genotype), network.width

  def network(self, network: Derived) -> Derived:
    """The network itself, or the one before it that computes the same."""
    return self._by_function.setdefault(self._function(network), network)

  @property
  def unscaled(self) -> set[Genotype]:
    """What they compute, as `capacity.reaching` gives it."""
    return {genotype for genotype, width in self._by_function if width == 1.0}


def _largest(
  problem: Problem, member: Derived, limit_ms: float | None = None
) -> Derived:
  """The largest network that costs no more than a member, or than a limit."""
  net, rule = problem.nets.derived, problem.config.derive.rule
  cost, *others = budgets(problem, member)
  if limit_ms is not None:
    cost = cost._replace(budget=limit_ms)
  genotype = baselines.largest(net, rule, cost, *others)
  if genotype is None:
    return member
  both = member.genotype, genotype
  # The program counts what does not reach the output: it may miss the member.
  own, found = (
    (macs, -spent(cost, capacity.reaching(net, g)))
    for g, macs in zip(both, capacity.macs(net, both), strict=True)
  )
  if limit_ms is None and own >= found:
    return member
  return Derived(f"largest at {member.name}", genotype, None, "largest")


def _corrected(
  problem: Problem,
  known: _Known,
  candidates: Sequence[Beside],
  measured: Mapping[str, Measurement],
) -> Iterator[Beside]:
  """The largest again, where a prediction was off by more than the noise."""
  net = problem.nets.derived
  for _, member, network in candidates:
    goal, first = (measured[identity(net, n)] for n in (member, network))
    off_ms = abs(first.median_ms - goal.median_ms)
    if network == member or off_ms <= max(first.iqr_ms, goal.iqr_ms):
      continue
    limit_ms = cost_of(problem, network) * goal.median_ms / first.median_ms
    again = _largest(problem, member, limit_ms)
    yield Beside("largest", member, known.network(again))


def _fitting(
  net: Spec,
  candidates: Sequence[Beside],
  member: Derived,
  measured: Mapping[str, Measurement],
) -> Beside:
  """The largest that is measured no slower than its member, within its noise.

  The member itself fits. Of equally large ones the fastest is taken.
  """
  goal = measured[identity(net, member)]

  def size(network: Derived) -> tuple[float, float]:
    (macs,) = capacity.macs(net, [network.genotype])
    return macs, -measured[identity(net, network)].median_ms

  fitting = [member]
  for candidate in candidates:
    latency = measured[identity(net, candidate.network)]
    noise_ms = max(latency.iqr_ms, goal.iqr_ms)
    if (
      candidate.member == member
      and latency.median_ms <= goal.median_ms + noise_ms
    ):
      fitting.append(candidate.network)
  return Beside("largest", member, max(fitting, key=size))


def _randoms(
  problem: Problem, known: _Known, members: Sequence[Derived]
) -> Iterator[Beside]:
  """derive.num_random random architectures, spread over the members."""
  derive, net = problem.config.derive, problem.nets.derived
  rng = np.random.default_rng(problem.config.seed)
  ordered = sorted(members, key=lambda member: cost_of(problem, member))
  places = baselines.spread(len(ordered), derive.num_random)
  for index, member in enumerate(ordered[place] for place in places):
    genotype = baselines.random(
      net, derive.rule, budgets(problem, member), known.unscaled, rng
    )
    if genotype is None:
      print(
        f"only {index} of {derive.num_random} random architectures: the space"
        " has no others"
      )
      return
    drawn = Derived(f"random {index}", genotype, None, "random")
    yield Beside("random", member, known.network(drawn))


def _references(problem: Problem) -> list[Derived]:
  """The space's reference at all WIDTHS that differ, the narrowest first."""
  net = problem.nets.derived
  make = kind_of(net).reference
  assert make is not None  # config.checks
  genotype = make(net)
  # Several factors may round to the same channels.
  widths = {scaled(net, width).space(): width for width in (*WIDTHS, 1.0)}
  references = [
    Derived(f"reference x{width:g}", genotype, None, "reference", width)
    for width in widths.values()
  ]
  return sorted(
    references,
    key=lambda n: float(capacity.macs(scaled(net, n.width), [genotype])[0]),
  )


def _scaled(
  problem: Problem,
  known: _Known,
  members: Sequence[Derived],
  references: Sequence[Derived],
  measured: Mapping[str, Measurement],
) -> Iterator[Beside]:
  """Beside each member the widest reference that is no slower."""
  net = problem.nets.derived
  for member in members if references else ():
    goal_ms = measured[identity(net, member)].median_ms
    fitting = [
      reference
      for reference in references
      if measured[identity(net, reference)].median_ms <= goal_ms
    ]
    if not fitting:
      print(f"no width of the reference is as fast as {member.name}")
      continue
    yield Beside("reference", member, known.network(fitting[-1]))
