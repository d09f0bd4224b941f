"""Samplers that run all operations of a choice, weighted.

Each is a draw (key, logits, temperature, rows) -> Mix, see `estimators.Draw`.
What they price is the mean of the operations' weights: softmax(logits), the
exact expected cost of the categorical distribution that the logits describe,
at any temperature (docs/methods.md#expected-cost); `dirichlet` has another.
"""

import jax
import jax.numpy as jnp

from hwnas_jax.core.types import FORBIDDEN, Array, Mix


def softmax(
  key: Array, logits: Array, temperature: Array, rows: int | None = None
) -> Mix:
  """DARTS's mixture softmax(logits / temperature), without noise."""
  del key, rows
  return Mix(jax.nn.softmax(logits / temperature), jax.nn.softmax(logits))


def gumbel_softmax(
  key: Array, logits: Array, temperature: Array, rows: int | None = None
) -> Mix:
  """Relaxed one-hot samples (Jang et al. 2017, eq. 2).

  Args:
    key: a typed key.
    logits: [E, O].
    temperature: [], above 0.
    rows: samples, one an example; None is one for the whole batch.

  Returns:
    A mix with weights [rows, E, O], or [E, O].
  """
  shape = logits.shape if rows is None else (rows, *logits.shape)
  noise = jax.random.gumbel(key, shape, logits.dtype)
  weights = jax.nn.softmax(
    (jnp.expand_dims(logits, range(noise.ndim - 2)) + noise) / temperature
  )
  return Mix(weights, jax.nn.softmax(logits))


def straight_through(
  key: Array, logits: Array, temperature: Array, rows: int | None = None
) -> Mix:
  """One-hot forward, the gradient of `gumbel_softmax` backward."""
  soft = gumbel_softmax(key, logits, temperature, rows)
  num_ops = logits.shape[-1]
  hard = jax.nn.one_hot(soft.weights.argmax(-1), num_ops, dtype=logits.dtype)
  # soft - soft is exactly zero, so the forward value stays one-hot.
  weights = hard + (soft.weights - jax.lax.stop_gradient(soft.weights))
  return Mix(weights, soft.priced)


def dirichlet(
  key: Array, logits: Array, temperature: Array, rows: int | None = None
) -> Mix:
  """DrNAS: weights ~ Dirichlet(elu(logits) + 1) (Chen et al. 2021, eq. 4).

  It prices their mean, the concentrations over their sum. The temperature is
  not read.
  """
  del temperature
  # The floor is for elu's rounding; exactly 0 is an operation left out.
  concentration = jnp.where(
    logits > FORBIDDEN / 10, jnp.maximum(jax.nn.elu(logits) + 1.0, 1e-6), 0.0
  )
  shape = logits.shape[:1] if rows is None else (rows, *logits.shape[:1])
  allowed = jnp.maximum(concentration, 1e-6)
  draws = jax.random.dirichlet(key, allowed, shape)
  draws = jnp.where(concentration > 0, draws, 0.0)
  weights = draws / draws.sum(-1, keepdims=True)
  return Mix(weights, concentration / concentration.sum(-1, keepdims=True))
