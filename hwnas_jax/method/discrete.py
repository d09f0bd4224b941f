"""Samplers that run one operation of a choice, not all: one-hot weights.

(key, logits[E, O], temperature) -> Mix with paths. All price softmax(logits)
but `two_gates` and `ordered`, which say what they price.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from hwnas_jax.core.types import FORBIDDEN, Array, Mix, Paths

# (key, logits[E, O], temperature[]) -> Mix
DiscreteSampler = Callable[[Array, Array, Array], Mix]


def _through(hard: Array, soft: Array) -> Array:
  """Hard forward; backward the gradient of soft."""
  return hard + (soft - lax.stop_gradient(soft))


def _one_hot(ops: Array, logits: Array) -> Array:
  return jax.nn.one_hot(ops, logits.shape[-1], dtype=logits.dtype)


def gdas(key: Array, logits: Array, temperature: Array) -> Mix:
  """Gumbel straight-through on one path (Dong and Yang 2019; research 9).

  The relaxed weight of the operation that runs gets the only gradient.
  """
  noisy = logits + jax.random.gumbel(key, logits.shape, logits.dtype)
  best = noisy.argmax(-1)
  soft = jax.nn.softmax(noisy / temperature)
  weights = _through(_one_hot(best, logits), soft)
  return Mix(weights, jax.nn.softmax(logits), Paths(best[:, None]))


def reinmax(key: Array, logits: Array, temperature: Array) -> Mix:
  """Second-order straight-through on one path (Liu et al. 2023; research 9).

  With D ~ softmax(logits) and pi = (softmax(logits / t) + D) / 2 the gradient
  of v . weights is J(pi) 2 v - J(p) v / 2, J(q) being softmax's Jacobian at q.

  Only for temperatures of 1 or more.
  """
  probabilities = jax.nn.softmax(logits)
  drawn = jax.random.categorical(key, logits)
  hard = _one_hot(drawn, logits)
  middle = (jax.nn.softmax(logits / temperature) + hard) / 2
  shifted = jnp.log(middle) - logits
  at_middle = jax.nn.softmax(lax.stop_gradient(shifted) + logits)
  soft = 2 * at_middle - probabilities / 2
  return Mix(_through(hard, soft), probabilities, Paths(drawn[:, None]))


def gates(key: Array, logits: Array, temperature: Array) -> Mix:
  """ProxylessNAS's binary gates, all of them (Cai et al. 2019; research 5.1).

  One operation runs forward; in the backward pass all are run, one at a time,
  and logit i gets sum_j <g, o_j> p_j (delta_ij - p_i). No temperature.
  """
  del temperature
  drawn = jax.random.categorical(key, logits)
  probabilities = jax.nn.softmax(logits)
  weights = _through(_one_hot(drawn, logits), probabilities)
  every = jnp.broadcast_to(jnp.arange(logits.shape[-1]), logits.shape)
  return Mix(weights, probabilities, Paths(drawn[:, None], every))


def two_gates(key: Array, logits: Array, temperature: Array) -> Mix:
  """ProxylessNAS's gates over two sampled operations (research 5.1).

  Two are drawn without replacement, one of them runs by the softmax of the
  two, and only their logits move. That softmax is what is priced (5.2). No
  temperature. After the optimiser's step: `keep_the_others`.
  """
  del temperature
  pair_key, key = jax.random.split(key)
  pair = drawn_pair(pair_key, logits)
  own = jnp.take_along_axis(logits, pair, 1)
  among_two = jax.nn.softmax(own)
  chosen = jax.random.categorical(key, own)[:, None]
  active = jnp.take_along_axis(pair, chosen, 1)
  soft = jnp.zeros_like(logits)
  soft = jnp.put_along_axis(soft, pair, among_two, 1, inplace=False)
  weights = _through(_one_hot(active[:, 0], logits), soft)
  return Mix(weights, soft, Paths(active, pair))


def drawn_pair(key: Array, logits: Array) -> Array:
  """Two operations a choice without replacement, int32[E, 2].

  Of one operation there is no pair: [E, 1], and it always runs.
  """
  noisy = logits + jax.random.gumbel(key, logits.shape, logits.dtype)
  return lax.top_k(noisy, min(2, logits.shape[-1]))[1]


def keep_the_others(pair: Array, old: Array, new: Array) -> Array:
  """New logits [E, O], shifted at the pair so that no other's share moves.

  log(sum exp new / sum exp old) over the pair [E, 2] is taken off both. The
  others are as they were, whatever an optimiser's moments did to them.
  """
  total = lambda v: jax.nn.logsumexp(  # noqa: E731
    jnp.take_along_axis(v, pair, 1), axis=1, keepdims=True
  )
  own = jnp.take_along_axis(new, pair, 1) - (total(new) - total(old))
  return jnp.put_along_axis(old, pair, own, 1, inplace=False)


def ordered(key: Array, logits: Array, temperature: Array) -> Mix:
  """SurgeNAS's ordered sampling: O paths that share nothing (research 7.1).

  Operations are drawn one after another without replacement, each with noise
  of its own, so that the k-th path runs the k-th of each choice: all of them
  run once. A straight-through relaxation over those left is the gradient, and
  what is priced. A choice that has fewer operations than others begins again.

  Returns:
    A Mix with a leading axis of O paths: weights and priced [O, E, O].
  """
  allowed = logits > FORBIDDEN / 10

  def path(left: Array, noise: Array) -> tuple[Array, tuple[Array, Array]]:
    left = jnp.where(left.any(-1, keepdims=True), left, allowed)
    noisy = jnp.where(left, logits + noise, -jnp.inf)
    active = noisy.argmax(-1)
    hard = _one_hot(active, logits)
    weights = _through(hard, jax.nn.softmax(noisy / temperature))
    return left & (hard == 0), (weights, active)

  shape = logits.shape[-1], *logits.shape
  noise = jax.random.gumbel(key, shape, logits.dtype)
  _, (weights, active) = lax.scan(path, allowed, noise)
  return Mix(weights, weights, Paths(active[..., None]))


DISCRETE: dict[str, DiscreteSampler] = {
  "gdas": gdas,
  "reinmax": reinmax,
  "gates": gates,
  "two_gates": two_gates,
}
