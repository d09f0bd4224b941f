"""Types that every layer shares.

Dimensions, everywhere in the package:
  B batch, H height, W width, C channels, E choices, O operations,
  K priced operation types, G controller groups.
"""

from typing import Any, NamedTuple

import jax

Array = jax.Array
Params = Any  # a pytree of arrays

# An architecture: one column for each choice, or ABSENT where the rule dropped
# the choice (`top_k`).
Genotype = tuple[int, ...]
ABSENT = -1

# The logit of an operation that a choice does not offer. exp(FORBIDDEN) is 0;
# multiplied by 0 it gives 0, where -inf would give NaN.
FORBIDDEN = -1e9


class Condition(NamedTuple):
  """The input of a controller: relative prices and a scale.

  simplex: [K] a point of the simplex, one coordinate for each priced operation.
  scale: [] how much cost matters against cross-entropy, > 0.
  """

  simplex: Array
  scale: Array


class Paths(NamedTuple):
  """Which operations a supernet runs, where it does not run all of them.

  active: int32[E, A], the A different operations that run at each choice.
  scored: int32[E, J], the operations whose mix weights get a gradient. They
    run in the backward pass alone (ProxylessNAS's gates). None stands for the
    active ones.
  absent: bool[E, A], active operations in whose place nothing runs; None if
    there are none.
  """

  active: Array
  scored: Array | None = None
  absent: Array | None = None


class Mix(NamedTuple):
  """What a sampler makes of logits.

  weights: [E, O], or [B, E, O] with one mix for each image; what the supernet
    multiplies outputs with. [E, O] where there are paths.
  priced: [E, O], the mix that the cost is computed from.
  paths: the operations that run; None runs all of them.
  """

  weights: Array
  priced: Array
  paths: Paths | None = None
