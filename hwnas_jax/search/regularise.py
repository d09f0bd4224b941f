"""How far a search has made up its mind."""

import jax

from hwnas_jax.core.types import Array


def entropy(logits: Array) -> Array:
  """Mean entropy of the choices of logits [E, O], in nats."""
  probabilities = jax.nn.softmax(logits)
  terms = jax.scipy.special.xlogy(probabilities, probabilities)
  return -terms.sum(-1).mean()
