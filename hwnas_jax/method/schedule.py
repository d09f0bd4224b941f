"""Schedules of the run's progress in [0, 1], validated before they run.

The published code of the simplex method lets its temperature fall below zero
(research: a linear schedule run for twice its epochs), which silently turns
the arg-max into an arg-min. Here a schedule that can leave (0, inf) is refused.
"""

import math
from collections.abc import Callable

import jax.numpy as jnp

from hwnas_jax.core.types import Array

Schedule = Callable[[Array], Array]


def _check_positive(name: str, value: float) -> None:
  if not 0 < value < math.inf:
    raise ValueError(f"temperature.{name} must be in (0, inf), got {value}")


def linear(start: float, end: float) -> Schedule:
  """A straight line from `start` to `end`; both must be > 0."""
  _check_positive("start", start)
  _check_positive("end", end)
  return lambda progress: start + (end - start) * jnp.clip(progress, 0.0, 1.0)


def exponential(start: float, end: float) -> Schedule:
  """`start * (end / start) ** progress`; both must be > 0."""
  _check_positive("start", start)
  _check_positive("end", end)
  ratio = end / start
  return lambda progress: start * ratio ** jnp.clip(progress, 0.0, 1.0)


SCHEDULES = {"linear": linear, "exponential": exponential}
