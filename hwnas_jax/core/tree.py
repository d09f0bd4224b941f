"""Trees of arrays by path: their digest, differences, size, and overlays."""

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import chex
import jax
import numpy as np


def path(keys: tuple[Any, ...]) -> str:
  """Joins the keys of a leaf, as `tree_map_with_path` gives them, with `/`."""
  return jax.tree_util.keystr(keys, simple=True, separator="/")


def flatten(tree: chex.ArrayTree) -> dict[str, Any]:
  """Lists the leaves of a tree by path, sorted by path.

  Args:
    tree: any pytree; a leaf is what JAX takes for one.

  Returns:
    Leaves by path, for example `{"params/stage0/w": ...}`.

  Raises:
    ValueError: two leaves share a path (say, dict keys `1` and `"1"`).
  """
  leaves: dict[str, Any] = {}
  for keys, leaf in jax.tree_util.tree_leaves_with_path(tree):
    name = path(keys)
    if name in leaves:
      raise ValueError(f"two leaves have the path {name!r}: rename one of them")
    leaves[name] = leaf
  return dict(sorted(leaves.items()))


def is_key(leaf: Any) -> bool:
  """Whether a leaf (array or ShapeDtypeStruct) holds typed PRNG keys."""
  return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def digest(tree: chex.ArrayTree) -> str:
  """Hashes every path, shape, dtype and bit of a tree of arrays.

  The kind of container is not hashed: `{"a": x}` and a dataclass with a field
  `a` have the same digest.

  Args:
    tree: pytree of JAX or NumPy arrays and typed PRNG keys.

  Returns:
    SHA-256 in 64 hexadecimal digits.
  """
  sha = hashlib.sha256()
  for name, leaf in flatten(tree).items():
    sha.update(f"{name} {_describe(leaf)}\n".encode())
    bits = jax.random.key_data(leaf) if is_key(leaf) else leaf
    sha.update(np.asarray(bits).tobytes())
  return sha.hexdigest()


def diff(wanted: chex.ArrayTree, stored: chex.ArrayTree) -> list[str]:
  """Lists where two trees differ in paths, shapes and dtypes, not in values.

  Args:
    wanted: pytree of arrays or ShapeDtypeStructs.
    stored: pytree of arrays or ShapeDtypeStructs.

  Returns:
    One line for each difference, sorted by path; empty if there is none.
  """
  want = {name: _describe(leaf) for name, leaf in flatten(wanted).items()}
  have = {name: _describe(leaf) for name, leaf in flatten(stored).items()}
  lines = []
  for name in sorted(want | have):
    if name not in have:
      lines.append(f"{name}: missing, wanted {want[name]}")
    elif name not in want:
      lines.append(f"{name}: stored {have[name]}, unexpected")
    elif want[name] != have[name]:
      lines.append(f"{name}: stored {have[name]}, wanted {want[name]}")
  return lines


def overlay(under: Any, over: Any) -> Any:
  """The tree `under`, with those leaves replaced that `over` has.

  Args:
    under: nested dicts of arrays.
    over: nested dicts with some of these names.
  """
  if not isinstance(under, Mapping):
    return over
  return {
    name: overlay(value, over[name]) if name in over else value
    for name, value in under.items()
  }


def count(tree: chex.ArrayTree) -> int:
  """Counts the numbers in a tree of arrays or ShapeDtypeStructs."""
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def _describe(leaf: Any) -> str:
  return f"{tuple(leaf.shape)} {leaf.dtype}"
