"""Precision: the type that networks compute in.

A network computes in the type of its images: each operation converts its
weights to it. In bfloat16 these stay float32: parameters, optimisers, batch
statistics, the classifier, logits, softmaxes and losses (Micikevicius et al.
2018, section 3.1).
"""

import jax
import jax.numpy as jnp

from hwnas_jax.core.types import Array, Params

PRECISIONS = ("float32", "bfloat16")


def wide(x: Array) -> Array:
  """x in float32, or in its own type where that is wider.

  >>> wide(jnp.ones(2, "bfloat16")).dtype
  dtype('float32')
  """
  return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def cast(params: Params, dtype: jax.typing.DTypeLike) -> Params:
  """A tree of parameters in another type, such as for inference.

  >>> cast({"kernel": jnp.ones(2)}, "bfloat16")["kernel"].dtype
  dtype(bfloat16)
  """
  return jax.tree.map(lambda leaf: leaf.astype(jnp.dtype(dtype)), params)


def cast_variables(variables: Params, dtype: jax.typing.DTypeLike) -> Params:
  """The flax variables of a network; its batch statistics stay float32."""
  return {**variables, "params": cast(variables.get("params", {}), dtype)}
