"""The capacity shortlist: the largest architectures that keep the budgets.

Size is counted in multiply-accumulates of what reaches the output.
"""

from collections.abc import Sequence

import numpy as np

from hwnas_jax.core.types import ABSENT, Genotype
from hwnas_jax.costs import counts
from hwnas_jax.derive.exact import Constraint, in_order, spent
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
  first, such as the lower predicted latency. Those that compute the same
  function count once. The search counts what does not reach the output too, so
  it goes on until nothing that follows can be larger.

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
  all_macs = Constraint("macs", size, 0.0, np.inf)
  ties = np.asarray(constraints[0].cost, float)
  scores = size / max(size.max(), 1.0) - _TIE * ties / max(ties.max(), 1e-12)
  # (-MACs, cost, genotype) by function.
  found: dict[Genotype, tuple[float, float, Genotype]] = {}
  for genotype in in_order(space, rule, scores, constraints):
    rows = sorted(found.values())[:count]
    if len(rows) == count:
      (least, _, last), most = rows[-1], spent(all_macs, genotype)
      # What follows is no larger. It may be a cheaper form of the last one, if
      # that has operations which do not reach the output.
      if most < -least or most == -least == spent(all_macs, last):
        break
    function = reaching(net, genotype)
    cost = spent(constraints[0], genotype)
    row = -spent(all_macs, function), cost, genotype
    found[function] = min(row, found.get(function, row))
  return [genotype for *_, genotype in sorted(found.values())[:count]]
