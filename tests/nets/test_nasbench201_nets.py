"""NAS-Bench-201: published sizes, supernet and derived network agree."""

import functools
import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.core import tree
from hwnas_jax.core.compile import jit
from hwnas_jax.costs import counts
from hwnas_jax.nets import models
from hwnas_jax.nets import nasbench201 as nasbench201_nets
from hwnas_jax.nets.ops import make_op
from hwnas_jax.nets.supernet import Selection
from hwnas_jax.spaces import nasbench201
from hwnas_jax.spaces.nasbench201 import NasBench201
from hwnas_jax.spaces.spec import Site
from hwnas_jax.train.step import init_variables

FULL = NasBench201(5, 16, (32, 32, 3), 10)
# Index, parameters and multiply-accumulates of the published files.
PUBLISHED = [
  (3, 73_306, 7_783_040),  # of the smallest
  (1462, 1_531_546, 220_119_680),  # the largest
  (6111, 1_073_466, 153_272_960),  # the most accurate
]


def shapes_of(net, genotype, mode="train"):
  module = models.make_network(net, genotype, mode)
  images = jnp.zeros((2, *net.image))
  return jax.eval_shape(module.init, jax.random.key(0), images)["params"]


@pytest.mark.parametrize(("index", "params", "macs"), PUBLISHED)
def test_published_sizes(index, params, macs):
  genotype = nasbench201.from_index(index)
  assert tree.count(shapes_of(FULL, genotype)) == params
  space = FULL.space()
  for cost, expected in ((counts.params, params), (counts.macs, macs)):
    costs = counts.site_costs(space, cost)
    assert counts.genotype_cost(FULL, genotype, costs) == expected


def digest(data):
  return hashlib.sha256(data).hexdigest()[:16]


def test_every_cell_has_its_published_string_and_size():
  """In the order of the published files, of which these are digests."""
  cells = [nasbench201.from_index(index) for index in range(15_625)]
  texts = "\n".join(map(nasbench201.to_string, cells))
  assert digest(texts.encode()) == "83abc799e45cf34e"
  space, totals = FULL.space(), {}
  for cost in (counts.params, counts.macs):
    costs = counts.site_costs(space, cost)
    table = space.cost_array(costs).astype("<i8")
    of_edges = table[np.arange(len(space.choices)), np.asarray(cells)]
    totals[cost] = int(space.base_cost(costs)) + of_edges.sum(1)
  assert totals[counts.params].sum() == 6_227_406_250
  assert digest(totals[counts.params].tobytes()) == "79a667b1c8d9353e"
  assert totals[counts.macs].sum() == 858_890_000_000
  assert digest(totals[counts.macs].tobytes()) == "1ca5cbde19b751e6"


def test_published_sizes_count_what_is_dead():
  genotype = nasbench201.from_index(6)
  assert nasbench201.to_string(genotype) == (
    "|nor_conv_3x3~0|+|none~0|none~1|"
    "+|avg_pool_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
  )
  space = FULL.space()
  costs = counts.site_costs(space, counts.params)
  table = space.cost_array(costs)
  rows = zip(table, genotype, strict=True)
  published = space.base_cost(costs) + sum(row[op] for row, op in rows)
  assert published == 802_426
  # Nothing enters node 2, so the convolution 2->3 has no input.
  live = published - table[5, genotype[5]]
  assert counts.genotype_cost(FULL, genotype, costs) == live == 559_386
  assert tree.count(shapes_of(FULL, genotype)) == live


NET = NasBench201(2, 4, (8, 4, 2), 3)
NOTHING = (0, 0, 0, 0, 0, 0)
GENOTYPES = [
  (3, 4, 2, 1, 3, 4),
  (3, 1, 0, 3, 0, 2),  # the convolution 0->1 is dead
  (0, 2, 3, 4, 3, 3),  # node 1 is empty: what leaves it is dead
  NOTHING,  # the cell is zero
]


@pytest.fixture(scope="module")
def small():
  net = models.make_supernet(NET)
  weights = jax.jit(net.init)(jax.random.key(0))
  images = jax.random.normal(jax.random.key(1), (6, *NET.image))
  return net, jit(net.apply), weights, images


def test_a_program_does_not_grow_with_the_cells():
  def num_lines(num_cells):
    net = models.make_supernet(NasBench201(num_cells, 4, (8, 4, 2), 3))
    weights = jax.eval_shape(net.init, jax.random.key(0))
    mix, images = jnp.ones((6, 5)), jnp.ones((2, 8, 4, 2))
    lowered = jax.jit(net.apply).lower(weights, mix, images)
    return len(lowered.as_text().splitlines())

  assert num_lines(2) == num_lines(5)


def one_hot(genotype):
  return jax.nn.one_hot(jnp.asarray(genotype), len(NET.ops))


@pytest.mark.parametrize("genotype", GENOTYPES)
def test_one_hot_supernet_equals_derived(small, genotype):
  _, apply, weights, images = small
  expected = apply(weights, one_hot(genotype), images)
  params = models.inherit(NET, genotype, weights)
  module = models.make_network(NET, genotype, "search")
  actual, aux = jit(module.apply)({"params": params}, images)
  assert aux is None and actual.shape == (6, 3)
  np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)
  assert np.ptp(actual) > 0 or genotype == NOTHING


@pytest.mark.parametrize("genotype", GENOTYPES)
def test_inherited_weights_are_those_of_a_fresh_network(small, genotype):
  weights = small[2]
  fresh = shapes_of(NET, genotype, "search")
  inherit = functools.partial(models.inherit, NET, genotype)
  assert tree.diff(fresh, jax.eval_shape(inherit, weights)) == []


def test_cells_of_a_stage_have_weights_of_their_own(small):
  params = models.inherit(NET, (3,) * 6, small[2])
  first, second = (
    params[f"cell_0_{i}"]["edge_0_1_nor_conv_3x3"]["kernel"] for i in (0, 1)
  )
  assert first.shape == (3, 3, 4, 4) and not jnp.allclose(first, second)
  # He's variance, though the weights of all cells are stacked.
  stacked = small[2]["stages"][2]["edges"]["0->1"]["nor_conv_3x3"]["kernel"]
  assert stacked.shape == (2, 3, 3, 16, 16)
  assert abs(float(jnp.var(stacked)) * 9 * 16 / 2 - 1) < 0.1


@pytest.fixture(scope="module")
def stage(small):
  """One stage, as (weights, mix [(B,) E, O]) -> states: it compiles fast."""
  _, _, weights, _ = small
  x = jax.random.normal(jax.random.key(3), (6, 2, 1, 16))

  def run(params, mix):
    selected = Selection(jnp.moveaxis(mix, -2, 0), None, None)
    return nasbench201_nets._stage(NET, 2, params["edges"], x, selected)

  return run, weights["stages"][2]


def test_a_mix_of_each_example_is_the_shared_one_where_rows_agree(stage):
  run, params = stage
  mix = jax.nn.softmax(jax.random.normal(jax.random.key(2), (6, 5)))
  rows = jnp.broadcast_to(mix, (6, 6, 5))
  run = jit(run)
  actual, expected = run(params, rows), run(params, mix)
  np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def test_only_what_is_live_gets_a_gradient(stage):
  run, params = stage
  genotype = (3, 1, 0, 3, 0, 2)
  mix, live = one_hot(genotype), NET.live(genotype)
  loss = lambda w: jnp.square(run(w, mix)).sum()  # noqa: E731
  grads = jit(jax.grad(loss))(params)
  for edge, (source, target) in enumerate(nasbench201.EDGES):
    for name, grad in grads["edges"][f"{source}->{target}"].items():
      chosen = live[edge] and NET.ops[genotype[edge]] == name
      # Of every cell of the stage.
      moved = np.any(grad["kernel"], (1, 2, 3, 4))
      assert moved.tolist() == [chosen] * NET.num_cells


def test_evaluation_uses_running_statistics():
  net, genotype = NasBench201(1, 4, (4, 4, 2), 3), (0, 0, 0, 2, 0, 0)
  images = 3 + np.random.default_rng(0).normal(size=(4, *net.image))
  images = images.astype(np.float32)
  train, evaluate = (
    models.make_network(net, genotype, mode) for mode in ("train", "eval")
  )
  start = jax.jit(functools.partial(init_variables, train))
  params, stats = start(jax.random.key(1))
  variables = {"params": params, "batch_stats": stats}
  run = jit(functools.partial(train.apply, mutable=["batch_stats"]))
  _, updated = run(variables, images)
  mean = updated["batch_stats"]["stem"]["BatchNorm_0"]["mean"]
  assert np.abs(mean).min() > 0
  test = jit(lambda x: evaluate.apply({"params": params, **updated}, x)[0])
  alike = np.concatenate([images[:1], images[2:], images[:1]])
  first, *_, last = test(alike)
  np.testing.assert_allclose(last, first, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(test(images)[0], first, rtol=1e-4, atol=1e-5)


def test_a_residual_block_is_the_published_one():
  """Two layers beside a 2x2 mean and a 1x1 convolution, by plain JAX."""
  site = Site("residual_block", 6, 4, 3, 5, 2)
  module = make_op(site, "search")
  x = jax.random.normal(jax.random.key(0), (2, 6, 4, 3))
  params = jax.jit(module.init)(jax.random.key(1), x)["params"]

  @functools.partial(jax.jit, static_argnums=2)
  def layer(x, weights, stride):
    x = jax.lax.conv_general_dilated(
      jax.nn.relu(x),
      weights["kernel"],
      (stride, stride),
      [(1, 1), (1, 1)],
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    row = lambda v: v[None, None, None, :]  # noqa: E731
    return (x - row(mean)) / jnp.sqrt(row(var) + 1e-5)

  y = layer(x, params["ReluConvNorm_0"], 2)
  y = layer(y, params["ReluConvNorm_1"], 1)
  corners = [x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
  expected = y + sum(corners) / 4 @ params["shortcut"]
  actual = jax.jit(module.apply)({"params": params}, x)
  np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def test_the_search_normalises_no_pool():
  """Pooling of a constant is that constant, which a BN would make 0."""
  cell = nasbench201_nets.Cell(NET, 1, (0, 0, 0, 4, 0, 0), "search")
  x = jnp.full((2, 4, 2, 8), 1.5)
  np.testing.assert_allclose(cell.apply({}, x), x, rtol=1e-6)
