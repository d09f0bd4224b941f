"""Rules: from logits to an architecture, as a mask that a step can read too.

A mask is [E, O], one-hot in the rows that are kept and zero in the others
(docs/methods.md#rules).
"""

from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.core.types import ABSENT, FORBIDDEN, Array, Genotype
from hwnas_jax.spaces.spec import Space


class Mask(Protocol):
  """A rule as a function of arrays; it can be traced."""

  def __call__(self, space: Space, logits: Array, /) -> Array:
    """(space, logits [E, O]) -> mask [E, O]."""


class Rule(Protocol):
  """What turns logits into an architecture."""

  def __call__(self, space: Space, logits: np.ndarray, /) -> Genotype:
    """(space, logits [E, O]) -> genotype."""


def argmax_mask(space: Space, logits: Array) -> Array:
  """The most likely operation of every choice, `none` included."""
  return jax.nn.one_hot(jnp.argmax(logits, -1), space.shape[1])


def top_k_mask(space: Space, logits: Array) -> Array:
  """DARTS's rule: `space.keep` edges a node, never `none`.

  Liu et al. 2019, section 2.4. An edge's score is its largest probability
  except that of `none`, which still takes part in the softmax. The first of
  equal edges is kept.
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


RULES: dict[str, Rule] = {"argmax": argmax, "top_k": top_k}


def random(space: Space, rule: str, rng: np.random.Generator) -> Genotype:
  """A random architecture of those that a rule can give.

  Args:
    space: the space.
    rule: a name in RULES.
    rng: advances by one draw of [E, O].
  """
  noise = rng.gumbel(size=space.shape)
  return RULES[rule](space, np.where(space.allowed(), noise, FORBIDDEN))
