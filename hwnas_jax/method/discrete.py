"""Samplers of a path: one operation of each choice runs, weights are one-hot.

Each is a draw (key, logits[E, O], temperature, rows) -> Mix with paths, see
`estimators.Draw`; a path is for the whole batch, so `rows` is not read. The
cost reads softmax(logits), except with `two_gates` and `ordered`. The equations
are in docs/methods.md#samplers.
"""

import jax
import jax.numpy as jnp
from jax import lax

from hwnas_jax.core.types import FORBIDDEN, Array, Mix, Paths


def _straight_through(hard: Array, soft: Array) -> Array:
  """The value of `hard`, the gradient of `soft`."""
  return hard + (soft - lax.stop_gradient(soft))


def _one_hot(ops: Array, logits: Array) -> Array:
  return jax.nn.one_hot(ops, logits.shape[-1], dtype=logits.dtype)


def gdas(
  key: Array, logits: Array, temperature: Array, rows: int | None = None
) -> Mix:
  """Gumbel straight-through on one path (Dong and Yang 2019).

  Only the relaxed weight of the operation that runs gets a gradient.
  """
  del rows
  noisy = logits + jax.random.gumbel(key, logits.shape, logits.dtype)
  best = noisy.argmax(-1)
  soft = jax.nn.softmax(noisy / temperature)
  weights = _straight_through(_one_hot(best, logits), soft)
  return Mix(weights, jax.nn.softmax(logits), Paths(best[:, None]))


def reinmax(
  key: Array, logits: Array, temperature: Array, rows: int | None = None
) -> Mix:
  """Second-order straight-through on one path (Liu et al. 2023).

  With D ~ softmax(logits) and pi = (softmax(logits / t) + D) / 2 the gradient
  of v . weights is J(pi) 2 v - J(p) v / 2, where p = softmax(logits) and J(q)
  is the Jacobian of the softmax at q. For temperatures of 1 or more.
  """
  del rows
  probabilities = jax.nn.softmax(logits)
  drawn = jax.random.categorical(key, logits)
  hard = _one_hot(drawn, logits)
  middle = (jax.nn.softmax(logits / temperature) + hard) / 2
  shifted = jnp.log(middle) - logits
  at_middle = jax.nn.softmax(lax.stop_gradient(shifted) + logits)
  soft = 2 * at_middle - probabilities / 2
  weights = _straight_through(hard, soft)
  return Mix(weights, probabilities, Paths(drawn[:, None]))


def gates(
  key: Array, logits: Array, temperature: Array, rows: int | None = None
) -> Mix:
  """ProxylessNAS's binary gates over all operations (Cai et al. 2019, 3.2).

  One operation runs forward. In the backward pass all run, one at a time, and
  logit i gets sum_j <g, o_j> p_j (delta_ij - p_i), where g is the gradient of
  the choice's output and o_j the output of operation j. The temperature is
  not read.
  """
  del temperature, rows
  drawn = jax.random.categorical(key, logits)
  probabilities = jax.nn.softmax(logits)
  weights = _straight_through(_one_hot(drawn, logits), probabilities)
  every = jnp.broadcast_to(jnp.arange(logits.shape[-1]), logits.shape)
  return Mix(weights, probabilities, Paths(drawn[:, None], every))


def two_gates(
  key: Array, logits: Array, temperature: Array, rows: int | None = None
) -> Mix:
  """ProxylessNAS's gates over two sampled operations (Cai et al. 2019, 3.2).

  Two are drawn without replacement. One of them runs, drawn by the softmax of
  their two logits; only these two logits get a gradient, and the cost reads
  that softmax. The temperature is not read. After the optimiser's step
  `keep_the_others` must be called.
  """
  del temperature, rows
  pair_key, key = jax.random.split(key)
  pair = draw_pair(pair_key, logits)
  pair_logits = jnp.take_along_axis(logits, pair, 1)
  among_two = jax.nn.softmax(pair_logits)
  chosen = jax.random.categorical(key, pair_logits)[:, None]
  active = jnp.take_along_axis(pair, chosen, 1)
  soft = jnp.zeros_like(logits)
  soft = jnp.put_along_axis(soft, pair, among_two, 1, inplace=False)
  weights = _straight_through(_one_hot(active[:, 0], logits), soft)
  return Mix(weights, soft, Paths(active, pair))


def draw_pair(key: Array, logits: Array) -> Array:
  """Two operations a choice, drawn without replacement: int32[E, 2].

  Where O is 1 there is no pair: int32[E, 1], and the operation always runs.
  """
  noisy = logits + jax.random.gumbel(key, logits.shape, logits.dtype)
  return lax.top_k(noisy, min(2, logits.shape[-1]))[1]


def keep_the_others(pair: Array, old: Array, new: Array) -> Array:
  """New logits at the pair, shifted so that no other probability changes.

  log(sum exp new / sum exp old) over the pair is subtracted from both. The
  other logits are the old ones, even if the optimiser's moments moved them.

  Args:
    pair: int32[E, 2], of `draw_pair`.
    old: logits [E, O] before the optimiser's step.
    new: logits [E, O] after it.
  """

  def log_total(logits: Array) -> Array:
    pair_logits = jnp.take_along_axis(logits, pair, 1)
    return jax.nn.logsumexp(pair_logits, axis=1, keepdims=True)

  pair_logits = jnp.take_along_axis(new, pair, 1)
  pair_logits = pair_logits - (log_total(new) - log_total(old))
  return jnp.put_along_axis(old, pair, pair_logits, 1, inplace=False)


def ordered(key: Array, logits: Array, temperature: Array) -> Mix:
  """SurgeNAS's ordered sampling (Luo et al. 2023): O paths without overlap.

  The operations of a choice are drawn one after another without replacement,
  each with fresh Gumbel noise; path k runs the k-th of every choice, so that
  every operation runs once. A path's gradient and cost are by the softmax over
  the operations that were left at its draw. A choice with fewer operations than
  others begins again.

  Returns:
    A mix with a leading axis of O paths: weights and priced are [O, E, O].
  """
  allowed = logits > FORBIDDEN / 10

  def path(left: Array, noise: Array) -> tuple[Array, tuple[Array, Array]]:
    left = jnp.where(left.any(-1, keepdims=True), left, allowed)
    noisy = jnp.where(left, logits + noise, -jnp.inf)
    active = noisy.argmax(-1)
    hard = _one_hot(active, logits)
    weights = _straight_through(hard, jax.nn.softmax(noisy / temperature))
    return left & (hard == 0), (weights, active)

  shape = logits.shape[-1], *logits.shape
  noise = jax.random.gumbel(key, shape, logits.dtype)
  _, (weights, active) = lax.scan(path, allowed, noise)
  return Mix(weights, weights, Paths(active[..., None]))
