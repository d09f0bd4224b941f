"""Samplers that mix all operations: (key, logits, temperature, batch) -> Mix.

All price the mean of their weights' law; but for `dirichlet` it is
softmax(logits), the exact expected cost of the categorical that the logits
describe, at any temperature (research 3.6, F3).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from hwnas_jax.core.types import FORBIDDEN, Array, Mix

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


def dirichlet(
  key: Array, logits: Array, temperature: Array, batch: int | None = None
) -> Mix:
  """DrNAS: weights ~ Dirichlet(elu(logits) + 1) (Chen et al. 2021, eq. 4).

  Their mean, the concentrations over their sum, is what is priced. No
  temperature.
  """
  del temperature
  # The floor is for elu's rounding; exactly 0 is an operation left out.
  concentration = jnp.where(
    logits > FORBIDDEN / 10, jnp.maximum(jax.nn.elu(logits) + 1.0, 1e-6), 0.0
  )
  shape = logits.shape[:1] if batch is None else (batch, *logits.shape[:1])
  allowed = jnp.maximum(concentration, 1e-6)
  draws = jax.random.dirichlet(key, allowed, shape)
  draws = jnp.where(concentration > 0, draws, 0.0)
  weights = draws / draws.sum(-1, keepdims=True)
  return Mix(weights, concentration / concentration.sum(-1, keepdims=True))


SAMPLERS: dict[str, Sampler] = {
  "softmax": softmax,
  "gumbel_softmax": gumbel_softmax,
  "straight_through": straight_through,
  "dirichlet": dirichlet,
}
