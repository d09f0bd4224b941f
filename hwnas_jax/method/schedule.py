"""Schedules: numbers that change with the progress of a search.

A temperature has to stay above 0: below it the most likely operation becomes
the least likely, silently, as in the published code of the simplex method
(docs/methods.md#temperature). So a schedule that can leave (0, inf) is refused.
"""

import math
from typing import Protocol

import jax.numpy as jnp

from hwnas_jax.core.types import Array


class Schedule(Protocol):
  """A number of the progress."""

  def __call__(self, progress: Array, /) -> Array:
    """progress [], in [0, 1] -> []."""


class MakeSchedule(Protocol):
  """A schedule between two values."""

  def __call__(self, start: float, end: float, /) -> Schedule:
    """Both above 0, else ValueError."""


def _require_positive(name: str, value: float) -> None:
  if not 0 < value < math.inf:
    raise ValueError(f"temperature.{name} must be in (0, inf), got {value}")


def linear(start: float, end: float) -> Schedule:
  """A straight line from `start` to `end`; both must be > 0."""
  _require_positive("start", start)
  _require_positive("end", end)
  return lambda progress: start + (end - start) * jnp.clip(progress, 0.0, 1.0)


def exponential(start: float, end: float) -> Schedule:
  """`start * (end / start) ** progress`; both must be > 0."""
  _require_positive("start", start)
  _require_positive("end", end)
  ratio = end / start
  return lambda progress: start * ratio ** jnp.clip(progress, 0.0, 1.0)


def fading(start: float) -> Schedule:
  """From `start` to 0, in a straight line, for the identity term."""
  return lambda progress: start * (1.0 - progress)


SCHEDULES: dict[str, MakeSchedule] = {
  "linear": linear,
  "exponential": exponential,
}
