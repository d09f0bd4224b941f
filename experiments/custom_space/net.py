"""A user's residual network; the operation of each layer is searched."""

import flax.linen as nn

from hwnas_jax import Choice
from hwnas_jax.nets.norm import BatchNorm, Mode
from hwnas_jax.nets.ops import Identity


class Layer(nn.Module):
  """Convolution, norm, ReLU; its input is added where the shape stays."""

  channels: int
  kernel: int
  mode: Mode

  @nn.compact
  def __call__(self, x):  # noqa: D102
    stride = 2 if self.channels == 2 * x.shape[-1] else 1
    y = nn.Conv(self.channels, (self.kernel,) * 2, stride, use_bias=False)(x)
    y = nn.relu(BatchNorm(self.mode)(y))
    return x + y if x.shape == y.shape else y


class Net(nn.Module):
  """A stem, five choices and a linear classifier."""

  mode: Mode
  num_classes: int

  @nn.compact
  def __call__(self, x):  # noqa: D102
    x = Layer(8, 3, self.mode)(x)
    for index, channels in enumerate((8, 8, 16, 16, 16)):
      ops = {f"conv{k}": Layer(channels, k, self.mode) for k in (1, 3, 5)}
      ops |= {"skip": Identity()} if channels == x.shape[-1] else {}
      x = Choice(ops, name=f"layer_{index}")(x)
    return nn.Dense(self.num_classes)(x.mean((1, 2)))
