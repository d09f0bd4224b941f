"""The entropy of logits: how undecided a search is."""

import jax

from hwnas_jax.core.types import Array


def entropies(logits: Array) -> Array:
  """Entropy of each choice of logits [..., E, O], in nats: [..., E]."""
  # Not xlogy: its gradient is NaN where a choice lacks an operation.
  terms = jax.nn.softmax(logits) * jax.nn.log_softmax(logits)
  return -terms.sum(-1)


def entropy(logits: Array) -> Array:
  """Mean entropy of the choices of logits [E, O], in nats: []."""
  return entropies(logits).mean()
