"""Genotypes: JSON form, identity and random draws."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from hwnas_jax.core.types import ABSENT, Genotype
from hwnas_jax.spaces.spec import Space


def check(space: Space, genotype: Genotype) -> None:
  """Raises ValueError if `genotype` is not one of `space`."""
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
  """{choice: operation}, kept choices only."""
  check(space, genotype)
  return {
    choice: space.ops[op]
    for choice, op in zip(space.choices, genotype, strict=True)
    if op != ABSENT
  }


def from_json(space: Space, edges: dict[str, Any]) -> Genotype:
  """The inverse of `to_json`; unknown names raise ValueError."""
  unknown = [str(c) for c in edges if c not in space.choices]
  unknown += [str(op) for op in edges.values() if op not in space.ops]
  if unknown:
    raise ValueError(f"not in this space: {', '.join(sorted(unknown))}")
  return tuple(
    space.ops.index(edges[c]) if c in edges else ABSENT for c in space.choices
  )


def identity(space: Space, genotype: Genotype) -> str:
  """Eight hex digits that name an architecture, e.g. a network's folder."""
  text = json.dumps(to_json(space, genotype), sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:8]


def one_hot(genotypes: Sequence[Genotype], num_ops: int) -> np.ndarray:
  """Mixes float32[N, E, O]; an absent choice is a row of zeros."""
  chosen = np.asarray(genotypes)[..., None]
  return (chosen == np.arange(num_ops)).astype(np.float32)


def random_genotype(space: Space, rng: np.random.Generator) -> Genotype:
  """One operation a choice, uniformly over those that it has."""
  allowed = [np.flatnonzero(row) for row in space.allowed()]
  picks = rng.integers([len(row) for row in allowed])
  return tuple(int(r[i]) for r, i in zip(allowed, picks, strict=True))


def op_counts(space: Space, genotype: Genotype) -> dict[str, int]:
  """How often each operation is chosen."""
  return {op: genotype.count(i) for i, op in enumerate(space.ops)}
