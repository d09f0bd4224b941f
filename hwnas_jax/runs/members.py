"""Measures the networks of a run and makes the record of each."""

import functools
from collections.abc import Sequence

from hwnas_jax.config.problem import Problem
from hwnas_jax.core.types import Genotype
from hwnas_jax.costs import counts
from hwnas_jax.costs import table as tables
from hwnas_jax.costs.measure import timing
from hwnas_jax.derive.family import Derived
from hwnas_jax.io.records import Accuracies, Member
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.spec import Spec


def describe(
  problem: Problem, networks: Sequence[Derived], trained: Sequence[Accuracies]
) -> tuple[Member, ...]:
  """Measures all networks, interleaved, and makes a `Member` of each.

  Args:
    problem: the problem of the search.
    networks: the family, then random architectures.
    trained: the accuracies of each network; empty of an untrained one.
  """
  net, part = problem.nets.derived, problem.config.latency
  space = net.space()
  ids = [architecture.identity(space, n.genotype) for n in networks]
  genotypes = {
    name: network.genotype for name, network in zip(ids, networks, strict=True)
  }
  compiled = timing.compile_networks(net, genotypes, part.batch_size)
  measured = timing.measure_networks(compiled, part.repeats)
  best = best_sample(networks, trained)
  return tuple(
    Member(
      id=name,
      name=network.name + (", kept" if index == best else ""),
      kind="random" if network.condition is None else "member",
      condition=network.condition,
      architecture=architecture.to_json(space, network.genotype),
      **_counts(net, network.genotype),
      latency=measured[name],
      predicted_ms=tables.predict_ms(problem.table, net, network.genotype)
      if problem.table
      else None,
      accuracies=accuracies,
      kept=index == best,
    )
    for index, (name, network, accuracies) in enumerate(
      zip(ids, networks, trained, strict=True)
    )
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
    if network.condition is not None
    and accuracies.held_out_accuracy is not None
  }
  if not held_out:
    return None
  best = max(held_out, key=lambda index: held_out[index])
  print(
    f"kept {networks[best].name}: {held_out[best]:.1%} accuracy on held-out"
    " training examples"
  )
  return best
