"""Which networks stand beside the members of a run; a made-up device."""

import msgspec
import numpy as np
import pytest

import hwnas_jax as hw
from hwnas_jax.config import problem as problems
from hwnas_jax.costs import counts
from hwnas_jax.costs import table as tables
from hwnas_jax.costs.table import Entry
from hwnas_jax.derive import capacity
from hwnas_jax.derive.family import Derived
from hwnas_jax.io.records import Condition, Measurement
from hwnas_jax.nets.models import scaled
from hwnas_jax.runs import baselines
from hwnas_jax.runs.baselines import identity
from hwnas_jax.spaces.nasbench201 import from_string

IQR_MS = 0.01
MS = {
  "none": 0.0,
  "skip_connect": 0.1,
  "nor_conv_1x1": 0.25,
  "nor_conv_3x3": 0.3,
  "avg_pool_3x3": 0.45,
}
HERE = Condition((0.25,) * 4, 1.0)
SMALL = (
  "|nor_conv_1x1~0|+|none~0|none~1|+|skip_connect~0|nor_conv_1x1~1|none~2|"
)
MIDDLE = (
  "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|"
  "+|skip_connect~0|none~1|avg_pool_3x3~2|"
)
LARGE = (
  "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|"
  "+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
)
FAMILY = [
  Derived(name, from_string(text), HERE)
  for name, text in (("large", LARGE), ("small", SMALL), ("middle", MIDDLE))
]


def config_of(**derive):
  config = hw.load_config("digits:smoke")
  config.space.update(name="nasbench201", num_cells=1, channels=8)
  config.space.update(ops="eight", num_nodes=4)
  config.derive.update(num_trained=0, num_random=0)
  config.derive.update(derive)
  return config


def problem_of(config):
  """With a table in which a pool takes longer than a convolution."""
  fields = problems.resolve(config)
  nets = problems.make_nets(fields)
  if fields.cost.name != "latency":
    return problems.make(fields, nets, None)
  entries = []
  for site in nets.derived.space().unique_sites():
    ms = MS.get(site.op, 0.2)
    entries.append(
      Entry(
        kind="fixed" if site.kind == "fixed" else "op",
        latency_ms=ms,
        iqr_ms=0.0,
        samples_ms=(ms,) if ms else (),
        **tables.site_fields(site),
      )
    )
  table = msgspec.structs.replace(
    tables.empty(fields.latency.batch_size),
    entries=tuple(entries),
    finished=True,
  )
  return problems.make(fields, nets, table)


class Device:
  """Takes what a table says, times a factor of the network; counts calls."""

  def __init__(self, problem, factor=lambda network: 1.0):
    self.problem, self.factor, self.asked = problem, factor, []

  def __call__(self, networks):
    self.asked.append([network.name for network in networks])
    net = self.problem.nets.derived
    return {
      identity(net, n): Measurement(self.factor(n) * self._ms(n), IQR_MS)
      for n in networks
    }

  def _ms(self, network):
    net = self.problem.nets.derived
    predicted = tables.predict_ms(self.problem.table, net, network.genotype)
    (macs,) = capacity.macs(net, [network.genotype])
    (wide,) = capacity.macs(scaled(net, network.width), [network.genotype])
    return predicted * wide / macs


def macs(problem, network):
  (size,) = capacity.macs(problem.nets.derived, [network.genotype])
  return size


def test_trained_members_are_the_fastest_the_middle_and_the_slowest():
  problem = problem_of(config_of(num_trained=2))
  names = [m.name for m in baselines.trained(problem, FAMILY)]
  assert names == ["small", "large"]
  problem = problem_of(config_of(num_trained=1))
  assert [m.name for m in baselines.trained(problem, FAMILY)] == ["middle"]
  for count in (0, 3, 9):
    problem = problem_of(config_of(num_trained=count))
    assert baselines.trained(problem, FAMILY) == FAMILY


def test_the_largest_that_fits_stands_beside_each_member():
  problem = problem_of(config_of())
  device = Device(problem)
  beside, latencies = baselines.choose(problem, FAMILY, FAMILY, device)
  assert [(b.kind, b.member.name) for b in beside] == [
    ("largest", "large"),
    ("largest", "small"),
    ("largest", "middle"),
  ]
  net = problem.nets.derived
  for _, member, network in beside:
    assert macs(problem, network) >= macs(problem, member)
    own_ms, ms = (latencies[identity(net, n)] for n in (member, network))
    assert ms.median_ms <= own_ms.median_ms + IQR_MS
  # Nothing is larger than all convolutions.
  assert beside[0].network == FAMILY[0]
  assert beside[2].network.kind == "largest"
  assert {identity(net, n) for n in FAMILY} <= set(latencies)


@pytest.mark.parametrize("factor", [1.3, 0.7])
def test_a_limit_is_corrected_by_what_was_measured(factor):
  """The largest takes longer, or less time, than the table says."""
  problem = problem_of(config_of())
  middle = FAMILY[2]
  plain = baselines.choose(problem, FAMILY, [middle], Device(problem))[0]
  device = Device(problem, lambda n: factor if n.kind == "largest" else 1.0)
  (beside,), latencies = baselines.choose(problem, FAMILY, [middle], device)
  sizes = [macs(problem, b.network) for b in (*plain, beside)]
  assert (sizes[1] < sizes[0]) if factor > 1 else (sizes[1] > sizes[0])
  net = problem.nets.derived
  own_ms, ms = (latencies[identity(net, n)] for n in (middle, beside.network))
  assert ms.median_ms <= own_ms.median_ms + IQR_MS
  assert len(device.asked) == 2


def test_where_all_that_is_larger_is_too_slow_the_member_is_the_largest():
  problem = problem_of(config_of())
  middle = FAMILY[2]
  device = Device(problem, lambda n: 9.0 if n.kind == "largest" else 1.0)
  (beside,), _ = baselines.choose(problem, FAMILY, [middle], device)
  assert beside.network == beside.member == middle


def test_random_ones_cost_what_their_member_costs():
  problem = problem_of(config_of(num_random=6))
  device = Device(problem)
  beside, _ = baselines.choose(problem, FAMILY, FAMILY, device)
  drawn = [b for b in beside if b.kind == "random"]
  assert [b.network.name for b in drawn] == [f"random {i}" for i in range(6)]
  names = [b.member.name for b in drawn]
  assert names == ["small"] * 2 + ["middle"] * 2 + ["large"] * 2
  net = problem.nets.derived
  networks = [b.network for b in beside] + FAMILY
  assert len({capacity.reaching(net, n.genotype) for n in networks}) == len(
    {n.genotype for n in networks}
  )
  for _, member, network in drawn[2:4]:
    ratio = baselines.cost_of(problem, network) / baselines.cost_of(
      problem, member
    )
    assert 0.95 <= ratio <= 1.001


def test_references_are_as_wide_as_the_latency_allows(capsys):
  problem = problem_of(config_of(references=True))
  slow = {"small": 0.1, "middle": 1.1, "large": 2.5}
  device = Device(problem, lambda n: slow.get(n.name, 1.0))
  beside, latencies = baselines.choose(problem, FAMILY, FAMILY, device)
  own = {b.member.name: b.network for b in beside if b.kind == "reference"}
  assert capsys.readouterr().out == (
    "no width of the reference is as fast as small\n"
  )
  assert set(own) <= {"middle", "large"} and own["large"].width > 1
  net = problem.nets.derived
  for name, network in own.items():
    (member,) = (m for m in FAMILY if m.name == name)
    ms = latencies[identity(net, network)].median_ms
    assert ms <= latencies[identity(net, member)].median_ms


def test_without_training_there_are_random_ones_alone():
  config = config_of(num_random=1, references=True)
  config.train.num_steps = 0
  problem = problem_of(config)
  device = Device(problem)
  beside, _ = baselines.choose(problem, FAMILY, FAMILY, device)
  assert [b.kind for b in beside] == ["random"]
  assert len(device.asked) == 1


def test_without_a_table_the_counted_cost_is_the_budget():
  config = config_of()
  config.cost.name = "params"
  problem = problem_of(config)
  net = problem.nets.derived

  def measure(networks):
    return {identity(net, n): Measurement(1.0, 0.1) for n in networks}

  beside, _ = baselines.choose(problem, FAMILY, FAMILY, measure)
  site_costs = counts.site_costs(net.space(), counts.params)
  for _, member, network in beside:
    own, other = (
      counts.genotype_cost(net, n.genotype, site_costs)
      for n in (member, network)
    )
    assert other <= own * 1.001
    assert macs(problem, network) >= macs(problem, member)


def test_prices_of_a_condition_are_a_budget():
  """The simplex method's cost has prices: here pooling is expensive."""
  config = config_of()
  config.cost.name, config.condition.name = "paper", "simplex"
  config.derive.vectors = {"A": (1.0,) * 5}
  problem = problem_of(config)
  member = Derived(
    "A", from_string(MIDDLE), Condition((0.1, 0.1, 0.1, 0.1, 0.6), 1)
  )
  (cost,) = baselines.budgets(problem, member)
  columns = np.asarray(problem.columns)
  row = np.asarray(problem.costs.reference)[0, columns]
  np.testing.assert_allclose(
    cost.cost[0, columns], row * [0.1, 0.1, 0.1, 0.1, 0.6], rtol=1e-6
  )
  chosen = member.genotype
  total = sum(cost.cost[e, op] for e, op in enumerate(chosen))
  assert cost.budget == pytest.approx(total, rel=1e-3)
