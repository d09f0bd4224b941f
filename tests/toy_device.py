"""A device whose latencies are computed: nothing is compiled or timed."""

from typing import NamedTuple

import pytest

from hwnas_jax.core.types import Genotype
from hwnas_jax.costs import counts
from hwnas_jax.costs.measure import timing
from hwnas_jax.io.records import Measurement
from hwnas_jax.spaces.darts import EIGHT


class Log(NamedTuple):
  """What was measured: sites by the group, networks one by one."""

  groups: list[int]
  networks: list[Genotype]


def site_ms(site):
  return float(
    site.channels_in * (EIGHT.index(site.op) if site.op in EIGHT else 1)
  )


def install(monkeypatch: pytest.MonkeyPatch) -> Log:
  """A site takes `site_ms`, a network twice the sum of its sites."""
  log = Log([], [])

  def measure_sites(sites, batch_size, repeats, meter, dtype):
    for start in range(0, len(sites), timing.GROUP):
      group = sites[start : start + timing.GROUP]
      log.groups.append(len(group))
      yield [timing.entry_of(site, [site_ms(site)] * repeats) for site in group]

  def compile_network(net, genotype, batch_size, dtype="float32"):
    log.networks.append(genotype)
    costs = counts.site_costs(net.space(), site_ms)
    return lambda: 2 * counts.genotype_cost(net, genotype, costs)

  def measure_networks(compiled, repeats, meter):
    return {
      name: Measurement(run(), 0.0, repeats=repeats)
      for name, run in compiled.items()
    }

  monkeypatch.setattr(timing, "measure_sites", measure_sites)
  monkeypatch.setattr(timing, "compile_network", compile_network)
  monkeypatch.setattr(timing, "measure_networks", measure_networks)
  return log
