"""Activations, and what a judge of untrained networks changes while it traces.

Two things about a network's layers cannot be had from its logits: what it
computes without batch norm, and which ReLUs are on. A judge
(`derive.judges`) traces the network inside one of

  with without_norm(): ...       batch norms hand on their input
  with counting_relus(probe): ...  see there

Outside of them, layers trace to what they always do.
"""

import contextlib
import contextvars
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from jax import lax
from jax import nn as jnn

from hwnas_jax.core.types import Array

# The function's name in a jaxpr where a ReLU is counted.
COUNTED = "_counted_relu"
# Part of the key of JAX's own caches, so that a function that was traced in one
# mode is traced again in the other.
_mode = jax.make_user_context(default_value="")
_NO_NORM, _RELUS = "without norm", "relus"
_probe: contextvars.ContextVar[Array | None] = contextvars.ContextVar("probe")


@contextlib.contextmanager
def without_norm() -> Iterator[None]:
  """Inside it batch norms hand on their input, and a ReLU6 is a ReLU.

  With weights and inputs >= 0 a network is then linear in each of its layers.
  """
  with _mode(_NO_NORM):
    yield


def norm_is_off() -> bool:
  """Whether this is traced inside `without_norm`."""
  return _mode.value == _NO_NORM


@contextlib.contextmanager
def counting_relus(probe: Array) -> Iterator[None]:
  """Inside it the gradient of `probe` counts equal ReLU units.

  Take the gradient of any function of the network's logits with respect to
  the probe. It is K[B, B], where K[a, b] counts the units of ReLUs that are
  both on or both off for images a and b (Mellor et al. 2021, equation 2). It
  depends neither on that function nor on the probe's values. Gradients with
  respect to anything else are wrong inside.

  Args:
    probe: [B, B], B the number of images; what the gradient is taken of.
  """
  token = _probe.set(probe)
  try:
    with _mode(_RELUS):
      yield
  finally:
    _probe.reset(token)


def counts_relus() -> bool:
  """Whether this is traced inside `counting_relus`, with a probe of its own."""
  return _mode.value == _RELUS


def relu(x: Array) -> Array:
  """max(x, 0)."""
  if counts_relus():
    return _counted_relu(x, _probe.get())
  return jnn.relu(x)


def relu6(x: Array) -> Array:
  """min(max(x, 0), 6)."""
  if norm_is_off():
    return jnn.relu(x)
  if counts_relus():
    return jnp.minimum(relu(x), 6.0)
  return lax.clamp(0.0, x, 6.0)


@jax.jit  # so that a jaxpr names it
def _counted_relu(x: Array, probe: Array) -> Array:
  return _count(x, probe)


@jax.custom_vjp
def _count(x: Array, probe: Array) -> Array:
  """ReLU of [B, ...]; the probe [B, B] gets K of its units."""
  del probe
  return jnp.maximum(x, 0.0)


def _count_fwd(x: Array, probe: Array) -> tuple[Array, Array]:
  return _count(x, probe), x > 0


def _count_bwd(on: Array, g: Array) -> tuple[Array, Array]:
  signs = jnp.where(on, 1.0, -1.0).reshape(on.shape[0], -1).astype(g.dtype)
  # c c^T + (1 - c)(1 - c)^T of the codes c = (signs + 1) / 2.
  equal = (signs @ signs.T + signs.shape[1]) / 2
  # Zeros, so that the compiler removes the backward pass of what is before.
  return jnp.zeros(on.shape, g.dtype), equal


_count.defvjp(_count_fwd, _count_bwd)
