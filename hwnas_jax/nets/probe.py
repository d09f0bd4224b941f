"""Activations, and what a judge of untrained networks changes while it traces.

Two things about a network's layers cannot be had from its logits: what it
computes without batch norm, and which ReLUs are on. A judge
(`derive.judges`) traces the network inside one of

  with without_norm(): ...       batch norms hand on their input
  with counting_relus(count): ...  see there

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
_count: contextvars.ContextVar[jax.Ref | None] = contextvars.ContextVar(
  "count", default=None
)


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
def counting_relus(count: jax.Ref | None) -> Iterator[None]:
  """Inside it ReLUs add to a count of their equal units as they run.

  After the network has run, count[a, b] has risen by the units of its ReLUs
  that are both on or both off for images a and b (Mellor et al. 2021,
  equation 2). Only what runs forward can be counted, and not under `jax.vmap`.

  Args:
    count: float32[B, B], B the number of images. None counts nothing.
  """
  if count is None:
    yield
    return
  token = _count.set(count)
  try:
    with _mode(_RELUS):
      yield
  finally:
    _count.reset(token)


def counter() -> jax.Ref | None:
  """The count of the `counting_relus` that this is traced inside, if any."""
  return _count.get() if _mode.value == _RELUS else None


def relu(x: Array) -> Array:
  """max(x, 0)."""
  if (count := counter()) is not None:
    return _counted_relu(x, count)
  return jnn.relu(x)


def relu6(x: Array) -> Array:
  """min(max(x, 0), 6)."""
  if norm_is_off():
    return jnn.relu(x)
  if counter() is not None:
    return jnp.minimum(relu(x), 6.0)
  return lax.clamp(0.0, x, 6.0)


@jax.jit  # so that a jaxpr names it
def _counted_relu(x: Array, count: jax.Ref) -> Array:
  signs = jnp.where(x > 0, 1.0, -1.0).reshape(x.shape[0], -1)
  # c c^T + (1 - c)(1 - c)^T of the codes c = (signs + 1) / 2.
  count[...] += (signs @ signs.T + signs.shape[1]) / 2
  return jnp.maximum(x, 0.0)
