"""From logits to a genotype, as a mask that a compiled step can read too.

A mask is [E, O], one-hot in the rows that are kept and zero in the others.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.core.types import ABSENT, FORBIDDEN, Array, Genotype
from hwnas_jax.spaces.spec import Space

# (space, logits[E, O]) -> mask[E, O]
Mask = Callable[[Space, Array], Array]


def argmax_mask(space: Space, logits: Array) -> Array:
  """The likeliest operation of every choice, `none` included."""
  return jax.nn.one_hot(jnp.argmax(logits, -1), space.shape[1])


def top_k_mask(space: Space, logits: Array) -> Array:
  """DARTS's rule (research 1.4): `space.keep` edges a node, never `none`.

  An edge's score is its largest softmax weight but that of `none`, which
  still takes its part in the softmax. The first of equal edges wins.
  """
  weights = jax.nn.softmax(logits)
  if "none" in space.ops:
    weights = weights.at[:, space.ops.index("none")].set(-1.0)
  score = weights.max(-1)
  group, order = np.asarray(space.group), np.arange(len(space.group))
  same_node = group[:, None] == group[None, :]
  earlier = order[:, None] > order[None, :]
  wins = (score[:, None] < score[None, :]) | (
    (score[:, None] == score[None, :]) & earlier
  )
  kept = (same_node & wins).sum(1) < space.keep
  return argmax_mask(space, weights) * kept[:, None]


MASKS: dict[str, Mask] = {"argmax": argmax_mask, "top_k": top_k_mask}


def _genotype(mask: Mask, space: Space, logits: np.ndarray) -> Genotype:
  # Compiled, a call takes 0.4 ms; operation by operation some 2 ms.
  rows = np.asarray(jax.jit(mask, static_argnums=0)(space, logits))
  return tuple(int(r.argmax()) if r.any() else ABSENT for r in rows)


def argmax(space: Space, logits: np.ndarray) -> Genotype:
  """The genotype of `argmax_mask`."""
  return _genotype(argmax_mask, space, logits)


def top_k(space: Space, logits: np.ndarray) -> Genotype:
  """The genotype of `top_k_mask`."""
  return _genotype(top_k_mask, space, logits)


RULES = {"argmax": argmax, "top_k": top_k}


def random(space: Space, rule: str, rng: np.random.Generator) -> Genotype:
  """A random architecture of those that a rule can give."""
  noise = rng.gumbel(size=space.shape)
  return RULES[rule](space, np.where(space.allowed(), noise, FORBIDDEN))
