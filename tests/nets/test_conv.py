"""Convolutions and pools against lax, numpy and plain autodiff."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.test_util import check_grads

from hwnas_jax.nets import conv

# (kernel, stride, dilation, height, width)
DEPTHWISE = [
  (3, 1, 1, 7, 10),
  (3, 1, 2, 8, 5),
  (3, 2, 1, 10, 7),
  (3, 2, 2, 5, 8),
  (5, 1, 1, 6, 9),
  (5, 1, 2, 9, 4),
  (5, 2, 1, 6, 7),
  (5, 2, 2, 7, 2),
]
DENSE = [(1, 2, 7, 6), (3, 1, 5, 4), (3, 2, 7, 6), (5, 2, 4, 7)]
POOLED = [(1, 7, 4), (2, 7, 4), (2, 6, 5), (2, 1, 2)]


def lax_conv(x, w, stride, dilation, groups):
  pad = dilation * (w.shape[0] - 1) // 2
  return lax.conv_general_dilated(
    x,
    w,
    window_strides=(stride, stride),
    padding=((pad, pad), (pad, pad)),
    rhs_dilation=(dilation, dilation),
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=groups,
  )


def normal(seed, *shape):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def first_order(function, args):
  """The output and the gradients of a scalar of it."""
  y, pullback = jax.vjp(function, *args)
  return y, pullback(jnp.sin(y) + 1.0)


def second_order(function, args):
  """Hessian-vector products of a scalar of the output, in reverse twice."""
  loss = lambda *args: jnp.sum(jnp.sin(function(*args)))  # noqa: E731
  every = tuple(range(len(args)))
  directions = [normal(9 + i, *a.shape) for i, a in enumerate(args)]

  def slope(*args):
    grads = jax.grad(loss, every)(*args)
    return sum(jnp.vdot(g, d) for g, d in zip(grads, directions, strict=True))

  return jax.grad(slope, every)(*args)


def assert_same(derivatives, actual, expected, args):
  run = lambda *args: (derivatives(actual, args), derivatives(expected, args))  # noqa: E731
  for a, b in zip(*map(jax.tree.leaves, jax.jit(run)(*args)), strict=True):
    assert np.any(b != 0)
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
  ("kernel", "stride", "dilation", "height", "width"), DEPTHWISE
)
def test_shifted_depthwise_is_lax(kernel, stride, dilation, height, width):
  args = normal(0, 2, height, width, 3), normal(1, kernel, kernel, 3)
  assert_same(
    first_order,
    lambda x, w: conv.depthwise(x, w, stride, dilation),
    lambda x, w: lax_conv(x, w[:, :, None], stride, dilation, 3),
    args,
  )


@pytest.mark.parametrize(("kernel", "stride", "height", "width"), DENSE)
def test_patches_are_lax(kernel, stride, height, width):
  args = normal(0, 2, height, width, 3), normal(1, kernel, kernel, 3, 4)
  assert_same(
    first_order,
    lambda x, w: conv.conv(x, w, stride),
    lambda x, w: lax_conv(x, w, stride, 1, 1),
    args,
  )


def test_pointwise_is_an_einsum():
  args = normal(0, 2, 3, 5, 4), normal(1, 4, 6)
  einsum = lambda x, w: jnp.einsum("bhwc,cf->bhwf", x, w)  # noqa: E731
  for order in first_order, second_order:
    assert_same(order, conv.pointwise, einsum, args)


def test_gradients_are_those_of_finite_differences():
  x = normal(0, 1, 3, 4, 2)
  functions = [
    (lambda x, w: conv.depthwise(x, w, 2, 2), normal(1, 3, 3, 2)),
    (conv.pointwise, normal(2, 2, 3)),
  ]
  for function, w in functions:
    check_grads(
      jax.jit(function), (x, w), order=1, modes=["rev"], rtol=1e-2, atol=1e-2
    )


@pytest.mark.parametrize("on_cpu", [True, False])
def test_both_platforms_agree(monkeypatch, on_cpu):
  monkeypatch.setattr(conv, "_on_cpu", lambda: on_cpu)
  x = normal(0, 2, 5, 6, 3)
  cases = [
    (
      lambda x, w: conv.depthwise(x, w, 2, 2),
      lambda x, w: lax_conv(x, w[:, :, None], 2, 2, 3),
      (x, normal(1, 3, 3, 3)),
    ),
    (
      lambda x, w: conv.conv(x, w, 2),
      lambda x, w: lax_conv(x, w, 2, 1, 1),
      (x, normal(2, 3, 3, 3, 4)),
    ),
  ]
  for ours, reference, args in cases:
    # The choice is real: only on the CPU is there a gradient of our own.
    text = str(jax.make_jaxpr(ours)(*args))
    assert ("custom_vjp_call" in text) == on_cpu
    assert_same(first_order, ours, reference, args)


def numpy_mean_pool(x, stride):
  batch, height, width, channels = x.shape
  rows, columns = range(0, height, stride), range(0, width, stride)
  y = np.zeros((batch, len(rows), len(columns), channels), np.float32)
  for a, i in enumerate(rows):
    for b, j in enumerate(columns):
      window = x[:, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2]
      y[:, a, b] = window.mean((1, 2))
  return y


def lax_pool(x, stride, start, function):
  window, strides = (1, 3, 3, 1), (1, stride, stride, 1)
  pad = ((0, 0), (1, 1), (1, 1), (0, 0))
  return lax.reduce_window(x, start, function, window, strides, pad)


def lax_mean_pool(x, stride):
  total = lax_pool(x, stride, 0.0, lax.add)
  return total / lax_pool(jnp.ones_like(x), stride, 0.0, lax.add)


@pytest.mark.parametrize(("stride", "height", "width"), POOLED)
def test_average_pool_leaves_the_padding_out(stride, height, width):
  x = normal(0, 2, height, width, 3)
  np.testing.assert_allclose(
    conv.avg_pool_3x3(x, stride),
    numpy_mean_pool(np.asarray(x), stride),
    rtol=1e-5,
    atol=1e-6,
  )
  assert_same(
    first_order,
    lambda x: conv.avg_pool_3x3(x, stride),
    lambda x: lax_mean_pool(x, stride),
    (x,),
  )


@pytest.mark.parametrize(("stride", "height", "width"), POOLED)
def test_max_pool_is_lax_where_no_two_are_equal(stride, height, width):
  assert_same(
    first_order,
    lambda x: conv.max_pool_3x3(x, stride),
    lambda x: lax_pool(x, stride, -np.inf, lax.max),
    (normal(0, 2, height, width, 3) - 5.0,),  # the padding would win at 0
  )


@pytest.mark.parametrize(("stride", "height", "width"), POOLED)
def test_equal_maxima_share_the_gradient(stride, height, width):
  # All of a constant image's window ties: the gradient of a mean pool.
  assert_same(
    first_order,
    lambda x: conv.max_pool_3x3(x, stride),
    lambda x: lax_mean_pool(x, stride),
    (np.full((2, height, width, 3), -2.0, np.float32),),
  )


@pytest.mark.parametrize(
  ("actual", "expected", "shapes"),
  [
    (
      lambda x, w: conv.depthwise(x, w, 2, 2),
      lambda x, w: lax_conv(x, w[:, :, None], 2, 2, 3),
      [(2, 6, 5, 3), (3, 3, 3)],
    ),
    (
      lambda x, w: conv.conv(x, w, 2),
      lambda x, w: lax_conv(x, w, 2, 1, 1),
      [(2, 5, 4, 3), (3, 3, 3, 4)],
    ),
    (
      lambda x: conv.avg_pool_3x3(x, 2),
      lambda x: lax_mean_pool(x, 2),
      [(2, 6, 5, 3)],
    ),
    (
      lambda x: conv.max_pool_3x3(x, 2),
      lambda x: lax_pool(x, 2, -np.inf, lax.max),
      [(2, 6, 5, 3)],
    ),
  ],
  ids=["depthwise", "dense", "mean", "max"],
)
def test_reverse_over_reverse(actual, expected, shapes):
  args = [normal(seed, *shape) for seed, shape in enumerate(shapes)]
  assert_same(second_order, actual, expected, args)


def test_one_reduction_sums_every_term():
  terms = [normal(seed, 3, 4, 5, 2) for seed in range(3)]
  for actual, term in zip(conv.sums(terms), terms, strict=True):
    np.testing.assert_allclose(
      actual, term.sum((0, 1, 2)), rtol=1e-4, atol=1e-5
    )


def test_forward_mode_is_refused():
  x, w = normal(0, 1, 4, 4, 2), normal(1, 3, 3, 2)
  with pytest.raises(TypeError, match="forward-mode"):
    jax.jvp(lambda x: conv.depthwise(x, w), (x,), (x,))
