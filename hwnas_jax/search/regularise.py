"""Regularisers of the logits, and how far a search has made up its mind."""

from collections.abc import Callable

import jax

from hwnas_jax.core.schedule import Schedule
from hwnas_jax.core.types import Array


def entropy(logits: Array) -> Array:
  """Mean entropy of the choices of logits [E, O], in nats."""
  probabilities = jax.nn.softmax(logits)
  terms = jax.scipy.special.xlogy(probabilities, probabilities)
  return -terms.sum(-1).mean()


def entropy_penalty(strength: Schedule) -> Callable[[Array, Array], Array]:
  """(logits, progress) -> strength(progress) * entropy.

  A strength above 0 sharpens the choices, one below keeps them open.
  """
  return lambda logits, progress: strength(progress) * entropy(logits)
