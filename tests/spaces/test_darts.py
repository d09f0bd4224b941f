"""The DARTS space: its sites are what the networks really run."""

import collections

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.nets.darts_network import Network
from hwnas_jax.spaces import darts
from hwnas_jax.spaces.spec import Site


def make(**changes):
  fields = {
    "ops": darts.EIGHT,
    "num_cells": 5,
    "num_nodes": 2,
    "channels": 4,
    "image": (28, 28, 1),
    "num_classes": 10,
  }
  return darts.Darts(**{**fields, **changes})


NETS = {
  "mnist": make(),
  "odd": make(num_cells=6, image=(13, 9, 3)),
  "tiny": make(num_cells=3, image=(5, 3, 3)),
  "no reduction": make(num_cells=2, image=(7, 8, 3)),
  "adjacent reductions": make(num_cells=4, image=(11, 8, 3)),
  "imagenet": make(num_cells=4, image=(64, 32, 3), imagenet_stem=True),
  "odd imagenet": make(num_cells=5, image=(75, 51, 3), imagenet_stem=True),
}


@pytest.fixture(params=NETS.values(), ids=NETS)
def net(request):
  return request.param


def test_the_published_cell_has_fourteen_edges():
  net = make(num_nodes=4)
  assert net.edges[:5] == ((0, 0), (1, 0), (0, 1), (1, 1), (2, 1))
  assert len(net.edges) == len(set(net.edges)) == 14
  assert all(source < node + 2 for source, node in net.edges)
  space = darts.make_space(net)
  assert space.shape == (28, 8)
  assert space.choices[0] == "normal/0->2"
  assert space.choices[-1] == "reduce/4->5"
  assert len(set(space.choices)) == 28


def test_a_group_is_a_node_of_a_cell_type():
  space = darts.make_space(make(num_nodes=3))
  assert space.group == (0, 0, 1, 1, 1, 2, 2, 2, 2, 3, 3, 4, 4, 4, 5, 5, 5, 5)
  assert space.keep == 2


@pytest.mark.parametrize(
  ("num_cells", "reductions"),
  [(1, []), (2, []), (3, [1, 2]), (8, [2, 5]), (20, [6, 13])],
)
def test_reductions_are_at_a_third_and_two_thirds(num_cells, reductions):
  cells = make(num_cells=num_cells).cells()
  assert [i for i, c in enumerate(cells) if c.reduction] == reductions
  assert cells[-1].channels == 4 * 2 ** len(reductions)


def test_without_a_reduction_there_is_one_cell_type():
  space = darts.make_space(NETS["no reduction"])
  assert space.shape == (5, 8)
  assert all(c.startswith("normal/") for c in space.choices)


def test_cells_of_a_type_share_their_choices(net):
  space = darts.make_space(net)
  count = collections.Counter(cell.reduction for cell in net.cells())
  for choice, row in zip(space.choices, space.sites, strict=True):
    expected = count[choice.startswith("reduce")]
    assert [len(sites) for sites in row] == [expected] * 8


def test_odd_sizes_round_up():
  cells = NETS["odd"].cells()
  assert [(c.height, c.width) for c in cells] == [
    (13, 9),
    (13, 9),
    (13, 9),
    (7, 5),
    (7, 5),
    (4, 3),
  ]
  assert cells[-1].out_size == (4, 3)
  assert NETS["odd"].out_channels == 2 * 16


def test_factorised_reductions_see_the_larger_image():
  sites = darts.fixed_sites(NETS["odd"])
  reductions = [s for s in sites if s.op == "factorized_reduce"]
  assert reductions == [
    Site("factorized_reduce", 13, 9, 8, 8, 2),
    Site("factorized_reduce", 7, 5, 16, 16, 2),
  ]


def test_the_imagenet_stem_hands_on_two_sizes():
  stem, left, right, *_ = darts.fixed_sites(NETS["odd imagenet"])
  assert stem == Site("stem_imagenet", 75, 51, 3, 4)
  assert left == Site("factorized_reduce", 19, 13, 4, 4, 2)
  assert right == Site("relu_conv_1x1", 10, 7, 4, 4)


def test_the_small_stem_has_three_times_the_channels():
  stem, left, right, *_, classifier = darts.fixed_sites(NETS["mnist"])
  assert stem == Site("stem_conv_3x3", 28, 28, 1, 12)
  assert left == right == Site("relu_conv_1x1", 28, 28, 12, 4)
  assert classifier == Site("classifier", 7, 7, 32, 10)


def run_shapes(net, genotype):
  """{path of a module: (input shapes, output shapes)} of a real network."""
  shapes = {}

  def record(call, args, kwargs, context):
    y = call(*args, **kwargs)
    if context.method_name == "__call__":
      shapes["/".join(context.module.path)] = args[0], y
    return y

  def run(images):
    with nn.intercept_methods(record):
      module = Network(net, genotype, "search")
      module.init(jax.random.key(0), images)
    return shapes

  return jax.eval_shape(run, jnp.zeros((2, *net.image)))


def assert_site(site, shapes):
  x, y = shapes
  assert (site.height, site.width, site.channels_in) == x.shape[1:]
  assert site.channels_out == y.shape[-1]
  if site.op != "classifier":
    size = -(-site.height // site.stride), -(-site.width // site.stride)
    assert y.shape == (2, *size, site.channels_out)


def test_fixed_sites_are_those_of_the_network(net):
  num_choices, _ = darts.make_space(net).shape
  shapes = run_shapes(net, (4,) * num_choices)
  stem, *preprocess, classifier = darts.fixed_sites(net)
  assert_site(classifier, shapes["classifier"])
  for index in range(net.num_cells):
    assert_site(preprocess[2 * index], shapes[f"left_{index}"])
    assert_site(preprocess[2 * index + 1], shapes[f"right_{index}"])
  images, states = shapes["stem"]
  assert (stem.height, stem.width, stem.channels_in) == images.shape[1:]
  for state in states if net.imagenet_stem else [states]:
    assert state.shape[-1] == stem.channels_out


def test_choice_sites_are_those_of_the_network(net):
  space = darts.make_space(net)
  op = net.ops.index("sep_conv_3x3")
  shapes = run_shapes(net, (op,) * len(space.choices))
  seen = collections.Counter()
  for choice, row in zip(space.choices, space.sites, strict=True):
    kind, edge = choice.split("/")
    source, node = edge.split("->")
    cells = [
      i for i, c in enumerate(net.cells()) if c.reduction == (kind == "reduce")
    ]
    for index, site in zip(cells, row[op], strict=True):
      name = f"cell_{index}/edge_{source}_{node}_sep_conv_3x3"
      assert_site(site, shapes[name])
      seen[name] += 1
  run = [n for n in shapes if n.split("/")[-1].startswith("edge_")]
  assert seen == dict.fromkeys(run, 1)


def test_an_edge_of_every_cell_has_its_site(net):
  asked = {
    cell.edge_site(source, op)
    for cell in net.cells()
    for source, _ in net.edges
    for op in net.ops
  }
  space = darts.make_space(net)
  assert asked == {s for row in space.sites for sites in row for s in sites}


def test_unique_sites_are_stable_and_complete(net):
  space = darts.make_space(net)
  sites = space.unique_sites()
  assert list(sites) == sorted(set(sites))
  every = [s for row in space.sites for cell in row for s in cell]
  assert set(sites) == {*every, *space.fixed}
  assert darts.make_space(net).unique_sites() == sites
  assert len({site.key for site in sites}) == len(sites)


def test_the_keys_of_a_table_stay_what_they_were():
  site = Site("sep_conv_3x3", 28, 27, 16, 32, 2)
  assert site.key == "sep_conv_3x3 28x27x16->32 s2"


def test_costs_add_up_over_the_cells_of_a_choice():
  space = darts.make_space(NETS["mnist"])
  cost = {site.key: site.height + 0.5 for site in space.unique_sites()}
  table = space.cost_array(cost)
  assert table.shape == space.shape and table.dtype == np.float32
  # Normal cells see 28, 14 and 7 rows, reductions 28 and 14: halved inside.
  rows = dict(zip(space.choices, table[:, 0], strict=True))
  assert rows["normal/0->2"] == 28 + 14 + 7 + 1.5
  assert rows["reduce/1->3"] == 28 + 14 + 1.0
  assert rows["reduce/2->3"] == 14 + 7 + 1.0
  assert space.base_cost(cost) == sum(s.height + 0.5 for s in space.fixed)


def test_a_missing_cost_is_refused_by_its_key():
  space = darts.make_space(NETS["mnist"])
  cost = {site.key: 1.0 for site in space.unique_sites()}
  key = space.sites[3][4][0].key
  with pytest.raises(KeyError, match=key):
    space.cost_array({k: v for k, v in cost.items() if k != key})
  with pytest.raises(KeyError, match="classifier 7x7x32->10 s1"):
    space.base_cost({k: v for k, v in cost.items() if "class" not in k})


def test_operation_sets_are_subsets_of_the_eight():
  assert [len(ops) for ops in darts.OP_SETS.values()] == [3, 5, 8]
  for ops in darts.OP_SETS.values():
    assert set(ops) <= set(darts.EIGHT) and len(set(ops)) == len(ops)
