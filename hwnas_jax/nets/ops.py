"""Every operation once: supernet, derived network and profiler share it.

An operation is a linen module [B, H, W, C_in] -> [B, H', W', C_out] in one of
the modes of `nets.norm`. Weights are stored [k, k, C] (depthwise),
[C_in, C_out] (pointwise) and [k, k, C_in, C_out] (dense).
"""

import functools

import flax.linen as nn
import jax.numpy as jnp
from jax import nn as jnn

from hwnas_jax.core.types import Array
from hwnas_jax.nets import conv
from hwnas_jax.nets.mbconv import make_mobile_op
from hwnas_jax.nets.norm import BatchNorm, Mode
from hwnas_jax.spaces.mobile import SKIPS
from hwnas_jax.spaces.spec import Site

Module = nn.Module  # for those who may not import flax

# Normal with the fan-in's gain for ReLU; a depthwise filter's fan-in is k * k.
_dense_init = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
_depthwise_init = nn.initializers.variance_scaling(
  2.0, "fan_in", "normal", in_axis=(0, 1), out_axis=2
)


class DepthwiseSeparable(nn.Module):
  """ReLU, depthwise k x k, pointwise, BN; repeated for a separable conv."""

  channels: int
  kernel: int
  stride: int
  dilation: int
  repeats: int
  mode: Mode

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Only the first repeat is strided (research 1.3)."""
    for index in range(self.repeats):
      channels_in = x.shape[-1]
      depthwise = self.param(
        f"depthwise_{index}",
        _depthwise_init,
        (self.kernel, self.kernel, channels_in),
      )
      pointwise = self.param(
        f"pointwise_{index}", _dense_init, (channels_in, self.channels)
      )
      stride = self.stride if index == 0 else 1
      x = conv.depthwise(jnn.relu(x), depthwise, stride, self.dilation)
      x = conv.pointwise(x, pointwise)
      x = BatchNorm(self.mode, name=f"norm_{index}")(x)
    return x


class Pool(nn.Module):
  """3x3 pooling; a BN follows in search only (research 1.2)."""

  kind: str
  stride: int
  mode: Mode

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """x [B, H, W, C] -> [B, H', W', C]."""
    y = conv.POOLS[self.kind](x, self.stride)
    return BatchNorm(self.mode)(y) if self.mode == "search" else y


class FactorizedReduce(nn.Module):
  """Halves the image: two strided 1x1 convs, one shifted by a pixel, BN."""

  channels: int
  mode: Mode

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """x [B, H, W, C] -> [B, ceil(H/2), ceil(W/2), channels]."""
    x = jnn.relu(x)
    half = self.channels // 2
    here, shifted = x[:, ::2, ::2], x[:, 1::2, 1::2]
    gap = [(0, a - b) for a, b in zip(here.shape, shifted.shape, strict=True)]
    shifted = jnp.pad(shifted, gap)
    shapes = (x.shape[-1], half), (x.shape[-1], self.channels - half)
    left = self.param("left", _dense_init, shapes[0])
    right = self.param("right", _dense_init, shapes[1])
    parts = conv.pointwise(here, left), conv.pointwise(shifted, right)
    return BatchNorm(self.mode)(jnp.concatenate(parts, -1))


class ReluConvNorm(nn.Module):
  """[ReLU,] k x k convolution, BN."""

  channels: int
  kernel: int
  mode: Mode
  stride: int = 1
  relu: bool = True
  affine_in_search: bool = False

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """x [B, H, W, C] -> [B, ceil(H/stride), ceil(W/stride), channels]."""
    if self.relu:
      x = jnn.relu(x)
    shape = (self.kernel, self.kernel, x.shape[-1], self.channels)
    w = self.param("kernel", _dense_init, shape)
    if self.kernel == 1 and self.stride == 1:
      y = conv.pointwise(x, w[0, 0])
    else:
      y = conv.conv(x, w, self.stride)
    return BatchNorm(self.mode, self.affine_in_search)(y)


class ImagenetStem(nn.Module):
  """Two stages: stride 4 in all (first state), then 2 more (second)."""

  channels: int
  mode: Mode

  @nn.compact
  def __call__(self, x: Array) -> tuple[Array, Array]:
    """x [B, H, W, C] -> states at 1/4 and 1/8 of the size."""
    half = self.channels // 2
    layer = functools.partial(
      ReluConvNorm, kernel=3, mode=self.mode, stride=2, affine_in_search=True
    )
    x = layer(half, relu=False)(x)
    first = layer(self.channels)(x)
    return first, layer(self.channels)(first)


class ResidualBlock(nn.Module):
  """NAS-Bench-201's: two 3x3 layers beside a 2x2 mean and a 1x1 conv.

  Its BN is affine in search too, as in the original.
  """

  channels: int
  mode: Mode

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """x [B, H, W, C], even H and W -> [B, H/2, W/2, channels]."""
    layer = functools.partial(
      ReluConvNorm, self.channels, 3, self.mode, affine_in_search=True
    )
    y = layer(stride=2)(x)
    y = layer()(y)
    shape = x.shape[-1], self.channels
    shortcut = self.param("shortcut", _dense_init, shape)
    return y + conv.pointwise(conv.avg_pool_2x2(x), shortcut)


class Classifier(nn.Module):
  """Global average pool and a linear layer: [B, H, W, C] -> [B, classes]."""

  num_classes: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Returns class logits [B, num_classes]."""
    return nn.Dense(self.num_classes, name="linear")(x.mean((1, 2)))


class NormClassifier(nn.Module):
  """NAS-Bench-201's head: BN (affine in search too), ReLU, `Classifier`."""

  num_classes: int
  mode: Mode

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """x [B, H, W, C] -> class logits [B, num_classes]."""
    x = jnn.relu(BatchNorm(self.mode, affine_in_search=True, name="norm")(x))
    return Classifier(self.num_classes, name="classifier")(x)


class Identity(nn.Module):
  """Skip connection at stride 1."""

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Returns x."""
    return x


class Zero(nn.Module):
  """The operation `none`: zeros of the output's shape."""

  stride: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Returns zeros [B, ceil(H/stride), ceil(W/stride), C]."""
    return jnp.zeros_like(x[:, :: self.stride, :: self.stride])


def make_op(site: Site, mode: Mode, name: str | None = None) -> nn.Module:
  """The module that runs at a site; `name` as of any linen module.

  Raises:
    ValueError: no operation has the site's name, or the site of a user's own
      was read from a file, which has no modules.
  """
  if site.program:
    if site.modules is None:
      raise ValueError(f"{site.key} has no module: take it from its own space")
    return site.modules[mode].copy(name=name)
  op, channels, stride = site.op, site.channels_out, site.stride
  if op in conv.POOLS:
    return Pool(op, stride, mode, name=name)
  for kernel in (3, 5):
    if op == f"sep_conv_{kernel}x{kernel}":
      return DepthwiseSeparable(channels, kernel, stride, 1, 2, mode, name=name)
    if op == f"dil_conv_{kernel}x{kernel}":
      return DepthwiseSeparable(channels, kernel, stride, 2, 1, mode, name=name)
  if op == "skip_connect" and stride == 1:
    return Identity(name=name)
  if op in SKIPS and site.keeps_shape:
    return Identity(name=name)
  if op in ("skip_connect", "factorized_reduce"):
    return FactorizedReduce(channels, mode, name=name)
  if op == "none":
    return Zero(stride, name=name)
  if op in ("relu_conv_1x1", "nor_conv_1x1"):
    return ReluConvNorm(channels, 1, mode, stride, name=name)
  if op == "nor_conv_3x3":
    return ReluConvNorm(channels, 3, mode, stride, name=name)
  if op == "stem_conv_3x3":
    return ReluConvNorm(
      channels, 3, mode, relu=False, affine_in_search=True, name=name
    )
  if op == "stem_imagenet":
    return ImagenetStem(channels, mode, name=name)
  if op == "residual_block":
    return ResidualBlock(channels, mode, name=name)
  if op == "classifier":
    return Classifier(channels, name=name)
  if op == "norm_classifier":
    return NormClassifier(channels, mode, name=name)
  found = make_mobile_op(site, mode, name)
  if found is None:
    raise ValueError(f"no operation is called {op!r}")
  return found
