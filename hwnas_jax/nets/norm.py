"""Batch normalisation in the three modes that all of `nets` has.

It computes in float32 at least; its output has the type of its input.

search  batch statistics; nothing is stored, so `apply` is pure. Scale and
        shift only outside the choices, as in DARTS and NAS-Bench-201: at a
        choice a scale could undo the mix.
train   batch statistics, scale and shift; running statistics are updated.
eval    running statistics, scale and shift.
"""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from hwnas_jax.core.precision import wide
from hwnas_jax.core.types import Array
from hwnas_jax.nets.conv import per_channel, sums
from hwnas_jax.nets.probe import norm_is_off

Mode = Literal["search", "train", "eval"]
EPSILON = 1e-5
MOMENTUM = 0.1  # weight of the new batch in the running statistics


@jax.custom_vjp
def normalise(x: Array) -> tuple[Array, Array, Array]:
  """(normalised x [B, H, W, C], mean [C], variance [C]) of the batch.

  No gradient flows through the two statistics that are returned.
  """
  return _normalise_fwd(x)[0]


@jax.jit
def _normalise_fwd(
  x: Array,
) -> tuple[tuple[Array, Array, Array], tuple[Array, Array, Array]]:
  count, exact = x.size // x.shape[-1], wide(x)
  total, squares = sums([exact, exact * exact])
  mean = total / count
  # Of a constant channel rounding can give a value just below zero.
  variance = jnp.maximum(squares / count - mean * mean, 0.0)
  inverse = lax.rsqrt(variance + EPSILON)
  normalised = (exact - per_channel(mean)) * per_channel(inverse)
  return (normalised.astype(x.dtype), mean, variance), (x, mean, inverse)


@jax.jit
def _normalise_bwd(
  residuals: tuple[Array, Array, Array], cotangents: tuple[Array, Array, Array]
) -> tuple[Array]:
  x, mean, inverse = residuals
  g, _, _ = cotangents
  count = x.size // x.shape[-1]
  normalised = (x - per_channel(mean)) * per_channel(inverse)
  g_sum, g_dot = sums([g, g * normalised])
  centred = g - per_channel(g_sum / count)
  slope = normalised * per_channel(g_dot / count)
  return ((per_channel(inverse) * (centred - slope)).astype(x.dtype),)


normalise.defvjp(_normalise_fwd, _normalise_bwd)


@jax.jit
def affine(x: Array, scale: Array, shift: Array) -> Array:
  """X [B, H, W, C] times scale [C] plus shift [C], in the type of x."""
  y = wide(x) * per_channel(scale) + per_channel(shift)
  return y.astype(x.dtype)


class BatchNorm(nn.Module):
  """Batch normalisation of [B, H, W, C] in one of the three modes.

  affine_in_search: whether it has scale and shift in mode `search` too, as
    outside the choices.
  """

  mode: Mode
  affine_in_search: bool = False

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """X, normalised over all axes but the last."""
    if norm_is_off() and not self.is_initializing():
      return x
    if self.mode == "search" and not self.affine_in_search:
      return normalise(x)[0]
    channels = x.shape[-1:]
    scale = self.param("scale", nn.initializers.ones, channels)
    bias = self.param("bias", nn.initializers.zeros, channels)
    if self.mode == "search":
      return affine(normalise(x)[0], scale, bias)
    mean = self.variable("batch_stats", "mean", jnp.zeros, channels)
    var = self.variable("batch_stats", "var", jnp.ones, channels)
    if self.mode == "eval":
      # One multiply-add a pixel, as in a deployed network.
      factor = scale * lax.rsqrt(var.value + EPSILON)
      shift = bias - mean.value * factor
      return affine(x, factor, shift)
    y, batch_mean, batch_var = normalise(x)
    if not self.is_initializing():
      count = x.size // x.shape[-1]
      unbiased = batch_var * (count / max(count - 1, 1))
      mean.value += MOMENTUM * (batch_mean - mean.value)
      var.value += MOMENTUM * (unbiased - var.value)
    return affine(y, scale, bias)
