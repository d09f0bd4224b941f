"""76 operations and blocks that people build, each converted to ONNX.

python tests/operations.py prints the table of docs/export.md.

Each is a flax module, or a function, of images float32[B, 8, 8, 8]. It is
converted for any batch, and run by onnxruntime on a batch of three.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.deploy import onnx
from hwnas_jax.nets.conv import tracing_for

SHAPE = (3, 8, 8, 8)
PARITY = 1e-5  # the largest difference over the largest value
C = SHAPE[-1]


class Module(nn.Module):
  """`call` with a module's rights: it may make modules and weights."""

  call: Callable[..., Any]

  @nn.compact
  def __call__(self, x):
    return self.call(self, x)


def tokens(x):
  return x.reshape(x.shape[0], -1, x.shape[-1])


def conv(size=3, features=C, **fields):
  return nn.Conv(features, (size, size), **fields)


def gate(x, activation=nn.sigmoid, layer=nn.Dense):
  y = x.mean((1, 2), keepdims=layer is not nn.Dense)
  small = layer(4) if layer is nn.Dense else layer(4, (1, 1))
  large = layer(C) if layer is nn.Dense else layer(C, (1, 1))
  y = activation(large(nn.relu(small(y))))
  return x * (y[:, None, None] if layer is nn.Dense else y)


def attention(x):
  y = tokens(x)
  return nn.MultiHeadDotProductAttention(num_heads=2)(y).reshape(x.shape)


def vit_block(x):
  x = x + attention(nn.LayerNorm()(x))
  return x + nn.Dense(C)(nn.gelu(nn.Dense(2 * C)(nn.LayerNorm()(x))))


def convnext(x):
  y = nn.LayerNorm()(conv(7, feature_group_count=C)(x))
  return x + nn.Dense(C)(nn.gelu(nn.Dense(4 * C)(y)))


def cbam(x):
  dense = nn.Dense(C)
  x = (
    x * nn.sigmoid(dense(x.mean((1, 2))) + dense(x.max((1, 2))))[:, None, None]
  )
  both = [x.mean(-1, keepdims=True), x.max(-1, keepdims=True)]
  return x * nn.sigmoid(nn.Conv(1, (7, 7))(jnp.concatenate(both, -1)))


def grn(self, x):
  norm = jnp.sqrt((x**2).sum((1, 2), keepdims=True))
  scale = self.param("scale", nn.initializers.ones, (C,))
  return x + x * scale.reshape(1, 1, 1, C) * norm / (
    norm.mean(-1, keepdims=True) + 1e-6
  )


def shuffle(x):
  parts = x.reshape(*x.shape[:3], 2, C // 2)
  return parts.swapaxes(3, 4).reshape(x.shape)


def ghost(x):
  first = conv(1, C // 2)(x)
  second = conv(3, C // 2, feature_group_count=C // 2)(first)
  return jnp.concatenate([first, second], -1)


def split(x):
  a, b = jnp.split(x, 2, axis=-1)
  return jnp.concatenate([nn.relu(b), a], -1)


def depth_to_space(x):
  b, h, w, c = x.shape
  y = x.reshape(b, h, w, 2, 2, c // 4).transpose(0, 1, 3, 2, 4, 5)
  return y.reshape(b, 2 * h, 2 * w, c // 4)


def resize(x):
  return jax.image.resize(x, (x.shape[0], 12, 12, C), "bilinear")


def strip(x):
  rows = nn.Conv(C, (3, 1))(x.mean(2, keepdims=True))
  columns = nn.Conv(C, (1, 3))(x.mean(1, keepdims=True))
  return x * nn.sigmoid(rows + columns)


def reflect(x):
  y = jnp.pad(x, ((0, 0), (1, 1), (2, 2), (0, 0)), "reflect")
  return conv(padding="VALID")(y)


def gem(self, x):
  power = self.param("power", lambda *_: jnp.full((), 2.5))
  y = jnp.maximum(x, 1e-6) ** power
  return x * y.mean((1, 2), keepdims=True) ** (1 / power)


def mixer(x):
  y = tokens(nn.LayerNorm()(x)).swapaxes(1, 2)
  y = nn.Dense(y.shape[-1])(nn.gelu(nn.Dense(16)(y))).swapaxes(1, 2)
  return x + y.reshape(x.shape)


def rnn(x):
  y = nn.RNN(nn.GRUCell(C))(x[:, 0])
  return x + y[:, None]


def fft(x):
  return jnp.fft.fft2(x, axes=(1, 2)).real


def einsum_param(self, x):
  w = self.param("w", nn.initializers.normal(0.5), (8, 8, C))
  return jnp.einsum("bhwc,wvc->bhvc", x, w)


def softmax_spatial(x):
  return x * nn.softmax(tokens(x), axis=1).reshape(x.shape)


def variance(x):
  return x / jnp.sqrt(x.var((1, 2), keepdims=True) + 1e-5)


def dynamic_conv(self, x):
  weights = nn.softmax(nn.Dense(2)(x.mean((1, 2))))
  kernels = self.param("w", nn.initializers.normal(0.3), (2, C, C))
  mixed = jnp.einsum("bk,kcd->bcd", weights, kernels)
  return jnp.einsum("bhwc,bcd->bhwd", x, mixed)


def transposed_attention(x):
  y = tokens(x)
  scores = nn.softmax(jnp.einsum("btc,btd->bcd", y, y) / 8)
  return jnp.einsum("btc,bcd->btd", y, scores).reshape(x.shape)


def bmm(x):
  y = tokens(x)
  return jnp.einsum("btc,bsc->bts", y, y)


def strided_up(x):
  b, h, w, c = x.shape
  return jnp.zeros((b, 2 * h, 2 * w, c)).at[:, ::2, ::2].set(x)


def circular(x):
  return conv(padding="CIRCULAR")(x)


OPERATIONS: dict[str, Callable[..., Any]] = {
  "conv_bias": lambda x: conv()(x),
  "dilated": lambda x: conv(kernel_dilation=2)(x),
  "se_dense": gate,
  "mha": attention,
  "leaky_relu": lambda x: nn.leaky_relu(x, 0.1),
  "hard_swish": nn.hard_swish,
  "sequential": lambda x: nn.Sequential([conv(), nn.relu, conv(1)])(x),
  "dropout": lambda x: nn.Dropout(0.5, deterministic=True)(x),
  "flax_bn": lambda x: nn.BatchNorm(use_running_average=True)(x),
  "group2": lambda x: conv(feature_group_count=2)(x),
  "depthwise": lambda x: conv(feature_group_count=C)(x),
  "convtranspose_s1": lambda x: nn.ConvTranspose(C, (3, 3))(x),
  "convtranspose_s2": lambda x: nn.ConvTranspose(C, (3, 3), (2, 2))(x),
  "se_conv_hsig": lambda x: gate(x, nn.hard_sigmoid, nn.Conv),
  "groupnorm": lambda x: nn.GroupNorm(2)(x),
  "layernorm": lambda x: nn.LayerNorm()(x),
  "rmsnorm": lambda x: nn.RMSNorm()(x),
  "instancenorm": lambda x: nn.InstanceNorm()(x),
  "weightnorm": lambda x: nn.WeightNorm(conv())(x),
  "gelu_tanh": nn.gelu,
  "silu": nn.silu,
  "elu": nn.elu,
  "prelu": lambda x: nn.PReLU()(x),
  "relu6": nn.relu6,
  "max_pool": lambda x: nn.max_pool(x, (3, 3), padding="SAME"),
  "avg_pool": lambda x: nn.avg_pool(x, (3, 3), padding="SAME"),
  "avg_pool_nopadcount": lambda x: nn.avg_pool(
    x, (3, 3), padding="SAME", count_include_pad=False
  ),
  "min_pool": lambda x: -nn.max_pool(-x, (3, 3), padding="SAME"),
  "vit_block": vit_block,
  "convnext": convnext,
  "cbam": cbam,
  "grn": grn,
  "shuffle": shuffle,
  "ghost": ghost,
  "split": split,
  "d2s": depth_to_space,
  "resize_bilinear": resize,
  "up_repeat": lambda x: x.repeat(2, axis=1).repeat(2, axis=2),
  "strip": strip,
  "reflect_pad": reflect,
  "gem_pow": gem,
  "mlp_mixer": mixer,
  "rnn": rnn,
  "bf16": lambda x: conv(dtype=jnp.bfloat16)(x).astype(jnp.float32),
  "lambda_fn": lambda x: jnp.maximum(x, 0.1 * x),
  "cumsum": lambda x: jnp.cumsum(x, axis=1),
  "sin": jnp.sin,
  "einsum": lambda x: jnp.einsum("bhwc,bhwd->bcd", x, x),
  "einsum_param": einsum_param,
  "circular": circular,
  "valid_conv_pad": lambda x: jnp.pad(
    conv(padding="VALID")(x), ((0, 0), (1, 1), (1, 1), (0, 0))
  ),
  "fft_mixer": fft,
  "abs_sign": lambda x: jnp.sign(x) * jnp.sqrt(jnp.abs(x)),
  "localconv": lambda x: nn.ConvLocal(C, (3, 3))(x),
  "ln_plain": lambda x: nn.LayerNorm(use_bias=False, use_scale=False)(x),
  "gn_plain": lambda x: nn.GroupNorm(2, use_bias=False, use_scale=False)(x),
  "softmax_spatial": softmax_spatial,
  "jnp_var": variance,
  "slice_half": lambda x: jnp.concatenate(
    [x[..., :4], nn.relu(x[..., 4:])], -1
  ),
  "hard_tanh": nn.hard_tanh,
  "swish": nn.swish,
  "celu": nn.celu,
  "relu2": lambda x: nn.relu(x) ** 2,
  "max2": lambda x: jnp.maximum(conv()(x), conv(1)(x)),
  "div_const": lambda x: x / 3.0,
  "x_pow15": lambda x: jnp.abs(x) ** 1.5,
  "norm_l2": lambda x: x / jnp.linalg.norm(x, axis=-1, keepdims=True),
  "clip": lambda x: jnp.clip(x, -0.5, 0.5),
  "min_red": lambda x: x - x.min((1, 2), keepdims=True),
  "dynconv": dynamic_conv,
  "transpose_attn": transposed_attention,
  "flip": lambda x: x + x[:, :, ::-1],
  "strided_up": strided_up,
  "tile": lambda x: jnp.tile(x[..., :2], (1, 1, 1, 4)),
  "stack_sum": lambda x: jnp.stack([x, nn.relu(x)]).sum(0),
  "einsum_bmm": bmm,
}
WITH_WEIGHTS = {gem, grn, einsum_param, dynamic_conv}  # get the module too
# Converted as any other, but no operation of a Choice: docs/export.md.
NOT_IN_A_CHOICE = {
  "dropout": "draws random numbers",
  "flax_bn": "keeps running statistics: use `hwnas_jax.nets.norm.BatchNorm`",
  "lambda_fn": "a function: wrap it in a module",
}


class Result(NamedTuple):
  """difference: over the largest value; None with the reason why not."""

  difference: float | None
  reason: str = ""


def infer_of(call: Callable[..., Any]) -> Callable[..., Any]:
  """A function of images, with random weights."""
  module = Module(call if call in WITH_WEIGHTS else lambda _, x: call(x))
  x = jnp.zeros(SHAPE)
  shapes = jax.eval_shape(module.init, jax.random.key(0), x)
  rng = np.random.default_rng(0)
  draw = lambda v: rng.uniform(0.1, 0.6, v.shape).astype(v.dtype)  # noqa: E731
  variables = jax.tree.map(draw, shapes)
  return functools.partial(module.apply, variables)


def compare(infer: Callable[..., Any]) -> Result:
  """Converts a function of images, and compares it with JAX."""
  (batch,) = jax.export.symbolic_shape("batch")
  with tracing_for("onnx"):
    try:
      model = onnx.to_onnx(infer, [(batch, *SHAPE[1:])])
    except ValueError as error:
      return Result(None, str(error))
  x = np.random.default_rng(1).standard_normal(SHAPE, np.float32)
  wanted = np.asarray(jax.jit(infer)(x), np.float32)
  (values,) = onnx.run(model, x)
  assert values.shape == wanted.shape
  largest = np.abs(wanted).max()
  return Result(float(np.abs(values - wanted).max() / largest))


def check(
  function: Callable[..., Any],
  x: np.ndarray,
  *,
  rtol: float = 1e-5,
  any_batch: bool = True,
) -> None:
  """Converts a function of one array, and compares each output with JAX."""
  (batch,) = jax.export.symbolic_shape("batch") if any_batch else x.shape[:1]
  model = onnx.to_onnx(function, [(batch, *x.shape[1:])])
  outputs = onnx.run(model, x)
  wanted = jax.tree.leaves(jax.jit(function)(x))
  for given, value in zip(outputs, wanted, strict=True):
    assert given.shape == value.shape
    value = np.asarray(value, given.dtype)
    np.testing.assert_allclose(given, value, rtol=rtol, atol=1e-5)


def main() -> None:
  """Prints the table."""
  print("| operation | ONNX | difference |\n|---|---|---|")
  for name, call in OPERATIONS.items():
    result = compare(infer_of(call))
    said = "converts" if result.difference is not None else result.reason
    if name in NOT_IN_A_CHOICE:
      said = f"converts; no operation of a Choice: {NOT_IN_A_CHOICE[name]}"
    number = "" if result.difference is None else f"{result.difference:.1e}"
    print(f"| {name} | {said} | {number} |")


if __name__ == "__main__":
  main()
