"""Conditions: their distributions, and their features for a controller.

A condition is a point of the simplex, the relative prices of the K priced
operations, and a scale, how much cost matters (docs/methods.md#condition).
"""

import dataclasses
import functools
import math
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from hwnas_jax.core.types import Array, Condition

# Of the log scale as a feature: wide enough that the two ends of the scale
# are gated to different pivots.
REACH = 4.0


class DrawCondition(Protocol):
  """A random condition, or one of each device."""

  def __call__(self, key: Array, /) -> Condition:
    """A typed key -> Condition(simplex [K], scale [])."""


class Features(Protocol):
  """A condition as the controller reads it."""

  def __call__(self, condition: Condition, /) -> Array:
    """Condition -> [num_features]."""


class Cover(Protocol):
  """Features that are spread over all conditions."""

  def __call__(self, keys: Array, /) -> Array:
    """typed keys [n] -> features [n, num_features] of n conditions."""


class Weight(Protocol):
  """How much the controller's gradient counts under a condition."""

  def __call__(self, condition: Condition, /) -> Array:
    """Condition -> []."""


def _alike(condition: Condition) -> Array:
  return jnp.ones_like(condition.scale)


def _less_with_scale(condition: Condition) -> Array:
  # Adam normalises a gradient's mean size, not its variation: unweighted, the
  # conditions with a large scale would drown the cross-entropy of the others.
  return 1.0 / (1.0 + condition.scale)


class Conditions(NamedTuple):
  """The distribution of a search's conditions; pure functions.

  num_features: length of a condition's features.
  draw: key -> a random Condition.
  features: Condition -> its features.
  cover: keys -> features of conditions that cover the distribution evenly.
  each: only of a distribution over D devices: key -> a Condition with a leading
    axis of D, one for each device. A step of the controller then uses them all.
  weight: of the controller's gradient under a condition. It is 1 where the
    scale is constant: a factor there would only change what decay is worth.
  """

  num_features: int
  draw: DrawCondition
  features: Features
  cover: Cover
  each: DrawCondition | None = None
  weight: Weight = _alike


def progress(features: Array) -> Array:
  """The position of a cone's features on its log scale, in [0, 1]."""
  return jnp.clip(features[-1] / (2 * REACH) + 0.5, 0.0, 1.0)


def _dirichlet(key: Array, size: int) -> Array:
  draws = jax.random.exponential(key, (size,))
  return draws / draws.sum()


def fixed(size: int, scale: float) -> Conditions:
  """Always the uniform prices and the same scale: a search for one network."""
  condition = Condition(jnp.full(size, 1.0 / size), jnp.asarray(scale, float))
  cover = lambda keys: jnp.tile(condition.simplex, (len(keys), 1))  # noqa: E731
  return Conditions(size, lambda key: condition, lambda c: c.simplex, cover)


def simplex(size: int) -> Conditions:
  """S ~ Dirichlet(1), scale 1, as in the simplex method."""

  def draw(key: Array) -> Condition:
    return Condition(_dirichlet(key, size), jnp.ones(()))

  cover = jax.vmap(lambda key: _dirichlet(key, size))
  return Conditions(size, draw, lambda c: c.simplex, cover)


def cone(size: int, low: float, high: float) -> Conditions:
  """S ~ Dirichlet(1), and a log-uniform scale in [low, high].

  The features are S and the log scale, mapped to [-REACH, REACH]. A few
  random scales would leave gaps of decades, so `cover` spaces them evenly.

  Raises:
    ValueError: not 0 < low < high.
  """
  if not 0 < low < high:
    raise ValueError(
      f"condition.low and condition.high must be 0 < low < high, got {low}"
      f" and {high}"
    )
  start, span = math.log(low), math.log(high / low)

  def draw(key: Array) -> Condition:
    simplex_key, scale_key = jax.random.split(key)
    log_scale = start + span * jax.random.uniform(scale_key)
    return Condition(_dirichlet(simplex_key, size), jnp.exp(log_scale))

  def features(condition: Condition) -> Array:
    middle = (jnp.log(condition.scale) - start) / span - 0.5
    return jnp.append(condition.simplex, 2 * REACH * middle)

  def cover(keys: Array) -> Array:
    points = jax.vmap(lambda key: _dirichlet(key, size))(keys)
    # Each in the middle of its share: at an end it would see half the draws.
    shares = (jnp.arange(len(keys)) + 0.5) / len(keys)
    return jnp.column_stack([points, REACH * (2 * shares - 1)])

  return Conditions(size + 1, draw, features, cover, weight=_less_with_scale)


def scale(size: int, low: float, high: float) -> Conditions:
  """The uniform prices and a log-uniform scale, as in DARTS-CC."""
  whole = cone(size, low, high)
  uniform = jnp.full(size, 1.0 / size)
  return whole._replace(
    draw=lambda key: whole.draw(key)._replace(simplex=uniform),
    cover=lambda keys: whole.cover(keys).at[:, :size].set(1.0 / size),
  )


def draw_devices(key: Array, count: int, size: int) -> Array:
  """Prices [D, K] of D = `count` devices: uniform ones, then random ones."""
  drawn = jax.vmap(lambda k: _dirichlet(k, size))(jax.random.split(key, count))
  return drawn.at[0].set(1.0 / size)


def devices(points: Array, low: float, high: float) -> Conditions:
  """The prices of a random device and a log-uniform scale, as in MODNAS.

  Args:
    points: [D, K] the devices' prices, on the simplex.
    low: least scale.
    high: largest scale.
  """
  count, size = points.shape
  whole = cone(size, low, high)

  def draw(key: Array) -> Condition:
    device_key, scale_key = jax.random.split(key)
    device = jax.random.randint(device_key, (), 0, count)
    return whole.draw(scale_key)._replace(simplex=points[device])

  def each(key: Array) -> Condition:
    drawn = jax.vmap(whole.draw)(jax.random.split(key, count))
    return drawn._replace(simplex=points)

  return whole._replace(draw=draw, each=each)


@dataclasses.dataclass(frozen=True)
class ConditionSettings:
  """The numbers that a distribution of conditions may read.

  size: K, the number of priced operations.
  low, high: range of the scale; a fixed scale is `high`.
  num_devices: how many devices are drawn.
  key: the key of that draw.
  """

  size: int
  low: float
  high: float
  num_devices: int
  key: Array


class MakeConditions(Protocol):
  """Makes a distribution of conditions."""

  def __call__(self, settings: ConditionSettings, /) -> Conditions:
    """Its numbers -> the distribution."""


class ConditionKind(NamedTuple):
  """How conditions are made, and the traits that a config is checked by.

  scaled: the scale varies over [low, high].
  single: all draws are the same condition, so the search gives one network.
  several_devices: it has `Conditions.each`, which needs a bilevel search.
  """

  make: MakeConditions
  scaled: bool = False
  single: bool = False
  several_devices: bool = False


def _make_devices(settings: ConditionSettings) -> Conditions:
  points = draw_devices(settings.key, settings.num_devices, settings.size)
  return devices(points, settings.low, settings.high)


_documented = functools.update_wrapper  # (make, function): with its docstring

# Read when it is used: an entry that is added at run time counts.
CONDITIONS: dict[str, ConditionKind] = {
  "fixed": ConditionKind(
    _documented(lambda s: fixed(s.size, s.high), fixed), single=True
  ),
  "simplex": ConditionKind(_documented(lambda s: simplex(s.size), simplex)),
  "cone": ConditionKind(
    _documented(lambda s: cone(s.size, s.low, s.high), cone), scaled=True
  ),
  "scale": ConditionKind(
    _documented(lambda s: scale(s.size, s.low, s.high), scale), scaled=True
  ),
  "devices": ConditionKind(
    _documented(_make_devices, devices), scaled=True, several_devices=True
  ),
}
