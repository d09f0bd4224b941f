"""Architectures of a rule that are not dead.

Of a dead network no input reaches the output, whatever the weights. A space
with `none` has such networks, and they are its fastest.
"""

import numpy as np

from hwnas_jax.core.types import Genotype
from hwnas_jax.spaces.rules import RULES
from hwnas_jax.spaces.spec import Space, Spec


def derive(net: Spec, rule: str, space: Space, logits: np.ndarray) -> Genotype:
  """The architecture of a rule; where it is dead, the most likely living one.

  A network lives if a path of operations other than `none` leads from an input
  to an output. To change the choices of a path to their likeliest such
  operation costs log-likelihood; the path that costs least is found in one pass
  over the edges, since they lead to later states.

  Args:
    net: the networks' dimensions.
    rule: a name in `rules.RULES`.
    space: that of `net`.
    logits: [E, O].
  """
  genotype = RULES[rule](space, logits)
  if net.alive(genotype):
    return genotype
  graph = net.graph()
  runs = space.allowed()
  runs[:, list(graph.nothing)] = False
  alive = np.where(runs, logits, -np.inf)
  loss = logits.max(1) - alive.max(1)  # of log-likelihood, an edge
  paths: dict[int, tuple[float, tuple[int, ...]]] = {
    state: (0.0, ()) for state in graph.inputs
  }
  for e in sorted(range(len(graph.edges)), key=lambda e: graph.edges[e]):
    source, target = graph.edges[e]
    if source not in paths:
      continue
    before, edges = paths[source]
    longer = before + float(loss[e]), (*edges, e)
    if target not in paths or longer < paths[target]:
      paths[target] = longer
  _, edges = min(paths[state] for state in graph.outputs if state in paths)
  changed = dict(zip(edges, alive[list(edges)].argmax(1).tolist(), strict=True))
  return tuple(changed.get(e, op) for e, op in enumerate(genotype))
