"""Composition of what a search prices: tables, targets, penalties, rules."""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from hwnas_jax.core import budget
from hwnas_jax.core.types import Genotype
from hwnas_jax.costs import counts
from hwnas_jax.costs.predict import predictor
from hwnas_jax.costs.predict.nets import NETWORKS
from hwnas_jax.costs.predict.predictor import Predictor
from hwnas_jax.costs.table import LatencyTable, base_ms, price_array, raw_costs
from hwnas_jax.derive import reach, shortlist
from hwnas_jax.derive.exact import Constraint
from hwnas_jax.method.penalty import PENALTIES, TARGETED
from hwnas_jax.method.state import CostTable
from hwnas_jax.spaces.mobile import SKIPS
from hwnas_jax.spaces.rules import MASKS, RULES
from hwnas_jax.spaces.spec import Space, Spec


def skip_of(space: Space) -> str | None:
  """The operation of a space that only hands on its input, if it has one."""
  found = [op for op in space.ops if op in ("skip_connect", *SKIPS)]
  return found[0] if found else None


def skip_cap(config: ConfigDict, space: Space) -> Constraint | None:
  """What derive.max_skips says, None where it says nothing.

  Skips that win too many choices are how one-level and long searches collapse
  (P-DARTS, Chen et al. 2019, section 3.3.2, keeps two in a normal cell).
  """
  if not config.derive.max_skips:
    return None
  skip = skip_of(space)
  if skip is None:
    raise ValueError(
      "derive.max_skips: this space has no operation that skips:"
      f" {', '.join(space.ops)}"
    )
  skips = np.zeros(space.shape)
  skips[:, space.ops.index(skip)] = 1.0
  return Constraint(skip, skips, 0.0, config.derive.max_skips)


def make_reference(
  config: ConfigDict, net: Spec, derived: Spec, table: LatencyTable | None
) -> CostTable:
  """What the step is given: measured ms; parameters, MACs or sites, counted."""
  if config.cost.name == "paper":
    space = net.space()
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
    _load_predictor(config, derived, table),
  )


def _load_predictor(
  config: ConfigDict, derived: Spec, table: LatencyTable
) -> Predictor | None:
  """What cost.predictor names.

  Raises:
    FileNotFoundError, ValueError: see `predictor.load`; or it is not over
      this table.
  """
  path = config.cost.predictor
  if not path or path in NETWORKS:  # a kind: not trained yet
    return None
  found = predictor.load(path)
  over = derived.space().cost_array(raw_costs(table))
  if found.graph != derived.graph() or not np.array_equal(
    found.reference, over
  ):
    raise ValueError(
      f"cost.predictor={path} was trained over another table than"
      f" {table.fingerprint}'s, or for another space: train one with"
      " `python -m hwnas_jax.profile --predictor=...`"
    )
  return found


def make_reach(
  config: ConfigDict, space: Space, reference: CostTable
) -> reach.Reach:
  """What the space reaches on the table that `reference` was read from."""
  costs = np.asarray(reference.reference)
  return reach.reach(space, costs, float(reference.base), config.derive.rule)


def make_target_ms(
  config: ConfigDict, space: Space, reference: CostTable
) -> float | None:
  """The latency a search aims at, None where its penalty has no target.

  Raises:
    ValueError: no architecture of the space can have that latency.
  """
  if config.penalty.name not in TARGETED:
    return None
  costs, base = np.asarray(reference.reference), float(reference.base)
  low, high = reach.bounds_ms(space, costs, base, config.derive.rule)
  wanted = budget.parse(config.penalty.target, "penalty.target")
  target = budget.to_ms(wanted, high)
  if not low <= target <= high:
    raise ValueError(
      f"penalty.target={wanted} is {target:.4g} ms, out of reach: this space's"
      f" architectures take {low:.4g} ms ({low / high:.1%}) to {high:.4g} ms by"
      " this table"
    )
  # Of a mix: it may drop every choice.
  cheapest = base + np.where(space.allowed(), costs, np.inf).min(1).sum()
  if config.penalty.name == "log_product" and cheapest <= 1:
    raise ValueError(
      "penalty.name=log_product needs latencies above 1 ms, a mix can have"
      f" {cheapest:.3g} ms: use another penalty or a larger latency.batch_size"
    )
  return target


def make_rule(
  config: ConfigDict, space: Space, reference: CostTable
) -> Callable[[Space, np.ndarray], Genotype]:
  """What turns logits [E, O] into a genotype.

  derive.rule; but a search by dual ascent has to take its target, and a rule
  that is one jump of a choice off does not; and derive.max_skips is kept.
  """
  name, cap = config.derive.rule, skip_cap(config, space)
  if cap is not None:
    return functools.partial(shortlist.capped, rule=name, cap=cap)
  if config.penalty.name != "dual_ascent":
    return RULES[name]
  target_ms = make_target_ms(config, space, reference)
  assert target_ms is not None
  costs, base = np.asarray(reference.reference), float(reference.base)
  timed = Constraint("latency", costs, base, target_ms)
  return functools.partial(shortlist.aim, rule=name, timed=timed)


def make_penalty(
  config: ConfigDict, space: Space, reference: CostTable
) -> dict[str, Any]:
  """The fields of Parts that price a mix."""
  make, strength = PENALTIES[config.penalty.name], config.penalty.strength
  target = make_target_ms(config, space, reference)
  if target is None:
    return {"penalty": make()}
  mask = functools.partial(MASKS[config.derive.rule], space)
  own = {"strength": strength} if strength else {}
  return {"penalty": make(target, **own), "derived": mask}
