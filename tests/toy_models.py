"""Small models of a user's own, as `spaces.custom` traces them."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp

from hwnas_jax.nets.choice import Choice
from hwnas_jax.nets.norm import BatchNorm, Mode
from hwnas_jax.nets.ops import Identity

IMAGE = (8, 6, 2)


class Model(nn.Module):
  """Three choices: one strided without a skip, one in a block."""

  mode: Mode

  @nn.compact
  def __call__(self, x):
    x = nn.Conv(4, (3, 3))(x)
    for index, (channels, stride) in enumerate([(4, 1), (8, 2)]):
      layer = [nn.relu, nn.Conv(channels, (3, 3), stride), BatchNorm(self.mode)]
      ops = {
        "conv3": nn.Sequential(layer),
        "conv1": nn.Conv(channels, (1, 1), stride),
      }
      if stride == 1:
        ops["skip"] = Identity()
      x = Choice(ops, name=f"layer_{index}")(x)
    x = nn.remat(Block)(name="block")(x)
    return nn.Dense(3)(x.mean((1, 2)))


class Block(nn.Module):
  """A choice that is not on the top."""

  def setup(self):
    ops = {"skip": Identity(), "wide": nn.Conv(8, (5, 3), use_bias=False)}
    self.inner = Choice(ops)

  def __call__(self, x):
    return nn.relu(self.inner(x))


class Calls(nn.Module):
  """A function as a module, without weights."""

  run: Callable

  def __call__(self, x):
    return self.run(x)


def small(ops, name="layer", before=lambda x: x):
  """A model of one choice."""

  class Small(nn.Module):
    """Called Small in messages."""

    @nn.compact
    def __call__(self, x):
      x = Choice(ops, name=name)(before(x))
      return nn.Dense(3)(x.reshape(x.shape[0], -1))

  return Small


class Fourier(nn.Module):
  """A choice of an operation that ONNX lacks, and of one that it has."""

  num_classes: int

  @nn.compact
  def __call__(self, x):
    ops = {"mix": Mix(), "conv": nn.Conv(4, (3, 3)), "leaky": Leaky()}
    x = Choice(ops, name="layer")(nn.Conv(4, (1, 1))(x))
    return nn.Dense(self.num_classes)(x.mean((1, 2)))


class Mix(nn.Module):
  def __call__(self, x):
    return jnp.fft.fft2(x, axes=(1, 2)).real


class Leaky(nn.Module):
  def __call__(self, x):
    return nn.leaky_relu(x)


class Depthwise(nn.Module):
  """A choice of two convolutions, one of them depthwise."""

  num_classes: int

  @nn.compact
  def __call__(self, x):
    ops = {
      "pointwise": nn.Conv(4, (1, 1)),
      "depthwise": nn.Conv(4, (3, 3), feature_group_count=4),
    }
    x = Choice(ops, name="layer")(nn.Conv(4, (3, 3))(x))
    return nn.Dense(self.num_classes)(x.mean((1, 2)))
