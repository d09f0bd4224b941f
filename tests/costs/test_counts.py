"""Parameters and multiply-accumulates, against published numbers."""

import math

import jax
import jax.numpy as jnp
import pytest

from hwnas_jax.core import program
from hwnas_jax.core.types import ABSENT
from hwnas_jax.costs import counts
from hwnas_jax.nets import conv
from hwnas_jax.nets.darts_network import Network
from hwnas_jax.nets.ops import make_op
from hwnas_jax.spaces import darts
from hwnas_jax.spaces.spec import Site


def paper_net(ops: tuple[str, ...] = darts.FIVE, image=(28, 28, 1)):
  """The supernet of the simplex method (Firsov and Bakhteev 2025)."""
  return darts.Darts(ops, 3, 4, 16, image, 10)


def op_params(ops: tuple[str, ...]):
  space = darts.make_space(paper_net(ops))
  costs = counts.site_costs(space, counts.search_params)
  return space, space.cost_array(costs)


@pytest.mark.parametrize(
  ("op", "normal", "strided", "reduction"),
  [
    ("sep_conv_3x3", 800, 11_968, 11_968),
    ("sep_conv_5x5", 1_312, 15_040, 15_040),
    ("skip_connect", 0, 5_120, 0),
    ("avg_pool_3x3", 0, 0, 0),
    ("max_pool_3x3", 0, 0, 0),
  ],
)
def test_search_params_of_an_edge(op, normal, strided, reduction):
  space, table = op_params(darts.FIVE)
  column = space.ops.index(op)
  rows = [space.choices.index(f"{kind}/0->2") for kind in ("normal", "reduce")]
  assert list(table[rows, column]) == [normal, strided]
  assert table[space.choices.index("reduce/2->3"), column] == reduction


@pytest.mark.parametrize(
  ("normal_conv", "reduction_conv", "strided_skip", "published"),
  [
    (3, 3, 0, 38_304),  # 1A
    (2, 11, 2, 143_488),  # 1C
    (10, 8, 2, 113_984),  # 3A
    (11, 0, 0, 8_800),  # 3D
  ],
)
def test_published_columns(
  normal_conv, reduction_conv, strided_skip, published
):
  space, table = op_params(darts.THREE)
  pool, skip, convolution = range(3)
  genotype = [pool] * 28
  strided = [14 + e for e in (0, 1)]
  others = [14 + e for e in range(13, 1, -1)]
  for row in [*range(normal_conv), *others[:reduction_conv]]:
    genotype[row] = convolution
  for row in strided[:strided_skip]:
    genotype[row] = skip
  found = sum(table[row, op] for row, op in enumerate(genotype))
  assert found == published


@pytest.mark.parametrize(
  ("image", "fixed"), [((28, 28, 1), 20_506), ((32, 32, 3), 21_370)]
)
def test_fixed_parameters(image, fixed):
  space = darts.make_space(paper_net(image=image))
  costs = counts.site_costs(space, counts.search_params)
  assert space.base_cost(costs) == fixed


V2 = """sep3 0 sep3 1 sep3 0 sep3 1 sep3 1 skip 0 skip 0 dil3 2
max 0 max 1 skip 2 max 1 max 0 skip 2 skip 2 max 1"""
NAMES = {
  "sep3": "sep_conv_3x3",
  "dil3": "dil_conv_3x3",
  "skip": "skip_connect",
  "max": "max_pool_3x3",
}


def darts_v2(net: darts.Darts) -> tuple[int, ...]:
  genotype = []
  for line in V2.splitlines():
    words = line.split()
    row = dict.fromkeys(net.edges, ABSENT)
    for position in range(0, len(words), 2):
      edge = (int(words[position + 1]), position // 4)
      row[edge] = net.ops.index(NAMES[words[position]])
    genotype.extend(row.values())
  return tuple(genotype)


def test_darts_v2_on_cifar():
  net = darts.Darts(darts.EIGHT, 20, 4, 36, (32, 32, 3), 10)
  space = darts.make_space(net)
  costs = counts.site_costs(space, counts.params)
  found = counts.genotype_cost(net, darts_v2(net), costs)
  assert found == 3_349_342


def test_darts_v2_on_imagenet():
  net = darts.Darts(darts.EIGHT, 14, 4, 48, (224, 224, 3), 1000, True)
  space, genotype = darts.make_space(net), darts_v2(net)
  costs = counts.site_costs(space, counts.params)
  found = counts.genotype_cost(net, genotype, costs)
  assert found == 4_718_752
  costs = counts.site_costs(space, counts.macs)
  found = counts.genotype_cost(net, genotype, costs)
  assert found == 529_911_552


def test_what_counts_of_darts_v2_on_imagenet_include(monkeypatch):
  """Why we say 529.9M where the paper says 574M.

  Ours are the multiply-accumulates of convolutions and classifier. Issue 46 of
  the authors' repository has two counts by others: 523M of convolutions and
  classifier, and 544.59M by ptflops, which adds 2 for each output of a BN and 1
  for each of a ReLU. Ours is the latter within 0.1 % once these are added. The
  29M that the paper has beyond are in no public count: its script was asked for
  and not given. Parameters are those of the paper, so the network is the same.
  """
  monkeypatch.setattr(conv, "_on_cpu", lambda: False)
  net = darts.Darts(darts.EIGHT, 14, 4, 48, (224, 224, 3), 1000, True)
  module = Network(net, darts_v2(net), "train")
  x = jax.ShapeDtypeStruct((1, *net.image), jnp.float32)
  variables = jax.eval_shape(module.init, jax.random.key(0), x)
  apply = lambda v, x: module.apply(v, x, mutable=["batch_stats"])[0][0]  # noqa: E731
  jaxpr = jax.make_jaxpr(apply)(variables, x).jaxpr
  relu = outputs(jaxpr, "max")
  # A depthwise convolution is followed by a 1x1 before its BN.
  normalised = outputs(jaxpr, "dot_general") - 1000 + 489_216
  assert (relu, normalised) == (6_942_456, 4_139_520)
  with_all = traced_macs(jaxpr) + 2 * normalised + relu
  assert traced_macs(jaxpr) == 529_911_552
  assert abs(with_all / 544.59e6 - 1) < 1e-3


def outputs(jaxpr, primitive: str) -> int:
  """Numbers that a primitive makes."""
  return sum(
    (eqn.primitive.name == primitive) * math.prod(eqn.outvars[0].aval.shape)
    + sum(outputs(inner, primitive) for inner in program.bodies(eqn))
    for eqn in jaxpr.eqns
  )


def traced_macs(jaxpr) -> int:
  """Multiply-accumulates of the convolutions and products in a jaxpr."""
  total = 0
  for eqn in jaxpr.eqns:
    out = math.prod(eqn.outvars[0].aval.shape)
    if eqn.primitive.name == "dot_general":
      (contract, _), _ = eqn.params["dimension_numbers"]
      total += out * eqn.invars[0].aval.shape[contract[0]]
    elif eqn.primitive.name == "conv_general_dilated":
      total += out * math.prod(eqn.invars[1].aval.shape[:3])
    for inner in program.bodies(eqn):
      total += traced_macs(inner)
  return total


def traced(module, shape: tuple[int, ...]) -> int:
  x = jax.ShapeDtypeStruct(shape, jnp.float32)
  variables = jax.eval_shape(module.init, jax.random.key(0), x)
  apply = lambda v, x: module.apply(v, x, mutable=["batch_stats"])[0]  # noqa: E731
  return traced_macs(jax.make_jaxpr(apply)(variables, x).jaxpr)


def input_of(site: Site) -> tuple[int, ...]:
  return 1, site.height, site.width, site.channels_in


@pytest.mark.parametrize(
  "site",
  [
    Site("sep_conv_5x5", 9, 7, 8, 8, 2),
    Site("dil_conv_3x3", 6, 6, 4, 4, 1),
    Site("skip_connect", 9, 7, 8, 8, 2),
    Site("skip_connect", 9, 7, 8, 8, 1),
    Site("avg_pool_3x3", 9, 7, 8, 8, 2),
    Site("relu_conv_1x1", 5, 5, 12, 8, 1),
    Site("factorized_reduce", 10, 10, 12, 8, 2),
    Site("stem_conv_3x3", 7, 7, 3, 6, 1),
    Site("stem_imagenet", 33, 33, 3, 8, 1),
    Site("classifier", 2, 2, 12, 5, 1),
    Site("none", 4, 4, 4, 4, 2),
    Site("mb_k5_e3", 9, 7, 8, 16, 2),
    Site("mb_k3_e1_g2", 9, 7, 8, 8, 1),
    Site("skip_relu6", 9, 7, 8, 16, 2),
    Site("stem_3x3", 9, 7, 3, 8, 2),
    Site("hidden_relu6", 9, 7, 8, 16, 1),
  ],
  ids=lambda site: site.key,
)
def test_macs_are_those_of_the_traced_operation(site, monkeypatch):
  monkeypatch.setattr(conv, "_on_cpu", lambda: False)
  assert counts.macs(site) == traced(make_op(site, "train"), input_of(site))


def test_macs_of_a_network_are_those_of_its_trace(monkeypatch):
  monkeypatch.setattr(conv, "_on_cpu", lambda: False)
  net = darts.Darts(darts.EIGHT, 3, 3, 4, (9, 7, 2), 3)
  space = darts.make_space(net)
  genotype = (3, 4, 5, 6, 7, 1, 2, 3, 4) * 2
  costs = counts.site_costs(space, counts.macs)
  found = counts.genotype_cost(net, genotype, costs)
  assert found == traced(Network(net, genotype, "train"), (1, *net.image))


def test_genotype_cost_counts_live_sites_only():
  net = darts.Darts(darts.EIGHT, 2, 2, 4, (8, 8, 1), 3)
  space = darts.make_space(net)
  none, skip = net.ops.index("none"), net.ops.index("skip_connect")
  costs = {key: 1.0 for key in counts.site_costs(space, counts.params)}
  base = space.base_cost(costs)
  cost = lambda g: counts.genotype_cost(net, g, costs) - base  # noqa: E731
  # Edges 0->2, 1->2, 0->3, 1->3, 2->3; each is a site in both cells.
  assert cost((skip,) * 5) == 10
  assert cost((none, none, skip, skip, skip)) == 4
  assert cost((skip, ABSENT, ABSENT, ABSENT, skip)) == 4


def test_genotype_cost_names_a_site_without_cost():
  net = paper_net()
  with pytest.raises(KeyError, match="stem_conv_3x3 28x28x1->48 s1"):
    counts.genotype_cost(net, (0,) * 28, {})
