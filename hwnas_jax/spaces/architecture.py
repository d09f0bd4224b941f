"""Genotypes: JSON form, identity, live edges and random draws."""

import hashlib
import json
from typing import Any

import numpy as np

from hwnas_jax.core.types import ABSENT, Genotype
from hwnas_jax.spaces.darts import Darts
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


def random_genotype(space: Space, rng: np.random.Generator) -> Genotype:
  """One operation a choice, uniformly."""
  num_choices, num_ops = space.shape
  return tuple(int(o) for o in rng.integers(num_ops, size=num_choices))


def op_counts(space: Space, genotype: Genotype) -> dict[str, int]:
  """How often each operation is chosen."""
  return {op: genotype.count(i) for i, op in enumerate(space.ops)}


def live_choices(net: Darts, genotype: Genotype) -> tuple[bool, ...]:
  """Which choices reach the output: a compiler removes the others.

  Every node of a cell is concatenated into its output, so an edge is dead
  only if its operation is `none`, if it is absent, or if its source state
  is a node that is identically zero (no live edge enters it).
  """
  live = []
  per_cell = len(net.edges)
  for start in range(0, len(genotype), per_cell):
    filled = {0, 1}
    for (source, node), op in zip(
      net.edges, genotype[start : start + per_cell], strict=True
    ):
      runs = op != ABSENT and net.ops[op] != "none" and source in filled
      live.append(runs)
      if runs:
        filled.add(node + 2)
  return tuple(live)
