"""Convolutions and pools, implemented so that each platform runs them fast.

This is the only place that chooses by platform. Arrays are NHWC. Weights are
converted to the type of the images (`core.precision`); sums over images and
pixels are float32. The output size is ceil(size / stride), and padding is
symmetric, as in PyTorch, with which the published numbers were made; lax's SAME
is not.

On a CPU a depthwise convolution is a sum of shifted products, and a dense one
has its own backward pass. XLA:CPU runs grouped convolutions, and the backward
pass of any convolution inside a loop, 20 to 40 times slower
(experiments/benchmarks). On other platforms both are
`lax.conv_general_dilated`. For an exporter (`tracing_for("onnx")`) each
convolution and each pool is one primitive.

The custom gradients exclude forward mode: compute Hessian-vector products in
reverse over reverse. What has many operations is jitted, so that it is traced
once for all layers of one shape; XLA inlines it again.
"""

import functools
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from hwnas_jax.core.precision import wide
from hwnas_jax.core.types import Array

# `with tracing_for(platform):` traces for another platform than JAX's default,
# such as "gpu", or for "onnx", where a convolution or a pool is one primitive.
tracing_for = jax.make_user_context(default_value="")


def _platform() -> str:
  return tracing_for.value or jax.default_backend()


def _on_cpu() -> bool:
  return _platform() == "cpu"


def _out_size(size: int, stride: int) -> int:
  return -(-size // stride)


def _taps(kernel: int) -> list[tuple[int, int]]:
  return [(i, j) for i in range(kernel) for j in range(kernel)]


def _total(terms: Iterable[Array]) -> Array:
  return functools.reduce(operator.add, terms)


def per_channel(v: Array) -> Array:
  """[C] as [1, 1, 1, C], for arithmetic with [B, H, W, C]."""
  return v.reshape(1, 1, 1, -1)


def _pad(x: Array, pad: int, value: float = 0.0) -> Array:
  width = ((0, 0), (pad, pad), (pad, pad), (0, 0))
  return jnp.pad(x, width, constant_values=value)


def _slice(
  padded: Array, start: tuple[int, int], size: Sequence[int], stride: int
) -> Array:
  """Every `stride`-th pixel of `padded` from `start` on: [B, *size, C]."""
  batch, _, _, channels = padded.shape
  limit = [s + (n - 1) * stride + 1 for s, n in zip(start, size, strict=True)]
  return lax.slice(
    padded,
    (0, *start, 0),
    (batch, *limit, channels),
    (1, stride, stride, 1),
  )


def _spread(
  g: Array, size: tuple[int, int], pad: int, stride: int, value: float
) -> Array:
  """Spaces an output's pixels as the padded input's, with `value` between."""
  edges = [
    (pad, s + pad - 1 - (n - 1) * stride, stride - 1)
    for s, n in zip(size, g.shape[1:3], strict=True)
  ]
  return lax.pad(g, np.asarray(value, g.dtype), ((0, 0, 0), *edges, (0, 0, 0)))


def sums(terms: Sequence[Array]) -> list[Array]:
  """Sums each [B, H, W, C] over B, H and W: a list of [C].

  One reduction of all terms is 2 to 3 times faster on a CPU than one for each.
  Summing the pixels of an example first makes smaller rounding errors.

  Returns:
    float32 of bfloat16 terms, else their own type.
  """
  terms = [wide(term) for term in terms]
  zeros = tuple(np.zeros((), t.dtype) for t in terms)
  add = lambda a, b: tuple(p + q for p, q in zip(a, b, strict=True))  # noqa: E731
  return [s.sum(0) for s in lax.reduce(tuple(terms), zeros, add, (1, 2))]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
@functools.partial(jax.jit, static_argnums=(2, 3))
def _shifted_depthwise(x: Array, w: Array, stride: int, dilation: int) -> Array:
  kernel = w.shape[0]
  padded = _pad(x, dilation * (kernel // 2))
  size = _out_size(x.shape[1], stride), _out_size(x.shape[2], stride)
  return _total(
    _slice(padded, (dilation * i, dilation * j), size, stride)
    * per_channel(w[i, j])
    for i, j in _taps(kernel)
  )


def _shifted_fwd(
  x: Array, w: Array, stride: int, dilation: int
) -> tuple[Array, tuple[Array, Array]]:
  return _shifted_depthwise(x, w, stride, dilation), (x, w)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _shifted_bwd(
  stride: int, dilation: int, residuals: tuple[Array, Array], g: Array
) -> tuple[Array, Array]:
  x, w = residuals
  taps = _taps(w.shape[0])
  pad = dilation * (w.shape[0] // 2)
  size = x.shape[1], x.shape[2]
  padded = _pad(x, pad)
  dw = sums(
    [
      _slice(padded, (dilation * i, dilation * j), g.shape[1:3], stride) * g
      for i, j in taps
    ]
  )
  spread = _spread(g, size, pad, stride, 0.0)
  dx = _total(
    _slice(spread, (2 * pad - dilation * i, 2 * pad - dilation * j), size, 1)
    * per_channel(w[i, j])
    for i, j in taps
  )
  return dx, jnp.stack(dw).reshape(w.shape).astype(w.dtype)


_shifted_depthwise.defvjp(_shifted_fwd, _shifted_bwd)


def _lax_conv(x: Array, w: Array, stride: int, dilation: int) -> Array:
  pad = dilation * (w.shape[0] // 2)
  return lax.conv_general_dilated(
    x,
    w,
    (stride, stride),
    [(pad, pad), (pad, pad)],
    rhs_dilation=(dilation, dilation),
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=x.shape[-1] // w.shape[2],
  )


def depthwise(x: Array, w: Array, stride: int = 1, dilation: int = 1) -> Array:
  """Depthwise convolution, odd k: x [B, H, W, C], w [k, k, C]."""
  w = w.astype(x.dtype)
  if _on_cpu():
    return _shifted_depthwise(x, w, stride, dilation)
  return _lax_conv(x, w[:, :, None, :], stride, dilation)


@jax.custom_vjp
def _matmul(x: Array, w: Array) -> Array:
  return x @ w


def _matmul_fwd(x: Array, w: Array) -> tuple[Array, tuple[Array, Array]]:
  return x @ w, (x, w)


def _matmul_bwd(
  residuals: tuple[Array, Array], g: Array
) -> tuple[Array, Array]:
  x, w = residuals
  g_rows, x_rows = g.reshape(-1, w.shape[1]), x.reshape(-1, w.shape[0])
  dw = _weight_gradient(x_rows, g_rows)
  return (g_rows @ w.T).reshape(x.shape), dw


def _weight_gradient(x_rows: Array, g_rows: Array) -> Array:
  """x_rows [N, C], g_rows [N, F] -> [C, F]."""
  # With the operands in this order XLA:CPU makes no transposed copy, which is
  # 4 times faster.
  return lax.dot_general(g_rows, x_rows, (((0,), (0,)), ((), ()))).T


_matmul.defvjp(_matmul_fwd, _matmul_bwd)


def pointwise(x: Array, w: Array) -> Array:
  """1x1 convolution: x [B, H, W, C], w [C, F] -> [B, H, W, F]."""
  return _matmul(x, w.astype(x.dtype))


def conv(x: Array, w: Array, stride: int = 1) -> Array:
  """Dense convolution, odd k: x [B, H, W, C], w [k, k, C, F]."""
  w = w.astype(x.dtype)
  if _on_cpu():
    return _cpu_conv(x, w, stride)
  return _lax_conv(x, w, stride, 1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _cpu_conv(x: Array, w: Array, stride: int) -> Array:
  return _lax_conv(x, w, stride, 1)


def _cpu_conv_fwd(
  x: Array, w: Array, stride: int
) -> tuple[Array, tuple[Array, Array]]:
  return _cpu_conv(x, w, stride), (x, w)


@functools.partial(jax.jit, static_argnums=0)
def _cpu_conv_bwd(
  stride: int, residuals: tuple[Array, Array], g: Array
) -> tuple[Array, Array]:
  """The input's gradient is a convolution, the filter's a product a tap."""
  x, w = residuals
  pad, padded = w.shape[0] // 2, _pad(x, w.shape[0] // 2)
  rows = [
    _slice(padded, tap, g.shape[1:3], stride).reshape(-1, w.shape[2])
    for tap in _taps(w.shape[0])
  ]
  dw = jnp.stack([_weight_gradient(r, g.reshape(-1, w.shape[3])) for r in rows])
  spread = _spread(g, (x.shape[1], x.shape[2]), pad, stride, 0.0)
  turned = w[::-1, ::-1].swapaxes(2, 3)
  dx = lax.conv_general_dilated(
    spread, turned, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
  )
  return dx, dw.reshape(w.shape)


_cpu_conv.defvjp(_cpu_conv_fwd, _cpu_conv_bwd)


def _window(
  x: Array, stride: int, init: float, reduce: Callable[..., Array]
) -> Array:
  """Reduces every 3x3 window of x [B, H, W, C], padded with `init`."""
  edge = ((0, 0), (1, 1), (1, 1), (0, 0))
  strides = 1, stride, stride, 1
  return lax.reduce_window(x, init, reduce, (1, 3, 3, 1), strides, edge)


def avg_pool_2x2(x: Array) -> Array:
  """Means of 2x2 pixels: [B, H, W, C], H and W even -> [B, H/2, W/2, C]."""
  if _platform() == "onnx":
    size = 1, 2, 2, 1
    return lax.reduce_window(x, 0.0, lax.add, size, size, "VALID") * 0.25
  batch, height, width, channels = x.shape
  shape = batch, height // 2, 2, width // 2, 2, channels
  return x.reshape(shape).mean((2, 4))


def avg_pool_3x3(x: Array, stride: int) -> Array:
  """Means of 3x3 pixels; at borders of those inside the image.

  [B, H, W, C] -> [B, ceil(H/stride), ceil(W/stride), C]. PyTorch calls it
  count_include_pad=False.
  """
  size = [_out_size(n, stride) for n in x.shape[1:3]]
  inside = [
    _counted(n, m, stride) for n, m in zip(x.shape[1:3], size, strict=True)
  ]
  scale = (1.0 / np.outer(*inside)).astype(x.dtype)[None, :, :, None]
  if _platform() == "onnx":
    return _window(x, stride, 0.0, lax.add) * scale
  ones = jnp.ones((3, 3, x.shape[-1]), x.dtype)
  return _shifted_depthwise(x, ones, stride, 1) * scale


def _counted(size: int, out: int, stride: int) -> np.ndarray:
  """[out] along one axis, the pixels of each window inside the image."""
  centres = stride * np.arange(out)
  near = centres[:, None] + np.arange(-1, 2)
  return ((near >= 0) & (near < size)).sum(1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
@functools.partial(jax.jit, static_argnums=1)
def max_pool_3x3(x: Array, stride: int) -> Array:
  """Maxima of 3x3 pixels; equal maxima share the gradient.

  [B, H, W, C] -> [B, ceil(H/stride), ceil(W/stride), C].
  """
  if _platform() == "onnx":
    return _window(x, stride, -np.inf, lax.max)
  padded = _pad(x, 1, -np.inf)
  size = _out_size(x.shape[1], stride), _out_size(x.shape[2], stride)
  taps = [_slice(padded, tap, size, stride) for tap in _taps(3)]
  return functools.reduce(jnp.maximum, taps)


def _max_fwd(x: Array, stride: int) -> tuple[Array, tuple[Array, Array]]:
  y = max_pool_3x3(x, stride)
  return y, (x, y)


@functools.partial(jax.jit, static_argnums=0)
def _max_bwd(
  stride: int, residuals: tuple[Array, Array], g: Array
) -> tuple[Array]:
  x, y = residuals
  padded = _pad(x, 1, -np.inf)
  ties = _total(
    (_slice(padded, tap, y.shape[1:3], stride) == y).astype(g.dtype)
    for tap in _taps(3)
  )
  size = x.shape[1], x.shape[2]
  share = _spread(g / ties, size, 1, stride, 0.0)
  maxima = _spread(y, size, 1, stride, np.nan)  # no value equals NaN

  def term(start: tuple[int, int]) -> Array:
    hit = x == _slice(maxima, start, size, 1)
    return jnp.where(hit, _slice(share, start, size, 1), 0.0)

  return (_total(term((2 - i, 2 - j)) for i, j in _taps(3)),)


max_pool_3x3.defvjp(_max_fwd, _max_bwd)


class Pool(Protocol):
  """Reduces every 3x3 window."""

  def __call__(self, x: Array, stride: int, /) -> Array:
    """[B, H, W, C] -> [B, ceil(H/stride), ceil(W/stride), C]."""


POOLS: dict[str, Pool] = {
  "max_pool_3x3": max_pool_3x3,
  "avg_pool_3x3": avg_pool_3x3,
}
