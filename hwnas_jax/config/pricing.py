"""The prices of a search, its target, its rule and its limit of skips."""

import functools

import jax.numpy as jnp
import numpy as np

from hwnas_jax.config.fields import Config
from hwnas_jax.core import budget
from hwnas_jax.costs import counts
from hwnas_jax.costs.predict.predictor import Predictor
from hwnas_jax.costs.table import LatencyTable, base_ms, price_array
from hwnas_jax.derive import living, reach, shortlist
from hwnas_jax.derive.exact import Constraint
from hwnas_jax.method.penalty import PENALTIES
from hwnas_jax.method.state import CostTable
from hwnas_jax.spaces.rules import Rule
from hwnas_jax.spaces.spec import Space, Spec


def skip_cap(config: Config, space: Space) -> Constraint | None:
  """The limit that derive.max_skips sets; None where it sets none.

  Skips that win too many choices are how one-level and long searches collapse
  (P-DARTS, Chen et al. 2019, section 3.3.2, keeps two in a normal cell).

  Raises:
    ValueError: the space has no operation that skips.
  """
  if not config.derive.max_skips:
    return None
  if space.skip is None:
    raise ValueError(
      "derive.max_skips: this space has no operation that skips:"
      f" {', '.join(space.ops)}"
    )
  skips = np.zeros(space.shape)
  skips[:, space.ops.index(space.skip)] = 1.0
  return Constraint(space.skip, skips, 0.0, config.derive.max_skips)


def make_costs(
  config: Config, supernet: Spec, derived: Spec, table: LatencyTable | None
) -> CostTable:
  """The reference prices [E, O] and the base, by cost.name.

  Args:
    config: checked.
    supernet: for cost.name=paper, which counts its sites.
    derived: for all other costs, which price its shapes.
    table: the device's latency table, for cost.name=latency.

  Returns:
    ms for latency, else counts.
  """
  if config.cost.name == "paper":
    space = supernet.space()
    num_sites = [[len(sites) for sites in row] for row in space.sites]
    return CostTable(jnp.asarray(num_sites, jnp.float32), jnp.zeros(()))
  space = derived.space()
  if config.cost.name in counts.COUNTS:
    costs = counts.site_costs(space, counts.COUNTS[config.cost.name])
    array = jnp.asarray(space.cost_array(costs), jnp.float32)
    return CostTable(array, jnp.asarray(space.base_cost(costs), jnp.float32))
  assert table is not None
  return CostTable(
    jnp.asarray(price_array(table, space)),
    jnp.asarray(base_ms(table, space), jnp.float32),
  )


def require_predictor(
  name: str, predictor: Predictor, derived: Spec, raw: np.ndarray
) -> None:
  """Refuses a predictor of another table or space.

  Args:
    name: cost.predictor.
    predictor: replaces the table's sum in a search.
    derived: the networks' dimensions.
    raw: [E, O] ms of the search's table, before its calibration.

  Raises:
    ValueError: it was trained over another table, or for another space.
  """
  if predictor.graph != derived.graph() or not np.array_equal(
    predictor.reference, raw
  ):
    raise ValueError(
      f"cost.predictor={name} was trained with another table than"
      " latency.table, or for another space: train one for this table with"
      " `python -m hwnas_jax.profile --predictor=...`"
    )


def make_reach(config: Config, space: Space, costs: CostTable) -> reach.Reach:
  """The smallest, typical and largest latency of the space, by the table."""
  reference = np.asarray(costs.reference)
  return reach.reach(space, reference, float(costs.base), config.derive.rule)


def make_target_ms(
  config: Config, space: Space, costs: CostTable
) -> float | None:
  """The target of the penalty in ms; None if it has none.

  Raises:
    ValueError: no architecture of the space has that latency.
  """
  if not PENALTIES[config.penalty.name].targeted:
    return None
  reference, base = np.asarray(costs.reference), float(costs.base)
  low, high = reach.bounds_ms(space, reference, base, config.derive.rule)
  wanted = budget.parse(config.penalty.target, "penalty.target")
  target_ms = budget.to_ms(wanted, high)
  if not low <= target_ms <= high:
    raise ValueError(
      f"penalty.target={wanted} is {target_ms:.4g} ms, out of reach: this"
      f" space's architectures take {low:.4g} ms ({low / high:.1%}) to"
      f" {high:.4g} ms by this table"
    )
  # A mix may be faster than any architecture.
  least = base + np.where(space.allowed(), reference, np.inf).min(1).sum()
  above_ms = PENALTIES[config.penalty.name].above_ms
  if above_ms and least <= above_ms:
    raise ValueError(
      f"penalty.name={config.penalty.name} needs latencies above"
      f" {above_ms:g} ms, and a mix can have {least:.3g} ms: use another"
      " penalty or a larger latency.batch_size"
    )
  return target_ms


def make_rule(
  config: Config, net: Spec, costs: CostTable, target_ms: float | None
) -> Rule:
  """What turns logits [E, O] into a genotype: derive.rule, with exceptions.

  Where its network would be dead, it is the most likely living architecture.
  With a penalty that hits its target, it is the most likely architecture just
  below the target: the plain rule is often one change of a choice off. With
  derive.max_skips, it is the most likely architecture with so few skips.
  """
  name, cap = config.derive.rule, skip_cap(config, net.space())
  if cap is not None:
    return functools.partial(shortlist.capped, rule=name, cap=cap)
  if not PENALTIES[config.penalty.name].hits_target:
    return functools.partial(living.derive, net, name)
  assert target_ms is not None
  reference, base = np.asarray(costs.reference), float(costs.base)
  timed = Constraint("latency", reference, base, target_ms)
  return functools.partial(shortlist.aim, rule=name, timed=timed)
