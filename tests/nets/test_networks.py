"""Supernet and derived network: one definition, exact sizes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.core import tree
from hwnas_jax.core.types import ABSENT
from hwnas_jax.nets import conv
from hwnas_jax.nets.darts_network import Network, inherit
from hwnas_jax.nets.darts_supernet import make_supernet
from hwnas_jax.spaces import darts

V1 = (
  "sep3 1 sep3 0 skip 0 sep3 1 skip 0 sep3 1 sep3 0 skip 2",
  "max 0 max 1 skip 2 max 0 max 0 skip 2 skip 2 avg 0",
)
V2 = (
  "sep3 0 sep3 1 sep3 0 sep3 1 sep3 1 skip 0 skip 0 dil3 2",
  "max 0 max 1 skip 2 max 1 max 0 skip 2 skip 2 max 1",
)
NAMES = {
  "sep3": "sep_conv_3x3",
  "dil3": "dil_conv_3x3",
  "skip": "skip_connect",
  "max": "max_pool_3x3",
  "avg": "avg_pool_3x3",
}


def published(net: darts.Darts, cells: tuple[str, str]) -> tuple[int, ...]:
  """Reads a published genotype: two `op source` pairs a node."""
  genotype = []
  for cell in cells:
    words = cell.split()
    row = dict.fromkeys(net.edges, ABSENT)
    for position in range(0, len(words), 2):
      edge = (int(words[position + 1]), position // 4)
      row[edge] = net.ops.index(NAMES[words[position]])
    genotype.extend(row.values())
  return tuple(genotype)


def big(num_cells: int, channels: int, imagenet: bool) -> darts.Darts:
  image, classes = ((224, 224, 3), 1000) if imagenet else ((32, 32, 3), 10)
  return darts.Darts(
    darts.EIGHT, num_cells, 4, channels, image, classes, imagenet
  )


def num_params(net: darts.Darts, genotype: tuple[int, ...]) -> int:
  module = Network(net, genotype, "train")
  images = jax.ShapeDtypeStruct((1, *net.image), jnp.float32)
  # Convolutions as primitives have the same shapes and are quick to trace.
  with conv.tracing_for("gpu"):
    shapes = jax.eval_shape(module.init, jax.random.key(0), images)
  return tree.count(shapes["params"])


@pytest.mark.parametrize(
  ("cells", "imagenet", "expected"),
  [
    (V1, False, 3_169_414),
    (V2, False, 3_349_342),
    (V1, True, 4_510_432),
    (V2, True, 4_718_752),
  ],
)
def test_published_parameter_counts(cells, imagenet, expected):
  net = big(14, 48, True) if imagenet else big(20, 36, False)
  assert num_params(net, published(net, cells)) == expected


def test_supernet_parameter_count():
  net = big(8, 16, False)
  with conv.tracing_for("gpu"):
    shapes = jax.eval_shape(make_supernet(net).init, jax.random.key(0))
  assert tree.count(shapes) == 1_930_618


SMALL = darts.Darts(darts.EIGHT, 3, 2, 4, (9, 7, 2), 3)


def one_hot(genotype: tuple[int, ...], num_ops: int) -> jax.Array:
  return jax.nn.one_hot(jnp.asarray(genotype), num_ops)


@pytest.fixture(scope="module")
def small():
  net = make_supernet(SMALL)
  weights = jax.jit(net.init)(jax.random.key(0))
  images = jax.random.normal(jax.random.key(1), (6, *SMALL.image))
  return jax.jit(net.apply), weights, images


def assert_derived_gives(net, genotype, weights, images, expected):
  params = jax.jit(lambda weights: inherit(net, genotype, weights))(weights)
  module = Network(net, genotype, "search")
  actual, aux = jax.jit(module.apply)({"params": params}, images)
  assert aux is None and actual.shape == (6, 3)
  np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)
  assert np.ptp(actual) > 0


def test_one_hot_supernet_equals_derived(small):
  """Of two edges a node, as they are kept, with every operation."""
  apply, weights, images = small
  genotype = (1, 5, 6, ABSENT, 4, 7, 2, ABSENT, 3, 6)
  expected = apply(weights, one_hot(genotype, 8), images)
  assert_derived_gives(SMALL, genotype, weights, images, expected)


def test_one_hot_supernet_equals_derived_after_an_imagenet_stem():
  """Of a cell whose first node is empty: the edge 2->3 runs in neither."""
  ops = ("none", "skip_connect", "sep_conv_3x3")
  net = darts.Darts(ops, 1, 2, 4, (17, 13, 2), 3, imagenet_stem=True)
  genotype = (0, 0, 2, 1, 2)
  assert net.live(genotype) == (False, False, True, True, False)
  supernet = make_supernet(net)
  weights = jax.jit(supernet.init)(jax.random.key(0))
  images = jax.random.normal(jax.random.key(1), (6, *net.image))
  expected = jax.jit(supernet.apply)(weights, one_hot(genotype, 3), images)
  assert_derived_gives(net, genotype, weights, images, expected)


def test_inherited_weights_are_those_of_a_fresh_network(small):
  _, weights, images = small
  genotype = (3, 4, 5, 6, 7) * 2
  module = Network(SMALL, genotype, "search")
  fresh = jax.eval_shape(module.init, jax.random.key(0), images)["params"]
  inherited = jax.eval_shape(lambda w: inherit(SMALL, genotype, w), weights)
  assert tree.diff(fresh, inherited) == []


def test_per_example_mix_is_the_shared_one_where_rows_agree(small):
  apply, weights, images = small
  mix = jax.nn.softmax(jax.random.normal(jax.random.key(2), (10, 8)))
  rows = jnp.broadcast_to(mix, (6, 10, 8))
  np.testing.assert_allclose(
    apply(weights, mix, images), apply(weights, rows, images), atol=1e-4
  )


def test_weights_of_unused_operations_get_no_gradient():
  ops = darts.OP_SETS["three"]
  net = dataclasses.replace(SMALL, ops=ops, num_nodes=1)
  supernet = make_supernet(net)
  skip = net.ops.index("skip_connect")
  mix = one_hot((skip,) * 4, 3)
  weights = jax.jit(supernet.init)(jax.random.key(0))
  images = jax.random.normal(jax.random.key(1), (2, *net.image))
  loss = lambda w: jnp.square(supernet.apply(w, mix, images)).sum()  # noqa: E731
  grads = jax.jit(jax.grad(loss))(weights)
  for cell in grads["cells"]:
    for ops in cell["edges"].values():
      for name, grad in ops.items():
        moved = any(np.any(leaf) for leaf in jax.tree.leaves(grad))
        assert moved == (name == "skip_connect")


def test_what_leaves_an_empty_node_is_dead():
  none, sep = 0, 4
  # Node 0 is empty, so the edge 2->3 (the last of a cell) runs nothing.
  genotype = (none, none, sep, none, sep) * 2
  live = SMALL.live(genotype)
  assert live == (False, False, True, False, False) * 2
  module = Network(SMALL, genotype, "train")
  images = jnp.zeros((1, *SMALL.image))
  params = jax.eval_shape(module.init, jax.random.key(0), images)["params"]
  assert set(params["cell_0"]) == {"edge_0_3_sep_conv_3x3"}
