"""The networks of a run: trained, measured, and a record of each."""

import dataclasses
import functools
from collections.abc import Container, Mapping, Sequence

import msgspec

from hwnas_jax.config.problem import Problem
from hwnas_jax.core.compile import ahead
from hwnas_jax.core.types import Genotype
from hwnas_jax.costs import counts
from hwnas_jax.costs import table as tables
from hwnas_jax.costs.measure import timing
from hwnas_jax.costs.measure.timing import CompiledNetwork
from hwnas_jax.data import arrays
from hwnas_jax.data.arrays import Dataset
from hwnas_jax.derive.family import Derived
from hwnas_jax.io import records
from hwnas_jax.io.records import Accuracies, Family, Measurement, Member
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.nets.models import scaled
from hwnas_jax.runs import baselines, derived, helpers, together, training
from hwnas_jax.runs.baselines import identity
from hwnas_jax.runs.searching import Searched
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.spec import Spec


def make_family(
  problem: Problem, folder: RunFolder, dataset: Dataset, searched: Searched
) -> Family:
  """Derives, trains and measures the family of a search and its baselines."""
  measured = folder.measured()
  if measured is None:
    measured = _measure(problem, folder, dataset, searched)
    folder.write_measured(measured)
  beside = {baseline.network for baseline in measured.baselines}
  _train(problem, folder, dataset, searched, beside)
  return msgspec.structs.replace(
    measured,
    members=tuple(
      msgspec.structs.replace(
        m, accuracies=folder.network(m.id).accuracies() or Accuracies()
      )
      for m in measured.members
    ),
  )


def _measure(
  problem: Problem, folder: RunFolder, dataset: Dataset, searched: Searched
) -> Family:
  """The family with its members trained, and its baselines measured."""
  config, nets = problem.config, problem.nets
  swept = derived.derive(problem, searched)
  points = derived.with_collapse(problem, searched, dataset, swept)
  members = baselines.trained(problem, swept.networks)
  family = [*members, *(n for n in swept.networks if n not in members)]
  genotypes = [member.genotype for member in members]
  by = helpers.choose(
    config.train, nets.derived, genotypes, searched.state.weights
  )
  sized = [training.Sized(genotype) for genotype in genotypes]
  accuracies = together.train(problem, folder, dataset, sized, by)
  best = best_sample(members, accuracies)
  part = config.latency
  bench = Bench(nets.derived, part.batch_size, part.repeats, config.precision)
  beside, latencies = baselines.choose(
    problem,
    family,
    members if best is None else [members[best]],
    bench,
  )
  by_id = dict(zip(members, accuracies, strict=True))
  networks = dict.fromkeys([*family, *(b.network for b in beside)])
  name = functools.partial(identity, nets.derived)
  base_ms = (
    tables.base_ms(problem.table, nets.derived.space())
    if problem.table
    else None
  )
  return Family(
    ops=tuple(nets.supernet.ops),
    choices=tuple(nets.supernet.space().choices),
    latency_batch_size=config.latency.batch_size,
    base_latency_ms=base_ms,
    priced=tuple(nets.supernet.ops[column] for column in problem.columns),
    members=tuple(
      describe(
        problem,
        network,
        latencies[name(network)],
        by_id.get(network, Accuracies()),
        best is not None and network == members[best],
      )
      for network in networks
    ),
    sweep=points,
    shares=tuple(swept.shares),
    baselines=tuple(
      records.Baseline(b.kind, name(b.member), name(b.network)) for b in beside
    ),
    cost="latency" if problem.table else config.cost.name,
    num_test=arrays.size(dataset.test),
  )


def restore(
  problem: Problem, folder: RunFolder, dataset: Dataset, searched: Searched
) -> None:
  """Writes again what a finished run's trained networks have lost.

  Raises:
    ValueError: one was trained by another recipe.
  """
  family = folder.family()
  assert family is not None
  trained = {
    m.id for m in family.members if m.accuracies.test_accuracy is not None
  }
  _train(problem, folder, dataset, searched, trained)


def _train(
  problem: Problem,
  folder: RunFolder,
  dataset: Dataset,
  searched: Searched,
  ids: Container[str],
) -> None:
  """Trains those networks of a measured family that have one of the ids."""
  net, config = problem.nets.derived, problem.config
  read = functools.partial(architecture.from_json, net.space())
  family = folder.family() or folder.measured()
  assert family is not None
  for member in family.members:
    record = records.Network(member.architecture, member.width)
    folder.network(member.id).write_architecture(record)
  by = helpers.choose(
    config.train,
    net,
    [read(m.architecture) for m in family.members if helpers.may_teach(m)],
    searched.state.weights,
  )
  networks = [
    training.Sized(read(member.architecture), member.width)
    for member in family.members
    if member.id in ids
  ]
  together.train(problem, folder, dataset, networks, by)


@dataclasses.dataclass(frozen=True)
class Bench:
  """Measures networks of a run on this device; compiles each of them once."""

  net: Spec
  batch_size: int
  repeats: int
  dtype: str = "float32"
  compiled: dict[str, CompiledNetwork] = dataclasses.field(default_factory=dict)

  def __call__(self, networks: Sequence[Derived]) -> Mapping[str, Measurement]:
    """Measures networks, interleaved: the latency of each by its id."""
    by_id = {identity(self.net, network): network for network in networks}
    new = {name: n for name, n in by_id.items() if name not in self.compiled}
    self.compiled.update(
      zip(new, ahead(self._compile, new.values()), strict=True)
    )
    runs = {name: self.compiled[name] for name in by_id}
    return timing.measure_networks(runs, self.repeats)

  def _compile(self, network: Derived) -> CompiledNetwork:
    net = scaled(self.net, network.width)
    return timing.compile_network(
      net, network.genotype, self.batch_size, self.dtype
    )


def describe(
  problem: Problem,
  network: Derived,
  latency: Measurement,
  accuracies: Accuracies,
  kept: bool,
) -> Member:
  """The record of a measured network.

  Args:
    problem: the problem of the search.
    network: the network.
    latency: as it was measured.
    accuracies: empty of a network that is not trained.
    kept: whether it is the best of the trained samples.
  """
  net, table = problem.nets.derived, problem.table
  return Member(
    id=identity(net, network),
    name=network.name + (", kept" if kept else ""),
    kind=network.kind,
    condition=network.condition,
    architecture=architecture.to_json(net.space(), network.genotype),
    **_counts(scaled(net, network.width), network.genotype),
    latency=latency,
    predicted_ms=tables.predict_ms(table, net, network.genotype)
    if table and network.width == 1.0
    else None,
    accuracies=accuracies,
    kept=kept,
    width=network.width,
  )


def _counts(net: Spec, genotype: Genotype) -> dict[str, int]:
  """The fields `params`, `op_params` (of the choices alone) and `macs`."""
  space = net.space()
  cost = functools.partial(counts.genotype_cost, net, genotype)
  searched = counts.site_costs(space, counts.search_params)
  return {
    "params": int(cost(counts.site_costs(space, counts.params))),
    "op_params": int(cost(searched) - space.base_cost(searched)),
    "macs": int(cost(counts.site_costs(space, counts.macs))),
  }


def best_sample(
  networks: Sequence[Derived], trained: Sequence[Accuracies]
) -> int | None:
  """The index of the sampled network that is kept; None without samples.

  FBNet trains several sampled architectures and keeps the best (Wu et al. 2019,
  section 3.3): here the most accurate on held-out training examples.
  """
  held_out = {
    index: accuracies.held_out_accuracy
    for index, (network, accuracies) in enumerate(
      zip(networks, trained, strict=True)
    )
    if network.kind == "member" and accuracies.held_out_accuracy is not None
  }
  if not held_out:
    return None
  best = max(held_out, key=lambda index: held_out[index])
  print(
    f"kept {networks[best].name}: {held_out[best]:.1%} accuracy on held-out"
    " training examples"
  )
  return best
