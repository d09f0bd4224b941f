"""ONNX of what the networks are made of equals JAX, in onnxruntime."""

import collections
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.costs.measure import timing
from hwnas_jax.deploy import onnx
from hwnas_jax.deploy.onnx_model import require
from hwnas_jax.nets import conv
from hwnas_jax.nets.models import make_network
from hwnas_jax.nets.ops import make_op
from hwnas_jax.spaces.darts import EIGHT, Darts
from hwnas_jax.spaces.mobile import LIGHTNAS, Chain, Skeleton, Stage
from hwnas_jax.spaces.nasbench201 import NasBench201
from hwnas_jax.spaces.spec import Site


def converted(function, *arrays):
  with conv.tracing_for("onnx"):
    return onnx.to_onnx(function, [x.shape for x in arrays])


def nodes(model):
  return collections.Counter(node.op_type for node in model.graph.node)


def assert_equal(function, *arrays):
  """Converts, runs both, compares; the model."""
  model = converted(function, *arrays)
  wanted = jax.tree.leaves(jax.jit(function)(*arrays))
  outputs = onnx.run(model, *arrays)
  for w, f in zip(wanted, outputs, strict=True):
    np.testing.assert_allclose(f, w, rtol=1e-4, atol=1e-5)
  return model


def module_of(module, shape):
  variables, x = timing.random_inputs(module, shape)
  stats = variables.get("batch_stats", {})
  rng = np.random.default_rng(1)
  stats = jax.tree.map(lambda v: rng.uniform(0.5, 2, v.shape), stats)
  stats = jax.tree.map(lambda v: v.astype(np.float32), stats)
  variables = {**variables, "batch_stats": stats}
  return lambda x: module.apply(variables, x), x


SITES = [
  Site(op, *size, 4, 4, stride)
  for op in EIGHT
  for stride, size in ((1, (5, 6)), (2, (6, 7)))
]
FIXED = [
  Site("stem_conv_3x3", 5, 6, 3, 4),
  Site("stem_imagenet", 17, 16, 3, 4),
  Site("relu_conv_1x1", 5, 6, 4, 6),
  Site("classifier", 5, 6, 4, 3),
]
BOTTLENECKS = [
  Site("mb_k3_e1", 5, 6, 4, 4),
  Site("mb_k5_e3", 5, 6, 4, 8, 2),
  Site("mb_k7_e6_relu6", 6, 7, 4, 4),
  Site("mb_k3_relu6", 5, 6, 4, 4),
  Site("skip", 5, 6, 4, 8, 2),
  Site("skip_relu6", 5, 6, 4, 8),
  Site("stem_3x3", 7, 6, 3, 4, 2),
  Site("head_1x1_relu6", 5, 6, 4, 6),
]


@pytest.mark.parametrize(
  "site", SITES + FIXED + BOTTLENECKS, ids=lambda s: s.key
)
def test_an_operation_equals_jax(site):
  shape = (2, site.height, site.width, site.channels_in)
  function, x = module_of(make_op(site, "eval"), shape)
  model = assert_equal(function, x)
  assert "Transpose" not in nodes(model)


def op_nodes(op, stride, size=(6, 6)):
  site = Site(op, *size, 4, 4, stride)
  function, x = module_of(make_op(site, "eval"), (1, *size, 4))
  return nodes(converted(function, x))


def test_convolutions_and_pools_are_single_nodes():
  assert op_nodes("sep_conv_5x5", 2) == {
    "Relu": 2,
    "Conv": 4,
    "Mul": 2,
    "Add": 2,
  }
  assert op_nodes("max_pool_3x3", 2) == {"MaxPool": 1}
  assert op_nodes("avg_pool_3x3", 1) == {"AveragePool": 1}
  reduction = op_nodes("skip_connect", 2)
  # A strided slice is the stride of the convolution after it; JAX 0.9 traces
  # the other one, of an image without its first row and column, as two.
  assert reduction.pop("Slice") in (1, 2)
  assert reduction == {
    "Relu": 1,
    "Conv": 2,
    "Concat": 1,
    "Mul": 1,
    "Add": 1,
  }


@pytest.mark.parametrize("stride", [1, 2])
def test_a_shuffle_is_the_pattern_that_deployers_know(stride):
  site = Site("mb_k3_e1_g2", 6, 5, 8, 8, stride)
  function, x = module_of(make_op(site, "eval"), (2, 6, 5, 8))
  model = assert_equal(function, x)
  kinds = [node.op_type for node in model.graph.node]
  first = kinds.index("Reshape")
  assert kinds[first : first + 3] == ["Reshape", "Transpose", "Reshape"]
  count = nodes(model)
  # Two products in two groups each, and the depthwise convolution.
  assert (count["Transpose"], count["Reshape"], count["Conv"]) == (1, 2, 5)


@pytest.mark.parametrize(
  ("before", "after"),
  [
    ((2, 3, 4, 6), (2, 3, 4, 2, 3)),
    ((2, 3, 4, 6), (2, 3, 2, 2, 6)),
    ((2, 3, 4, 6), (2, 12, 6)),
    ((2, 3, 4, 6), (2, 3, 24)),
    ((2, 3, 4, 6), (6, 4, 6)),
    ((2, 3, 4, 6), (2, 72)),
    ((2, 3, 1, 6), (2, 3, 6, 1, 1)),
    ((2, 4, 3, 2), (4, 2, 3, 2)),
  ],
)
def test_reshapes(before, after):
  x = np.random.default_rng(0).standard_normal(before, np.float32)
  # What is behind it reads the axes in another order again.
  assert_equal(lambda x: jnp.abs(x.reshape(after)).swapaxes(0, 1), x)
  assert_equal(lambda x: x.swapaxes(1, 2).swapaxes(1, 2).reshape(after), x)


def test_a_network_equals_jax():
  net = Darts(EIGHT, 3, 2, 4, (8, 8, 3), 5)
  # Every operation but `none`, and a node that nothing enters.
  genotype = (0, 0, 4, 5, 6, 7, 1, 2, 3, 4)
  genotype = genotype[: len(net.space().choices)]
  function, x = module_of(make_network(net, genotype, "eval"), (2, 8, 8, 3))
  model = assert_equal(function, x)
  assert nodes(model)["Transpose"] == 0


def test_a_network_of_nasbench201_equals_jax():
  net = NasBench201(1, 4, (8, 8, 3), 5)
  function, x = module_of(
    make_network(net, (1, 2, 3, 0, 4, 2), "eval"), (2, 8, 8, 3)
  )
  model = assert_equal(function, x)
  assert nodes(model)["Transpose"] == 0


def test_a_chain_equals_jax():
  stages = Stage(8, 2, 1), Stage(16, 1, 2)
  skeleton = Skeleton(LIGHTNAS, True, 8, 2, 8, stages, head=16, hidden=24)
  net = Chain(skeleton, (8, 8, 3), 5)
  function, x = module_of(make_network(net, (0, 6, 3), "eval"), (2, 8, 8, 3))
  model = assert_equal(function, x)
  # ReLU6 is one node, and nothing is laid out anew.
  assert nodes(model)["Transpose"] == 0 and nodes(model)["Clip"] == 8


def test_layouts_meet():
  """Images, vectors and reshapes, as squeeze-and-excitation mixes them."""

  def function(x, v):
    gate = jax.nn.sigmoid(v @ np.full((3, 4), 0.1, np.float32))
    x = x * gate[:, None, None, :]
    flat = x.reshape(x.shape[0], -1)
    square = jnp.clip(x.transpose(0, 2, 1, 3), -1.0, 1.0) ** 2
    padded = jnp.pad(x, ((0, 0), (1, 0), (0, 2), (0, 0)), constant_values=2.0)
    return flat, square, padded[:, 1:, ::2].max((1, 2)), x, x

  rng = np.random.default_rng(0)
  x = rng.standard_normal((2, 3, 5, 4), np.float32)
  assert_equal(function, x, rng.standard_normal((2, 3), np.float32))


def test_a_window_sum_that_is_no_mean_stays_a_sum():
  def function(x):
    edge = ((0, 0), (1, 1), (1, 1), (0, 0))
    zero = np.float32(0)
    add = jax.lax.add
    sums = jax.lax.reduce_window(x, zero, add, (1, 3, 3, 1), (1, 1, 1, 1), edge)
    return sums * np.full((1, 4, 4, 1), 1 / 9, np.float32)

  x = np.random.default_rng(0).standard_normal((1, 4, 4, 2), np.float32)
  assert_equal(function, x)


def test_large_uniform_constants_are_not_stored():
  function = lambda x: jnp.concatenate([x, jnp.zeros((1, 32, 32, 8))], -1)  # noqa: E731
  x = np.ones((1, 32, 32, 1), np.float32)
  model = assert_equal(function, x)
  assert len(model.SerializeToString()) < 2000


@pytest.mark.parametrize("library", ["onnx", "onnxruntime"])
def test_an_absent_library_is_named_with_the_command(library, monkeypatch):
  monkeypatch.setitem(sys.modules, library, None)
  command = f"needs {library}: pip install onnx onnxruntime"
  with pytest.raises(ModuleNotFoundError, match=command):
    require(library)


def test_tracing_for_a_platform_ends():
  x, w = jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 2))
  count = lambda: str(jax.make_jaxpr(conv.depthwise)(x, w)).count("conv_gen")  # noqa: E731
  with conv.tracing_for("gpu"):
    assert count() == 1
  assert count() == 0
