"""Prices: what an operation costs at a choice, under a condition.

A cost is always the sum of price[E, O] * mix[E, O]. A price is a pure function
of a reference table [E, O] and a condition, so the table stays an argument of
the compiled step (docs/methods.md#price-and-cost).
"""

from collections.abc import Sequence
from typing import Protocol

import jax.numpy as jnp
import numpy as np

from hwnas_jax.core.types import Array, Condition


class Price(Protocol):
  """The prices under a condition."""

  def __call__(self, reference: Array, condition: Condition, /) -> Array:
    """(reference [E, O], condition) -> price [E, O]."""


def priced_columns(reference: np.ndarray) -> tuple[int, ...]:
  """Columns of reference [E, O] that cost something at some choice."""
  columns = np.flatnonzero(np.asarray(reference).max(0) > 0)
  return tuple(int(c) for c in columns)


def _row(simplex: Array, columns: Sequence[int], num_ops: int) -> Array:
  """The simplex's coordinates at their columns, zero elsewhere: [1, O]."""
  row = jnp.zeros(num_ops).at[np.asarray(columns)].set(simplex)
  return row[None, :]


def paper(columns: Sequence[int], kappa: float) -> Price:
  """kappa * S_o at every site, as the simplex method (Firsov, Bakhteev 2025).

  Args:
    columns: the K priced operations.
    kappa: factor of all prices.

  Returns:
    A price whose reference counts the sites of each choice.
  """

  def price(reference: Array, condition: Condition) -> Array:
    row = _row(condition.simplex, columns, reference.shape[1])
    return kappa * row * reference

  return price


def cone(columns: Sequence[int]) -> Price:
  """scale * K * S_o * R / D, D the cost of the most expensive architecture.

  R is the reference, such as the measured table in ms. At the uniform S the
  cost is the reference device's latency, without the base, as a fraction of
  the most expensive architecture's, times the scale.

  Args:
    columns: the K priced operations.
  """

  def price(reference: Array, condition: Condition) -> Array:
    row = _row(condition.simplex, columns, reference.shape[1])
    most_expensive = reference.max(1).sum()
    scaled = condition.scale * len(columns) * row * reference
    return scaled / most_expensive

  return price
