"""Prices: what an operation costs at a choice, under a condition.

A cost is always the sum of price[E, O] * priced[E, O]; a price is a pure
function of a reference table [E, O] and a condition, so the table stays an
argument of the compiled step.
"""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np

from hwnas_jax.core.types import Array, Condition

# (reference[E, O], condition) -> price[E, O]
Price = Callable[[Array, Condition], Array]


def priced_columns(reference: np.ndarray) -> tuple[int, ...]:
  """Columns that cost something at some choice; the others are free."""
  columns = np.flatnonzero(np.asarray(reference).max(0) > 0)
  return tuple(int(c) for c in columns)


def _spread(simplex: Array, columns: Sequence[int], num_ops: int) -> Array:
  """The simplex's coordinates at their columns, zero elsewhere: [1, O]."""
  row = jnp.zeros(num_ops).at[np.asarray(columns)].set(simplex)
  return row[None, :]


def paper(columns: Sequence[int], kappa: float) -> Price:
  """kappa * S_o at every site (research 3.1, 3.2).

  The reference table counts the sites of a choice.
  """

  def price(reference: Array, condition: Condition) -> Array:
    row = _spread(condition.simplex, columns, reference.shape[1])
    return kappa * row * reference

  return price


def cone(columns: Sequence[int]) -> Price:
  """scale * K * S_o * R / D with D the dearest architecture's cost.

  R is the measured table in ms. At the uniform S the price is the reference
  device's latency as a fraction of the dearest architecture's, times scale.
  """

  def price(reference: Array, condition: Condition) -> Array:
    row = _spread(condition.simplex, columns, reference.shape[1])
    dearest = reference.max(1).sum()
    return condition.scale * len(columns) * row * reference / dearest

  return price
