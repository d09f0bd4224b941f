"""What a step draws: conditions, each with its samples and its examples.

With several conditions a step the batch is divided among them, and each has a
sample of its own. The step's gradient is the mean of theirs. On several devices
each runs its share of the conditions, and an all-reduce gives the mean.
"""

from typing import Any, NamedTuple, Protocol

import jax
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from hwnas_jax.core.types import Array, Condition
from hwnas_jax.method.conditions import Conditions


class Batch(NamedTuple):
  """images: [B, H, W, C], of config.precision. labels: int32[B]."""

  images: Array
  labels: Array


class Draw(NamedTuple):
  """A condition and what its gradients are made of; or K, by a leading axis.

  keys: typed keys, of the samples of the weights and of the controller.
  batches: of the weights and of the controller; None where none is read.
  """

  condition: Condition
  keys: tuple[Array, Array]
  batches: tuple[Batch | None, Batch | None]


class Gradients(Protocol):
  """Gradients under one condition."""

  def __call__(self, drawn: Draw, /) -> Any:
    """A Draw of one condition -> a pytree of means over its examples."""


def draw(
  conditions: Conditions,
  count: int,
  key: Array,
  keys: tuple[Array, Array],
  batches: tuple[Batch | None, Batch | None],
) -> Draw:
  """Draws `count` conditions, and divides keys and examples among them.

  Args:
    conditions: their distribution.
    count: K; 1 gives a Draw without the leading axis.
    key: of the conditions; typed.
    keys: of the samples.
    batches: of B examples; B is a multiple of K.
  """
  if count == 1:
    return Draw(conditions.draw(key), keys, batches)
  shares = jax.tree.map(lambda x: x.reshape(count, -1, *x.shape[1:]), batches)
  drawn = jax.vmap(conditions.draw)(jax.random.split(key, count))
  weights_keys, controller_keys = (jax.random.split(k, count) for k in keys)
  return Draw(drawn, (weights_keys, controller_keys), shares)


def first(drawn: Draw, count: int) -> Condition:
  """One of the K conditions."""
  if count == 1:
    return drawn.condition
  return jax.tree.map(lambda x: x[0], drawn.condition)


def mean_over(
  gradients: Gradients, drawn: Draw, count: int, mesh: Mesh | None
) -> Any:
  """The mean of `gradients` over K conditions.

  Args:
    gradients: of one condition; it contains nothing that devices exchange.
    drawn: with a leading axis of K, unless K is 1.
    count: K.
    mesh: K is a multiple of its devices; None is one device.
  """
  if count == 1:
    return gradients(drawn)
  if mesh is None:
    return _mean(gradients, drawn)
  (axis,) = mesh.axis_names
  # A path is chosen by a branch, which differs between devices: all that
  # happens inside it, backward passes too, has to stay on the device.
  return jax.shard_map(
    lambda share: lax.pmean(_mean(gradients, share), axis),
    mesh=mesh,
    in_specs=PartitionSpec(axis),
    out_specs=PartitionSpec(),
    check_vma=False,
  )(drawn)


def _mean(gradients: Gradients, drawn: Draw) -> Any:
  """One condition after another."""
  return jax.tree.map(lambda x: x.mean(0), lax.map(gradients, drawn))
