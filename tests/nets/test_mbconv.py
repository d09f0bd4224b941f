"""Bottlenecks: against plain JAX, and against what their names say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from hwnas_jax.core import tree
from hwnas_jax.costs import counts
from hwnas_jax.nets import mbconv
from hwnas_jax.nets.init import op_shapes
from hwnas_jax.nets.ops import Identity, make_op
from hwnas_jax.spaces.spec import Site


def row(v):
  return v[None, None, None, :]


def normalise(x):
  mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
  return (x - row(mean)) / jnp.sqrt(row(var) + 1e-5)


def convolve(x, w, stride=1, groups=1):
  pad = w.shape[0] // 2
  return lax.conv_general_dilated(
    x,
    w,
    (stride, stride),
    [(pad, pad)] * 2,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=groups,
  )


def grouped(x, params, name, groups):
  """A 1x1 convolution in groups, by JAX's own grouping."""
  parts = [params[f"{name}_{index}"] for index in range(groups)]
  return convolve(x, jnp.concatenate(parts, -1)[None, None], 1, groups)


def plain(x, params, site, groups, high):
  """The published block, with what PyTorch's shuffle does to channels."""
  act = lambda y: jnp.clip(y, 0.0, high)  # noqa: E731
  y = x
  if "expand_0" in params:
    y = act(normalise(grouped(y, params, "expand", groups)))
    order = np.arange(y.shape[-1]).reshape(groups, -1).T.ravel()
    y = y[..., order]
  depthwise = params["depthwise"][:, :, None]
  y = act(normalise(convolve(y, depthwise, site.stride, y.shape[-1])))
  y = normalise(grouped(y, params, "project", groups))
  return x + y if x.shape == y.shape else y


@pytest.mark.parametrize(
  ("op", "groups", "high"),
  [
    ("mb_k3_e1", 1, np.inf),
    ("mb_k5_e1_g2", 2, np.inf),
    ("mb_k5_e3", 1, np.inf),
    ("mb_k7_e6_relu6", 1, 1.0),
    ("mb_k3", 1, np.inf),
    ("mb_k3_relu6", 1, 1.0),
  ],
)
@pytest.mark.parametrize("shape", [(6, 5, 4, 4, 1), (5, 6, 4, 8, 2)])
def test_a_bottleneck_is_the_published_one(
  op, groups, high, shape, monkeypatch
):
  # A normalised activation is seldom above 6, one above 1 often is.
  monkeypatch.setattr(
    mbconv, "_activate", lambda x, six: jnp.clip(x, 0.0, 1.0 if six else np.inf)
  )
  site = Site(op, *shape)
  module = make_op(site, "search")
  x = 2 * jax.random.normal(jax.random.key(0), (2, *shape[:3]))
  params = jax.jit(module.init)(jax.random.key(1), x)["params"]
  actual = jax.jit(module.apply)({"params": params}, x)
  expected = jax.jit(lambda x: plain(x, params, site, groups, high))(x)
  assert actual.shape == (2, *site.out_size, site.channels_out)
  np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def test_relu6_ends_at_six():
  x = jnp.array([-1.0, 0.5, 6.0, 7.0])
  np.testing.assert_array_equal(mbconv._activate(x, True), [0, 0.5, 6, 6])
  np.testing.assert_array_equal(mbconv._activate(x, False), [0, 0.5, 6, 7])
  slope = jax.vmap(jax.grad(lambda v: mbconv._activate(v, True)))(x)
  assert slope[0] == slope[3] == 0 and slope[1] == 1


def test_a_shuffle_deals_channels_out():
  x = jnp.arange(6.0)[None]
  assert mbconv.shuffle(x, 2)[0].tolist() == [0, 3, 1, 4, 2, 5]
  assert mbconv.shuffle(x, 3)[0].tolist() == [0, 2, 4, 1, 3, 5]
  again = mbconv.shuffle(mbconv.shuffle(x, 2), 3)
  assert again.tolist() == x.tolist()


@pytest.mark.parametrize("op", ["skip", "skip_relu6", "identity"])
def test_a_skip_that_keeps_the_shape_is_the_identity(op):
  assert isinstance(make_op(Site(op, 4, 4, 8, 8), "search"), Identity)


@pytest.mark.parametrize("shape", [(4, 4, 8, 8, 2), (4, 4, 8, 16, 1)])
def test_any_other_skip_is_a_convolution(shape):
  for op in ("skip", "skip_relu6"):
    site = Site(op, *shape)
    assert tree.count(op_shapes(site)) == shape[2] * shape[3]
    assert counts.params(site) == shape[2] * shape[3] + 2 * shape[3]


@pytest.mark.parametrize(
  ("op", "weights", "norms"),
  [
    ("mb_k3_e1", 8 * 8 + 9 * 8 + 8 * 16, 8 + 8 + 16),
    ("mb_k5_e1_g2", 32 + 25 * 8 + 64, 8 + 8 + 16),
    ("mb_k7_e6_relu6", 8 * 48 + 49 * 48 + 48 * 16, 48 + 48 + 16),
    ("mb_k3_relu6", 9 * 8 + 8 * 16, 8 + 16),
    ("skip", 8 * 16, 16),
    ("stem_3x3", 9 * 8 * 16, 16),
    ("head_1x1_relu6", 8 * 16, 16),
    ("hidden_relu6", 8 * 16, 16),
  ],
)
def test_sizes_by_hand(op, weights, norms):
  site = Site(op, 4, 6, 8, 16, 1)
  assert counts.params(site) == weights + 2 * norms
  fixed = op.startswith(("mb_k3_relu6", "stem", "head", "hidden"))
  assert counts.search_params(site) == weights + 2 * norms * fixed
  pixels = 1 if op.startswith("hidden") else 24
  assert counts.macs(site) == weights * pixels


def test_a_strided_block_expands_at_its_input_size():
  site = Site("mb_k3_e3", 5, 7, 8, 16, 2)
  assert counts.macs(site) == 8 * 24 * 35 + (9 * 24 + 24 * 16) * 12


@pytest.mark.parametrize(
  "op", ["mb_k3_e1_g2_relu", "mb_e3", "skip_relu", "conv"]
)
def test_an_operation_that_there_is_not_is_refused(op):
  with pytest.raises(ValueError, match=f"no operation is called '{op}'"):
    make_op(Site(op, 4, 4, 8, 8), "search")
