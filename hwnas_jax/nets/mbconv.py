"""Mobile inverted bottlenecks, and the fixed layers of their networks.

An operation's name determines it. `mb_k5_e6` is a 5x5 bottleneck that expands
its channels 6 times (Sandler et al. 2018), with ReLU. With `_g2` its 1x1
convolutions are in two groups, and a channel shuffle follows the first of them
(Wu et al. 2019, section 3.1). With `_relu6` the activation is ReLU6. Without
`_e` there is no first 1x1 convolution, as in the fixed first block of a
network; `_e1` has one, as in FBNet.

Weights are stored as in `nets.ops`. In mode `search` an operation of a choice
has no scale and shift, and a fixed one has them (see `nets.norm`). The epsilon
of batch norm is this package's, 1e-5. The published networks of ProxylessNAS
and LightNAS have 1e-3, except in LightNAS's hidden layer.
"""

import re

import flax.linen as nn
import jax.numpy as jnp
from jax import lax

from hwnas_jax.core.types import Array
from hwnas_jax.nets import conv, probe
from hwnas_jax.nets.norm import BatchNorm, Mode
from hwnas_jax.spaces.spec import Site

_init = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
_depthwise_init = nn.initializers.variance_scaling(
  2.0, "fan_in", "normal", in_axis=(0, 1), out_axis=2
)
_BOTTLENECK = re.compile(r"mb_k(\d)(?:_e(\d))?(?:_g(\d))?")


def _activate(x: Array, relu6: bool) -> Array:
  return probe.relu6(x) if relu6 else probe.relu(x)


def shuffle(x: Array, groups: int) -> Array:
  """Interleaves the channels of the groups (ShuffleNet, Zhang et al. 2018).

  Channel i of group g becomes channel groups * i + g.

  Args:
    x: [..., C].
    groups: divides C.
  """
  parts = x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)
  return parts.swapaxes(-1, -2).reshape(x.shape)


class Bottleneck(nn.Module):
  """[1x1, BN, activation, shuffle,] depthwise, BN, activation, 1x1, BN.

  The input is added to the output where their shapes agree.

  channels: of the output.
  expansion: factor of the first 1x1 convolution; 0 for no such convolution.
  groups: of the 1x1 convolutions.
  """

  channels: int
  kernel: int
  stride: int
  expansion: int
  groups: int
  relu6: bool
  mode: Mode

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """x [B, H, W, C] -> [B, ceil(H/stride), ceil(W/stride), channels]."""
    y = x
    if self.expansion:
      y = self._pointwise("expand", y, self.expansion * x.shape[-1])
      y = _activate(y, self.relu6)
      y = shuffle(y, self.groups) if self.groups > 1 else y
    shape = (self.kernel, self.kernel, y.shape[-1])
    depthwise = self.param("depthwise", _depthwise_init, shape)
    y = conv.depthwise(y, depthwise, self.stride)
    y = _activate(self._norm("depthwise", y), self.relu6)
    y = self._pointwise("project", y, self.channels)
    return x + y if x.shape == y.shape else y

  def _pointwise(self, name: str, x: Array, channels: int) -> Array:
    """A 1x1 convolution of each group of channels, and one batch norm."""
    size = x.shape[-1] // self.groups
    parts = [
      conv.pointwise(
        lax.slice_in_dim(x, index * size, (index + 1) * size, axis=-1),
        self.param(f"{name}_{index}", _init, (size, channels // self.groups)),
      )
      for index in range(self.groups)
    ]
    y = parts[0] if self.groups == 1 else jnp.concatenate(parts, -1)
    return self._norm(name, y)

  def _norm(self, name: str, x: Array) -> Array:
    fixed = not self.expansion
    return BatchNorm(self.mode, fixed, name=f"norm_{name}")(x)


class ConvNormAct(nn.Module):
  """k x k convolution, batch norm, activation."""

  channels: int
  kernel: int
  stride: int
  relu6: bool
  mode: Mode
  affine_in_search: bool

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """x [B, H, W, C] -> [B, ceil(H/stride), ceil(W/stride), channels]."""
    shape = (self.kernel, self.kernel, x.shape[-1], self.channels)
    w = self.param("kernel", _init, shape)
    if self.kernel == 1:
      step = self.stride
      y = conv.pointwise(x if step == 1 else x[:, ::step, ::step], w[0, 0])
    else:
      y = conv.conv(x, w, self.stride)
    y = BatchNorm(self.mode, self.affine_in_search, name="norm")(y)
    return _activate(y, self.relu6)


class Hidden(nn.Module):
  """Global average pool, linear layer, batch norm, activation."""

  channels: int
  relu6: bool
  mode: Mode

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """x [B, H, W, C] -> [B, 1, 1, channels]."""
    w = self.param("kernel", _init, (x.shape[-1], self.channels))
    y = (x.mean((1, 2)) @ w.astype(x.dtype))[:, None, None]
    y = BatchNorm(self.mode, affine_in_search=True, name="norm")(y)
    return _activate(y, self.relu6)


# (kernel, whether there is a scale and shift in mode `search`).
_CONVOLUTIONS = {
  "stem_3x3": (3, True),
  "head_1x1": (1, True),
  "skip": (1, False),
}


def make_mobile_op(
  site: Site, mode: Mode, name: str | None = None
) -> nn.Module | None:
  """The module of a site; None if its operation is not one of this file's.

  A skip is a 1x1 convolution here. Where the shape stays `nets.ops` makes the
  identity of it.
  """
  channels, stride = site.channels_out, site.stride
  op, relu6 = site.op.removesuffix("_relu6"), site.op.endswith("_relu6")
  match = _BOTTLENECK.fullmatch(op)
  if match:
    kernel, expansion, groups = (int(n or 0) for n in match.groups())
    shape = channels, kernel, stride, expansion, max(groups, 1)
    return Bottleneck(*shape, relu6, mode, name=name)
  if op in _CONVOLUTIONS:
    kernel, fixed = _CONVOLUTIONS[op]
    return ConvNormAct(channels, kernel, stride, relu6, mode, fixed, name=name)
  if op == "hidden":
    return Hidden(channels, relu6, mode, name=name)
  return None
