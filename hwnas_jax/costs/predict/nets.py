"""Networks that correct a table's sum, reading a mix [..., E, O].

Each maps (mix[..., E, O], runs[..., E]) to (charges[..., E], log factor[...]):
how much of each edge's price is charged, and the logarithm of a factor on the
whole. At first charges are `runs` and the factor is 1: nothing is corrected.
Both are smooth in the mix, so there are gradients at a straight-through
one-hot.
"""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from hwnas_jax.core import graph as graphs
from hwnas_jax.core.graph import Graph
from hwnas_jax.core.types import Array


class Regressor(nn.Module):
  """LA-DARTS's multi-layer regressor on the flattened mix: a factor only.

  Xu et al. 2020 give neither sizes nor activation: 128 and 64 are LightNAS's
  (research 6.3), SiLU is ours (smooth), and so is the table under it.
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

  Luo et al. 2022 give no layers (research 7.1): all of it is a reconstruction.
  A vertex is an edge of the cell, with its operation and how much of it runs
  under each liveness rule. It hears, by relation, the edges that feed it, that
  it feeds, that end in the same state and that start in the same state, and
  nothing from an edge that is not there. Charging edges is ours: the network
  learns which operations a backend removes.
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
      heard = jnp.einsum("ref,...fw->...erw", relations, sent)
      heard = heard.reshape(*hidden.shape[:-1], -1)
      both = jnp.concatenate([hidden, heard], -1)
      hidden = nn.silu(nn.Dense(self.width)(both))
    change = _zero_dense(3)(hidden)
    kept = runs * jnp.exp(change[..., 0])
    removed = (present - runs) * change[..., 1]
    return kept + removed, (present * change[..., 2]).mean(-1)


# By the name that a saved predictor carries.
NETWORKS: dict[str, Callable[[Graph], nn.Module]] = {
  "mlp": lambda graph: Regressor(),
  "graph": GraphNetwork,
}


def _zero_dense(features: int) -> nn.Dense:
  return nn.Dense(features, kernel_init=nn.initializers.zeros)


def _relations(graph: Graph) -> np.ndarray:
  """[4, E, E] 0 or 1: f feeds e, e feeds f, same target, same source."""
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
