"""Liveness: how much of each choice runs, as a smooth function of a mix.

Compilers remove an operation that no input reaches, or that reaches no output.
How many they remove differs by backend (docs/latency.md#what-runs). So this
module computes all the liveness rules, and a predictor takes the one that fits
its networks.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from hwnas_jax.core.types import Array

RULES = ("all", "used", "live")


class Graph(NamedTuple):
  """Choices as edges between numbered states; static and hashable.

  edges: [E] (source, target) with source < target, in the order of the choices.
  inputs: the states that are given.
  outputs: the states that are read.
  nothing: the columns of the operations that give zero (`none`).
  """

  edges: tuple[tuple[int, int], ...]
  inputs: tuple[int, ...]
  outputs: tuple[int, ...]
  nothing: tuple[int, ...] = ()


def require_forward(graph: Graph) -> None:
  """Raises ValueError where an edge does not go to a later state."""
  bad = [edge for edge in graph.edges if not 0 <= edge[0] < edge[1]]
  if bad:
    raise ValueError(f"graph.edges: {bad[0]} does not go to a later state")


def presence(graph: Graph, mix: Array) -> Array:
  """How much of each edge's weight is on operations: [..., E, O] -> [..., E].

  The weight of `none` does not count. A dropped edge, a row of zeros, gives 0.
  """
  something = [o not in graph.nothing for o in range(mix.shape[-1])]
  return jnp.dot(mix, np.asarray(something, np.float32))


def reach(graph: Graph, mix: Array) -> tuple[Array, Array]:
  """Which edges inputs reach, and which reach an output: each [..., E].

  At a one-hot mix the values are exactly 0 or 1. In between,
  r_target = 1 - prod(1 - r_source * presence), as if paths were independent.

  Args:
    graph: its edges go to later states.
    mix: [..., E, O].
  """
  present = presence(graph, mix)
  size = 1 + max(target for _, target in graph.edges)
  zero, one = jnp.zeros_like(present[..., 0]), jnp.ones_like(present[..., 0])
  missing = [zero if s in graph.inputs else one for s in range(size)]
  order = sorted(range(len(graph.edges)), key=lambda e: graph.edges[e])
  # By source: all edges into a state are done before one leaves it.
  for e in order:
    source, target = graph.edges[e]
    missing[target] *= 1 - (1 - missing[source]) * present[..., e]
  forward = [1 - missing[source] for source, _ in graph.edges]
  missing = [zero if s in graph.outputs else one for s in range(size)]
  for e in sorted(order, key=lambda e: -graph.edges[e][1]):
    source, target = graph.edges[e]
    missing[source] *= 1 - (1 - missing[target]) * present[..., e]
  backward = [1 - missing[target] for _, target in graph.edges]
  return jnp.stack(forward, -1), jnp.stack(backward, -1)


def runs(graph: Graph, mix: Array) -> Array:
  """How much of each edge runs under each of RULES: [..., 3, E].

  all: every operation (eager execution).
  used: the operations that reach an output (dead ends are removed).
  live: those of `used` that an input reaches too.

  Args:
    graph: its edges go to later states.
    mix: [..., E, O].
  """
  present = presence(graph, mix)
  forward, backward = reach(graph, mix)
  used = present * backward
  return jnp.stack([present, used, used * forward], -2)
