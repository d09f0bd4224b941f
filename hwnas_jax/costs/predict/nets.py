"""Networks that correct a table's sum for a mix [..., E, O].

Each maps (mix[..., E, O], runs[..., E]) to (charges[..., E], log factor[...]):
how much of each edge's price is charged, and the logarithm of a factor on the
whole sum. A network that is not trained yet corrects nothing: charges are
`runs` and the factor is 1. Both outputs are smooth in the mix, so a
straight-through one-hot sample has gradients.
"""

from typing import Protocol

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from hwnas_jax.core import graph as graphs
from hwnas_jax.core.graph import Graph
from hwnas_jax.core.types import Array


class Regressor(nn.Module):
  """LA-DARTS's multi-layer regressor on the flattened mix: a factor only.

  Of Xu et al. 2020 (arXiv 2001.06392) only the abstract was available, without
  sizes or activation. Widths 128 and 64 are those of LightNAS's predictor (Luo
  et al. 2022, arXiv 2208.14446). SiLU, because it is smooth, and the table
  under the network are additions of this project.
  """

  widths: tuple[int, ...] = (128, 64)

  @nn.compact
  def __call__(self, mix: Array, runs: Array) -> tuple[Array, Array]:
    """(mix[..., E, O], runs[..., E]) -> (runs, log factor[...])."""
    hidden = mix.reshape(*mix.shape[:-2], -1)
    for width in self.widths:
      hidden = nn.silu(nn.Dense(width)(hidden))
    return runs, _zero_dense(1)(hidden)[..., 0]


class GraphNetwork(nn.Module):
  """SurgeNAS's graph network, on the line graph of a cell.

  Of Luo et al. 2023 (SurgeNAS, IEEE Transactions on Computers 72) only the
  abstract was available, so all of it is a reconstruction. A vertex is an edge
  of the cell; its features are the operation and how much of it runs under each
  liveness rule. It receives messages, by relation, from the edges that end
  where it starts, that start where it ends, that end in the same state and that
  start in the same state; an absent edge sends none. Charging edges is an
  addition: the network learns which operations a backend removes.
  """

  graph: Graph
  width: int = 24
  layers: int = 2

  @nn.compact
  def __call__(self, mix: Array, runs: Array) -> tuple[Array, Array]:
    """(mix[..., E, O], runs[..., E]) -> (charges[..., E], log factor[...])."""
    present = graphs.presence(self.graph, mix)
    forward, backward = graphs.reach(self.graph, mix)
    marks = jnp.stack([present, forward, backward, forward * backward], -1)
    hidden = jnp.concatenate([mix, marks], -1)
    relations = _relations(self.graph)
    for _ in range(self.layers):
      sent = hidden * present[..., None]
      received = jnp.einsum("ref,...fw->...erw", relations, sent)
      received = received.reshape(*hidden.shape[:-1], -1)
      both = jnp.concatenate([hidden, received], -1)
      hidden = nn.silu(nn.Dense(self.width)(both))
    change = _zero_dense(3)(hidden)
    kept = runs * jnp.exp(change[..., 0])
    removed = (present - runs) * change[..., 1]
    return kept + removed, (present * change[..., 2]).mean(-1)


class MakeNetwork(Protocol):
  """Makes a correcting network."""

  def __call__(self, graph: Graph, /) -> nn.Module:
    """Returns a module of the signature above.

    Args:
      graph: the choices as edges between states.
    """


# By the name that a saved predictor has as its `kind`.
NETWORKS: dict[str, MakeNetwork] = {
  "mlp": lambda graph: Regressor(),
  "graph": GraphNetwork,
}


def _zero_dense(features: int) -> nn.Dense:
  return nn.Dense(features, kernel_init=nn.initializers.zeros)


def _relations(graph: Graph) -> np.ndarray:
  """[4, E, E] 0 or 1 for edges e and f, in the order of GraphNetwork."""
  source, target = np.asarray(graph.edges).T
  feeds = source[:, None] == target[None, :]
  other = ~np.eye(len(source), dtype=bool)
  return np.stack(
    [
      feeds,
      feeds.T,
      (target[:, None] == target) & other,
      (source[:, None] == source) & other,
    ]
  ).astype(np.float32)
