"""All operations, each defined once for supernets, networks and timing.

An operation is a linen module [B, H, W, C_in] -> [B, H', W', C_out] in one of
the modes of `nets.norm`. Weights have the shapes [k, k, C] (depthwise),
[C_in, C_out] (pointwise) and [k, k, C_in, C_out] (dense). To add an operation,
add a line to OPERATIONS.
"""

import functools
from collections.abc import Callable
from typing import Protocol

import flax.linen as nn
import jax.numpy as jnp

from hwnas_jax.core.precision import wide
from hwnas_jax.core.types import Array
from hwnas_jax.nets import conv
from hwnas_jax.nets.mbconv import make_mobile_op
from hwnas_jax.nets.norm import BatchNorm, Mode
from hwnas_jax.nets.probe import relu
from hwnas_jax.spaces.mobile import SKIPS
from hwnas_jax.spaces.spec import Site

Module = nn.Module  # for packages that do not import flax

# He et al. 2015. The fan-in of a depthwise filter is k * k.
_dense_init = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
_depthwise_init = nn.initializers.variance_scaling(
  2.0, "fan_in", "normal", in_axis=(0, 1), out_axis=2
)


class DepthwiseSeparable(nn.Module):
  """ReLU, depthwise k x k, pointwise, batch norm; `repeats` times.

  DARTS's separable convolution has two repeats, its dilated one has one.
  """

  channels: int
  kernel: int
  stride: int
  dilation: int
  repeats: int
  mode: Mode

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """x [B, H, W, C] -> [B, H', W', channels]; the first repeat is strided."""
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
      x = conv.depthwise(relu(x), depthwise, stride, self.dilation)
      x = conv.pointwise(x, pointwise)
      x = BatchNorm(self.mode, name=f"norm_{index}")(x)
    return x


class Pool(nn.Module):
  """3x3 pooling; in mode `search` a batch norm follows, as in DARTS's code."""

  kind: str
  stride: int
  mode: Mode

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """x [B, H, W, C] -> [B, H', W', C]."""
    y = conv.POOLS[self.kind](x, self.stride)
    return BatchNorm(self.mode)(y) if self.mode == "search" else y


class FactorizedReduce(nn.Module):
  """Halves the image: ReLU, two strided 1x1 convolutions, batch norm.

  The second convolution sees the image shifted by one pixel.
  """

  channels: int
  mode: Mode

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """x [B, H, W, C] -> [B, ceil(H/2), ceil(W/2), channels]."""
    x = relu(x)
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
  """[ReLU,] k x k convolution, batch norm."""

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
      x = relu(x)
    shape = (self.kernel, self.kernel, x.shape[-1], self.channels)
    w = self.param("kernel", _dense_init, shape)
    if self.kernel == 1 and self.stride == 1:
      y = conv.pointwise(x, w[0, 0])
    else:
      y = conv.conv(x, w, self.stride)
    return BatchNorm(self.mode, self.affine_in_search)(y)


class ImagenetStem(nn.Module):
  """Three stride-2 convolutions; the last two outputs are the cells' inputs."""

  channels: int
  mode: Mode

  @nn.compact
  def __call__(self, x: Array) -> tuple[Array, Array]:
    """x [B, H, W, C] -> two states, of 1/4 and 1/8 of the height and width."""
    half = self.channels // 2
    layer = functools.partial(
      ReluConvNorm, kernel=3, mode=self.mode, stride=2, affine_in_search=True
    )
    x = layer(half, relu=False)(x)
    first = layer(self.channels)(x)
    return first, layer(self.channels)(first)


class ResidualBlock(nn.Module):
  """NAS-Bench-201's: two 3x3 layers, plus a 2x2 mean and a 1x1 convolution.

  Its batch norms have scale and shift in mode `search` too, as in the
  benchmark's code.
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
  """Global average pool; linear layer, which computes in float32 at least."""

  num_classes: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """x [B, H, W, C] -> class logits [B, num_classes]."""
    return nn.Dense(self.num_classes, name="linear")(wide(x).mean((1, 2)))


class NormClassifier(nn.Module):
  """NAS-Bench-201's head: batch norm, ReLU, `Classifier`.

  The batch norm has scale and shift in mode `search` too.
  """

  num_classes: int
  mode: Mode

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """x [B, H, W, C] -> class logits [B, num_classes]."""
    x = relu(BatchNorm(self.mode, affine_in_search=True, name="norm")(x))
    return Classifier(self.num_classes, name="classifier")(x)


class Identity(nn.Module):
  """Hands on its input: a skip connection at stride 1."""

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Returns x."""
    return x


class Zero(nn.Module):
  """The operation `none`: zeros."""

  stride: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Returns zeros [B, ceil(H/stride), ceil(W/stride), C]."""
    return jnp.zeros_like(x[:, :: self.stride, :: self.stride])


class MakeOp(Protocol):
  """Makes an operation's module."""

  def __call__(self, site: Site, mode: Mode, name: str | None, /) -> nn.Module:
    """The module that runs at a site.

    Args:
      site: its shape.
      mode: see `nets.norm`.
      name: of the module, in its parent.
    """


def _separable(kernel: int, dilation: int, repeats: int) -> MakeOp:
  def make(site: Site, mode: Mode, name: str | None) -> nn.Module:
    return DepthwiseSeparable(
      site.channels_out, kernel, site.stride, dilation, repeats, mode, name=name
    )

  return make


def _convolution(kernel: int) -> MakeOp:
  def make(site: Site, mode: Mode, name: str | None) -> nn.Module:
    channels, stride = site.channels_out, site.stride
    return ReluConvNorm(channels, kernel, mode, stride, name=name)

  return make


def _pool(site: Site, mode: Mode, name: str | None) -> nn.Module:
  return Pool(site.op, site.stride, mode, name=name)


def _stem(site: Site, mode: Mode, name: str | None) -> nn.Module:
  return ReluConvNorm(
    site.channels_out, 3, mode, relu=False, affine_in_search=True, name=name
  )


def _skip(site: Site, mode: Mode, name: str | None) -> nn.Module:
  if site.stride == 1:
    return Identity(name=name)
  return FactorizedReduce(site.channels_out, mode, name=name)


def _of_channels(module: Callable[..., nn.Module]) -> MakeOp:
  """A module whose fields are channels and mode."""

  def make(site: Site, mode: Mode, name: str | None) -> nn.Module:
    return module(site.channels_out, mode, name=name)

  return make


# By name; beside these there are the operations of `nets.mbconv`.
OPERATIONS: dict[str, MakeOp] = {
  "none": lambda site, mode, name: Zero(site.stride, name=name),
  "skip_connect": _skip,
  "max_pool_3x3": _pool,
  "avg_pool_3x3": _pool,
  "sep_conv_3x3": _separable(3, dilation=1, repeats=2),
  "sep_conv_5x5": _separable(5, dilation=1, repeats=2),
  "dil_conv_3x3": _separable(3, dilation=2, repeats=1),
  "dil_conv_5x5": _separable(5, dilation=2, repeats=1),
  "nor_conv_1x1": _convolution(1),
  "nor_conv_3x3": _convolution(3),
  "relu_conv_1x1": _convolution(1),
  "factorized_reduce": _of_channels(FactorizedReduce),
  "stem_conv_3x3": _stem,
  "stem_imagenet": _of_channels(ImagenetStem),
  "residual_block": _of_channels(ResidualBlock),
  "classifier": lambda site, mode, name: Classifier(
    site.channels_out, name=name
  ),
  "norm_classifier": _of_channels(NormClassifier),
}


def make_op(site: Site, mode: Mode, name: str | None = None) -> nn.Module:
  """The module that runs at a site.

  Args:
    site: where it runs.
    mode: see `nets.norm`.
    name: of the module, in its parent.

  Raises:
    ValueError: no operation has the site's name; or the site is of a user's
      operation and was read from a file, which does not store its module.
  """
  if site.program:
    if site.modules is None:
      raise ValueError(
        f"{site.key} has no module: take the site from the model's own space"
      )
    return site.modules[mode].copy(name=name)
  if site.op in SKIPS and site.keeps_shape:
    return Identity(name=name)
  if site.op in OPERATIONS:
    return OPERATIONS[site.op](site, mode, name)
  module = make_mobile_op(site, mode, name)
  if module is None:
    raise ValueError(f"no operation is called {site.op!r}")
  return module
