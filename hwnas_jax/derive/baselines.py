"""Baselines of a member: networks that cost the same and were not searched.

A search is worth running if its networks are more accurate than the largest
that cost no more, and than random ones of the same cost.
"""

import numpy as np

from hwnas_jax.core.types import Genotype
from hwnas_jax.derive import capacity
from hwnas_jax.derive.exact import Constraint, at_least, best, spent
from hwnas_jax.spaces.spec import Spec

# Architectures that `largest` compares in a space with `none`. The integer
# program counts operations that a `none` cuts off; without them another one of
# these may be the largest.
POOL = 10
TRIES = 20  # draws in a band
# Where a random architecture's cost may lie, in shares of the member's: from
# just below it to anywhere, as far as the space has others.
BANDS = ((0.95, 1.0), (0.9, 1.05), (0.8, 1.2), (0.5, 2.0), (0.0, np.inf))


def spread(size: int, count: int) -> list[int]:
  """`count` indices from 0 to size - 1, evenly spread, both ends included.

  A single one is the middle. With more than `size` some are repeated.

  >>> spread(8, 3), spread(3, 1), spread(2, 4)
  ([0, 4, 7], [1], [0, 0, 1, 1])
  """
  if count == 1:
    return [(size - 1) // 2]
  return [round(i * (size - 1) / (count - 1)) for i in range(count)]


def largest(
  net: Spec, rule: str, cost: Constraint, *others: Constraint
) -> Genotype | None:
  """The architecture of most multiply-accumulates that keeps the budgets.

  Of equally large ones it is the one of lower cost. Its output depends on its
  input.

  Args:
    net: the networks' dimensions.
    rule: a name in `rules.RULES`.
    cost: the first budget, such as a member's latency.
    *others: further budgets.

  Returns:
    A genotype; None where none fits.
  """
  count = POOL if "none" in net.ops else 1
  genotypes = capacity.largest(net, rule, [cost, *others], count)
  return next((g for g in genotypes if net.alive(g)), None)


def random(
  net: Spec,
  rule: str,
  constraints: tuple[Constraint, ...],
  taken: set[Genotype],
  rng: np.random.Generator,
) -> Genotype | None:
  """A random architecture that costs what a member costs.

  It is the one of largest random score that lies in the band: a Gumbel variable
  for each operation of each choice. Where one budget binds, that samples each
  choice with probabilities exp(-multiplier * cost), which is how the
  architectures in a narrow band are distributed, if all are equally likely and
  the choices many (docs/methods.md#baselines).

  Args:
    net: the networks' dimensions.
    rule: a name in `rules.RULES`: the rule could give the architecture.
    constraints: the cost, whose budget is the member's own cost; then further
      budgets.
    taken: architectures to differ from, as `capacity.reaching` gives them.
    rng: draws the scores.

  Returns:
    A genotype whose output depends on its input, in the first of BANDS that
    has one; None where no band has.
  """
  cost, *others = constraints
  for low, high in BANDS:
    least = at_least(cost, low)
    most = cost._replace(budget=high * cost.budget)
    for _ in range(TRIES):
      scores = rng.gumbel(size=net.space().shape)
      drawn = best(net.space(), rule, scores, [most, least, *others])
      if not drawn:
        break
      living = capacity.reaching(net, drawn[0])
      # What does not reach the output costs nothing.
      fits = spent(cost, living) >= low * cost.budget
      if fits and net.alive(drawn[0]) and living not in taken:
        return drawn[0]
  return None
