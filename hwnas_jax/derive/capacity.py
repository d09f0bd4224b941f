"""The capacity shortlist: the largest architectures that keep the budgets.

Size is counted in multiply-accumulates of what reaches the output.
"""

from collections.abc import Sequence

import numpy as np

from hwnas_jax.core.types import ABSENT, Genotype
from hwnas_jax.costs import counts
from hwnas_jax.derive.exact import Constraint, best, spent
from hwnas_jax.spaces.spec import Spec

COUNT = 20  # of a query's candidates
_TIE = 1e-6  # of the largest operation, what the slowest one loses


def macs(net: Spec, genotypes: Sequence[Genotype]) -> np.ndarray:
  """Multiply-accumulates of an image, of what reaches the output: [N]."""
  costs = counts.site_costs(net.space(), counts.macs)
  return np.asarray([counts.genotype_cost(net, g, costs) for g in genotypes])


def reaching(net: Spec, genotype: Genotype) -> Genotype:
  """The architecture with ABSENT where an operation does not run."""
  pairs = zip(genotype, net.live(genotype), strict=True)
  return tuple(op if runs else ABSENT for op, runs in pairs)


def largest(
  net: Spec, rule: str, constraints: Sequence[Constraint], count: int
) -> list[Genotype]:
  """The architectures of most multiply-accumulates that keep every budget.

  Of equally large ones the one that costs less by the first constraint comes
  first, such as the lower predicted latency. The integer program counts what
  does not reach the output too; its `count` best are then put in order of what
  does, and those that compute the same function count once.

  Args:
    net: the networks' dimensions.
    rule: a name in `rules.RULES`.
    constraints: budgets over additive costs, the latency first; one at least.
    count: how many are asked for.

  Returns:
    At most `count` genotypes, largest first; [] where none fits.
  """
  space = net.space()
  size = space.cost_array(counts.site_costs(space, counts.macs)).astype(float)
  ties = np.asarray(constraints[0].cost, float)
  scores = size / max(size.max(), 1.0) - _TIE * ties / max(ties.max(), 1e-12)
  genotypes = best(space, rule, scores, constraints, count)
  sizes = macs(net, genotypes)
  costs = [spent(constraints[0], g) for g in genotypes]
  order = sorted(range(len(genotypes)), key=lambda i: (-sizes[i], costs[i]))
  functions: dict[Genotype, Genotype] = {}
  for i in order:
    functions.setdefault(reaching(net, genotypes[i]), genotypes[i])
  return list(functions.values())
