"""Architectures: their form in files, their names, and random draws.

In the code an architecture is a `Genotype`: one operation's column for each
choice, or ABSENT. In files it is {choice: operation}.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hwnas_jax.core import naming
from hwnas_jax.core.types import ABSENT, Genotype
from hwnas_jax.spaces.spec import Space


def check_genotype(space: Space, genotype: Genotype) -> None:
  """Raises ValueError if `genotype` is not an architecture of `space`."""
  num_choices, num_ops = space.shape
  if len(genotype) != num_choices:
    raise ValueError(
      f"genotype has {len(genotype)} choices, the space has {num_choices}"
    )
  bad = [op for op in genotype if not ABSENT <= op < num_ops]
  if bad:
    raise ValueError(f"operation index {bad[0]} is not in [-1, {num_ops})")
  allowed = space.allowed()
  for choice, op, row in zip(space.choices, genotype, allowed, strict=True):
    if op != ABSENT and not row[op]:
      raise ValueError(f"{choice} has no operation {space.ops[op]}")


def to_json(space: Space, genotype: Genotype) -> dict[str, str]:
  """{choice: operation}, without the choices that are ABSENT.

  Raises:
    ValueError: it is not an architecture of the space.
  """
  check_genotype(space, genotype)
  return {
    choice: space.ops[op]
    for choice, op in zip(space.choices, genotype, strict=True)
    if op != ABSENT
  }


def from_json(space: Space, operations: Mapping[str, Any]) -> Genotype:
  """The inverse of `to_json`.

  Args:
    space: the architecture's.
    operations: {choice: operation}, in any order, as read from a file.

  Raises:
    ValueError: a choice or an operation is not in the space.
  """
  unknown = [str(c) for c in operations if c not in space.choices]
  unknown += [str(op) for op in operations.values() if op not in space.ops]
  if unknown:
    raise ValueError(f"not in this space: {', '.join(sorted(unknown))}")
  return tuple(
    space.ops.index(operations[c]) if c in operations else ABSENT
    for c in space.choices
  )


def identity(space: Space, genotype: Genotype, width: float = 1.0) -> str:
  """Eight hex digits that name a network, and its folder.

  Args:
    space: the architecture's.
    genotype: the architecture.
    width: factor of the run's channels, of a network that was scaled.
  """
  return naming.network_id(to_json(space, genotype), width)


def one_hot(genotypes: Sequence[Genotype], num_ops: int) -> np.ndarray:
  """Architectures as mixes float32[N, E, O]; an absent choice is all zeros."""
  columns = np.asarray(genotypes)[..., None]
  return (columns == np.arange(num_ops)).astype(np.float32)


def random_genotype(space: Space, rng: np.random.Generator) -> Genotype:
  """For each choice, one of its operations, all equally likely."""
  columns = [np.flatnonzero(row) for row in space.allowed()]
  picks = rng.integers([len(row) for row in columns])
  return tuple(int(r[i]) for r, i in zip(columns, picks, strict=True))


def op_counts(space: Space, genotype: Genotype) -> dict[str, int]:
  """How many choices take each operation, by its name."""
  return {op: genotype.count(i) for i, op in enumerate(space.ops)}
