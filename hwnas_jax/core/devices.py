"""Several devices: a batch is split over them, all else is on each of them.

XLA partitions the one compiled step (GSPMD) and adds the all-reduces: batch
statistics and gradients are those of the whole batch, and random numbers do not
depend on the number of devices. The result is one device's, up to rounding.
"""

from typing import Any

import jax
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from hwnas_jax.core.types import Array

_EXAMPLES = "examples"  # the mesh's one axis


def require(count: int) -> None:
  """Refuses more devices than there are, and says where more could be used.

  Raises:
    ValueError: JAX has fewer than `count`.
  """
  make_mesh(count)
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


def place(tree: Any, mesh: Mesh | None) -> Any:
  """A tree of arrays with a copy of it on each device of the mesh."""
  if mesh is None:
    return tree
  return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def gather(tree: Any, mesh: Mesh | None) -> Any:
  """What `place` placed, or a step made of it, on the first device alone."""
  return tree if mesh is None else jax.device_put(tree, jax.devices()[0])


def split(batch: Array, mesh: Mesh | None) -> Array:
  """A batch [B, ...] with B / devices examples on each; inside jit."""
  if mesh is None:
    return batch
  sharding = NamedSharding(mesh, PartitionSpec(_EXAMPLES))
  return lax.with_sharding_constraint(batch, sharding)


def everywhere(mesh: Mesh | None) -> dict[str, Any]:
  """Options of `jit`: its arguments and results are as `place` gives them."""
  if mesh is None:
    return {}
  sharding = NamedSharding(mesh, PartitionSpec())
  return {"in_shardings": sharding, "out_shardings": sharding}
