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

  def measure_group(sites, batch_size, repeats, meter):
    log.groups.append(len(sites))
    return [timing.entry_of(site, [site_ms(site)] * repeats) for site in sites]

  def compile_network(net, genotype, batch_size):
    log.networks.append(genotype)
    costs = counts.site_costs(net.space(), site_ms)
    return lambda: 2 * counts.genotype_cost(net, genotype, costs)

  def measure_networks(compiled, repeats, meter):
    return {
      name: Measurement(run(), 0.0, repeats=repeats)
      for name, run in compiled.items()
    }

  monkeypatch.setattr(timing, "_measure_group", measure_group)
  monkeypatch.setattr(timing, "compile_network", compile_network)
  monkeypatch.setattr(timing, "measure_networks", measure_networks)
  return log
