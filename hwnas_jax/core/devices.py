"""Several devices: a batch is split over them, all else is on each of them.

XLA partitions the one compiled step (GSPMD) and adds the all-reduces: batch
statistics and gradients are those of the whole batch, and random numbers do not
depend on the number of devices. The result is one device's, up to rounding.
"""

import functools
from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
import numpy as np
from jax import lax
from jax.sharding import (
  AxisType,
  Mesh,
  NamedSharding,
  PartitionSpec,
  Sharding,
  SingleDeviceSharding,
)

from hwnas_jax.core import hosts
from hwnas_jax.core.types import Array

_EXAMPLES = "examples"  # the mesh's one axis

# A step's devices: all of a mesh, a certain one, or the first that JAX has.
Where: TypeAlias = Mesh | jax.Device | None


def require(count: int) -> None:
  """Refuses more devices than there are, and says where more could be used.

  Raises:
    ValueError: JAX has fewer than `count`, or several processes have more.
  """
  make_mesh(count)
  if hosts.several() and count != jax.device_count():
    raise ValueError(
      f"config.devices is {count}, and {jax.process_count()} processes work on"
      f" all of their devices: set it to {jax.device_count()}"
    )
  if count < (present := jax.device_count()) and jax.default_backend() != "cpu":
    print(f"uses {count} of {present} devices; --config.devices={present}: all")


def make_mesh(count: int) -> Mesh | None:
  """The first `count` devices that JAX has; None of one device.

  Raises:
    ValueError: JAX has fewer.
  """
  if count > jax.device_count():
    raise ValueError(
      f"config.devices is {count}, and JAX has {jax.device_count()} here"
      f" ({jax.default_backend()}): lower it, or run where there are more"
    )
  if count == 1:
    return None
  used = jax.devices()[:count]
  return jax.make_mesh(
    (count,), (_EXAMPLES,), axis_types=(AxisType.Auto,), devices=used
  )


def place(tree: Any, where: Where) -> Any:
  """A tree of arrays with a copy of it on each device of a step."""
  sharding = copies(where)
  return tree if sharding is None else put(tree, sharding)


def copies(where: Where) -> Sharding | None:
  """The sharding of what `place` places; None of the first device."""
  if isinstance(where, Mesh):
    return NamedSharding(where, PartitionSpec())
  return None if where is None else SingleDeviceSharding(where)


def put(tree: Any, sharding: Sharding) -> Any:
  """A tree of arrays, which all processes have, placed by a sharding."""
  if not hosts.several():
    return jax.device_put(tree, sharding)
  # `device_put` would send all values to all processes, and compare them.
  return jax.tree.map(
    lambda x: x if _lies(x, sharding) else _as_is(sharding)(x), tree
  )


def _lies(x: Any, sharding: Sharding) -> bool:
  return isinstance(x, jax.Array) and x.sharding == sharding


@functools.cache
def _as_is(sharding: Sharding) -> Any:
  return jax.jit(lambda x: x, out_shardings=sharding)


def gather(tree: Any, mesh: Mesh | None) -> Any:
  """What `place` placed, or a step made of it, on the first device alone.

  The first device of this process, where there are several.
  """
  if mesh is None:
    return tree
  if not hosts.several():
    return jax.device_put(tree, jax.devices()[0])
  return jax.tree.map(lambda x: x.addressable_shards[0].data, tree)


def split(batch: Array, mesh: Mesh | None) -> Array:
  """A batch [B, ...] with B / devices examples on each; inside jit."""
  if mesh is None:
    return batch
  return lax.with_sharding_constraint(batch, _split(mesh, 0))


def along(where: Where, axis: int) -> Sharding | None:
  """The sharding of a batch whose examples lie along an axis."""
  return _split(where, axis) if isinstance(where, Mesh) else copies(where)


def _split(mesh: Mesh, axis: int) -> NamedSharding:
  return NamedSharding(mesh, PartitionSpec(*axis * [None], _EXAMPLES))


def count(where: Where) -> int:
  """How many devices."""
  return where.size if isinstance(where, Mesh) else 1


def own_parts(where: Where) -> list[int]:
  """Which parts of a batch are on this process's devices, of `count`."""
  if not isinstance(where, Mesh):
    return [0]
  here = jax.process_index()
  owners = [device.process_index for device in where.devices.flat]
  return [part for part, owner in enumerate(owners) if owner == here]


def join(parts: Sequence[np.ndarray], where: Where, axis: int) -> Array:
  """A batch that is split along an axis, of this process's parts of it.

  Args:
    parts: of equal shape, in the order of `own_parts`.
    where: the devices.
    axis: along which the examples lie.
  """
  if not isinstance(where, Mesh):
    return jax.device_put(parts[0], copies(where))
  used = [where.devices.flat[part] for part in own_parts(where)]
  pieces = [jax.device_put(x, d) for x, d in zip(parts, used, strict=True)]
  shape = [*parts[0].shape]
  shape[axis] *= where.size
  return jax.make_array_from_single_device_arrays(
    tuple(shape), _split(where, axis), pieces
  )


def everywhere(where: Where, inputs: Any = None) -> dict[str, Any]:
  """Options of `jit`: its arguments and results are as `place` gives them.

  Args:
    where: the devices.
    inputs: shardings of the arguments, where some are split (`along`).
  """
  sharding = copies(where)
  if sharding is None:
    return {}
  return {"in_shardings": inputs or sharding, "out_shardings": sharding}
