"""From logits to a genotype."""

import numpy as np

from hwnas_jax.core.types import ABSENT, Genotype
from hwnas_jax.spaces.spec import Space


def argmax(space: Space, logits: np.ndarray) -> Genotype:
  """The likeliest operation of every choice, `none` included."""
  del space
  return tuple(int(o) for o in np.argmax(logits, -1))


def top_k(space: Space, logits: np.ndarray) -> Genotype:
  """DARTS's rule (research 1.4): `space.keep` edges a node, never `none`.

  An edge's score is its largest softmax weight but that of `none`, which
  still takes its part in the softmax.
  """
  weights = np.exp(logits - logits.max(-1, keepdims=True))
  weights /= weights.sum(-1, keepdims=True)
  if "none" in space.ops:
    weights[:, space.ops.index("none")] = -1.0
  score, best = weights.max(-1), weights.argmax(-1)
  group = np.asarray(space.group)
  genotype = [ABSENT] * len(group)
  for node in np.unique(group):
    edges = np.flatnonzero(group == node)
    ranked = edges[np.argsort(-score[edges], kind="stable")]
    for edge in ranked[: space.keep]:
      genotype[edge] = int(best[edge])
  return tuple(genotype)


RULES = {"argmax": argmax, "top_k": top_k}
