"""Samplers: (key, logits, temperature, batch) -> Mix.

All price softmax(logits): the exact expected cost of the categorical that the
logits describe, at any temperature (research 3.6, F3).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from hwnas_jax.core.types import Array, Mix

# (key, logits[E, O], temperature[], batch size or None) -> Mix
Sampler = Callable[[Array, Array, Array, int | None], Mix]


def softmax(
  key: Array, logits: Array, temperature: Array, batch: int | None = None
) -> Mix:
  """DARTS's mixture: softmax(logits / temperature), no noise."""
  del key, batch
  return Mix(jax.nn.softmax(logits / temperature), jax.nn.softmax(logits))


def gumbel_softmax(
  key: Array, logits: Array, temperature: Array, batch: int | None = None
) -> Mix:
  """Relaxed one-hot samples (Jang et al. 2017, eq. 2).

  `batch=None` draws one sample for the whole batch, weights [E, O]; a number
  draws one for each example, weights [B, E, O].
  """
  shape = logits.shape if batch is None else (batch, *logits.shape)
  noise = jax.random.gumbel(key, shape, logits.dtype)
  weights = jax.nn.softmax(
    (jnp.expand_dims(logits, range(noise.ndim - 2)) + noise) / temperature
  )
  return Mix(weights, jax.nn.softmax(logits))


def straight_through(
  key: Array, logits: Array, temperature: Array, batch: int | None = None
) -> Mix:
  """One-hot forward, the gradient of Gumbel-Softmax backward."""
  soft = gumbel_softmax(key, logits, temperature, batch)
  num_ops = logits.shape[-1]
  hard = jax.nn.one_hot(soft.weights.argmax(-1), num_ops, dtype=logits.dtype)
  # soft - soft is exactly zero, so the forward value stays one-hot.
  weights = hard + (soft.weights - jax.lax.stop_gradient(soft.weights))
  return Mix(weights, soft.priced)


SAMPLERS: dict[str, Sampler] = {
  "softmax": softmax,
  "gumbel_softmax": gumbel_softmax,
  "straight_through": straight_through,
}
