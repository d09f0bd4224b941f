"""Types shared by every layer.

Dimensions, everywhere in the package:
  B batch, H height, W width, C channels, E choices, O operations,
  K priced operation types, G controller groups.
"""

from typing import Any, NamedTuple

import jax

Array = jax.Array
Params = Any  # a pytree of arrays

# One operation index a choice; ABSENT where the choice is not kept (top-2).
Genotype = tuple[int, ...]
ABSENT = -1

# The logit of an operation that a choice lacks: exp(FORBIDDEN) is 0, and unlike
# -inf it gives no NaN where it is multiplied by 0.
FORBIDDEN = -1e9


class Condition(NamedTuple):
  """What the controller is asked for: relative prices and their scale.

  simplex: [K] a point of the simplex, one coordinate a priced operation.
  scale: [] how much latency matters, > 0.
  """

  simplex: Array
  scale: Array


class Paths(NamedTuple):
  """Which operations a supernet runs, where it does not run all of them.

  active: int32[E, A], those that run at each choice, all different.
  scored: int32[E, J] or None: those whose weights get a gradient; they run in
    the backward pass alone (ProxylessNAS's gates). None: the active ones.
  """

  active: Array
  scored: Array | None = None


class Mix(NamedTuple):
  """What a sampler makes of logits.

  weights: [E, O] or [B, E, O], what the supernet multiplies with; [E, O]
    where there are paths.
  priced: [E, O], what the cost reads.
  paths: what runs; None is everything.
  """

  weights: Array
  priced: Array
  paths: Paths | None = None
