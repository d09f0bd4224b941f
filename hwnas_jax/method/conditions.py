"""What a search draws its conditions from, and how a controller reads them."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from hwnas_jax.core.types import Array, Condition

# Far enough apart that the ends of the scale are gated to different pivots.
REACH = 4.0


class Conditions(NamedTuple):
  """draw(key) -> Condition; features(Condition) -> [num_features].

  cover(keys[n]) -> [n, num_features]: features of n conditions over the law.
  each(key) -> a Condition with a leading axis: one of every device, where the
    law is over some; the controller's step serves them all.
  """

  num_features: int
  draw: Callable[[Array], Condition]
  features: Callable[[Condition], Array]
  cover: Callable[[Array], Array]
  each: Callable[[Array], Condition] | None = None


def progress(features: Array) -> Array:
  """Where on a cone's log scale features [num_features] are, in [0, 1]."""
  return jnp.clip(features[-1] / (2 * REACH) + 0.5, 0.0, 1.0)


def _dirichlet(key: Array, size: int) -> Array:
  draws = jax.random.exponential(key, (size,))
  return draws / draws.sum()


def fixed(size: int, scale: float) -> Conditions:
  """Always the uniform prices at one scale: a search for one network."""
  condition = Condition(jnp.full(size, 1.0 / size), jnp.asarray(scale, float))
  cover = lambda keys: jnp.tile(condition.simplex, (len(keys), 1))  # noqa: E731
  return Conditions(size, lambda key: condition, lambda c: c.simplex, cover)


def simplex(size: int) -> Conditions:
  """S ~ Dirichlet(1), scale 1 (research 3.1)."""

  def draw(key: Array) -> Condition:
    return Condition(_dirichlet(key, size), jnp.ones(()))

  cover = jax.vmap(lambda key: _dirichlet(key, size))
  return Conditions(size, draw, lambda c: c.simplex, cover)


def cone(size: int, low: float, high: float) -> Conditions:
  """S ~ Dirichlet(1) times a log-uniform scale in [low, high].

  The features are S and the log scale, mapped to [-REACH, REACH]. Drawn
  scales leave gaps of decades between a few, so `cover` spaces them evenly.

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
    # In the middle of its share each: at an end it would see half the draws.
    shares = (jnp.arange(len(keys)) + 0.5) / len(keys)
    return jnp.column_stack([points, REACH * (2 * shares - 1)])

  return Conditions(size + 1, draw, features, cover)


def scale(size: int, low: float, high: float) -> Conditions:
  """The uniform prices times a log-uniform scale: DARTS-CC's (research 2.2)."""
  whole = cone(size, low, high)
  uniform = jnp.full(size, 1.0 / size)
  return whole._replace(
    draw=lambda key: whole.draw(key)._replace(simplex=uniform),
    cover=lambda keys: whole.cover(keys).at[:, :size].set(1.0 / size),
  )


def draw_devices(key: Array, count: int, size: int) -> Array:
  """Prices [D, K] of devices: the reference itself, then drawn ones."""
  drawn = jax.vmap(lambda k: _dirichlet(k, size))(jax.random.split(key, count))
  return drawn.at[0].set(1.0 / size)


def devices(points: Array, low: float, high: float) -> Conditions:
  """Some devices' prices times a log-uniform scale (MODNAS; research 8.1).

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
