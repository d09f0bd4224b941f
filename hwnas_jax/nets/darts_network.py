"""A derived network: one operation an edge, an ordinary flax module.

Trained with scale-and-shift BN and running statistics, drop-path and an
auxiliary head (research 1.5). In mode `search` it is the supernet at a
one-hot mix, to the last operation: a test holds the two together.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from hwnas_jax.core.types import ABSENT, Array, Genotype, Params
from hwnas_jax.nets.darts import edge_site
from hwnas_jax.nets.norm import BatchNorm, Mode
from hwnas_jax.nets.ops import ReluConvNorm, make_op
from hwnas_jax.spaces import darts
from hwnas_jax.spaces.darts import CellSpec, Darts

AUX_WINDOW = 5  # pixels a side that the auxiliary head pools, every third


def drop_path(x: Array, key: Array, rate: Array | float) -> Array:
  """Drops whole examples of x [B, ...] and rescales the others."""
  keep = 1.0 - rate
  alive = jax.random.bernoulli(key, keep, (x.shape[0],))
  return x * (alive / keep).reshape((-1,) + (1,) * (x.ndim - 1))


class Cell(nn.Module):
  """One cell; `ops` [n edges] are indices into `net.ops` or ABSENT."""

  net: Darts
  spec: CellSpec
  ops: Genotype
  mode: Mode

  @nn.compact
  def __call__(
    self, left: Array, right: Array, drop_rate: Array | None
  ) -> Array:
    """Two states [B, H, W, C] -> [B, H', W', num_nodes * C]."""
    # None: a node that nothing enters. What leaves it is dead, as
    # `Darts.live` counts.
    states: list[Array | None] = [left, right]
    for node in range(self.net.num_nodes):
      terms = [
        self._edge(edge, x, drop_rate)
        for edge, (source, target) in enumerate(self.net.edges)
        if target == node
        and self._runs(edge)
        and (x := states[source]) is not None
      ]
      # Or the CPU computes the sum again in all that reads it (core.compile).
      held = (
        lax.optimization_barrier(sum(terms[1:], terms[0])) if terms else None
      )
      states.append(held)
    shape = (left.shape[0], *self.spec.out_size, self.spec.channels)
    nodes = [jnp.zeros(shape) if x is None else x for x in states[2:]]
    return jnp.concatenate(nodes, -1)

  def _runs(self, edge: int) -> bool:
    op = self.ops[edge]
    return op != ABSENT and self.net.ops[op] != "none"

  def _edge(self, edge: int, x: Array, drop_rate: Array | None) -> Array:
    source, node = self.net.edges[edge]
    name = self.net.ops[self.ops[edge]]
    site = edge_site(self.net, self.spec, source, name)
    y = make_op(site, self.mode, f"edge_{source}_{node + 2}_{name}")(x)
    if drop_rate is None or (name == "skip_connect" and site.stride == 1):
      return y
    return drop_path(y, self.make_rng("drop_path"), drop_rate)


class AuxiliaryHead(nn.Module):
  """Classifies the features after the second reduction (research 1.5)."""

  num_classes: int
  mode: Mode

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """x [B, H, W, C], 8 x 8 in the paper -> class logits [B, num_classes]."""
    window = (AUX_WINDOW, AUX_WINDOW)
    x = nn.avg_pool(jax.nn.relu(x), window, strides=(3, 3))
    x = ReluConvNorm(128, 1, self.mode, relu=False)(x)
    x = nn.Dense(768, use_bias=False)(x.reshape(x.shape[0], 1, 1, -1))
    x = jax.nn.relu(BatchNorm(self.mode)(x))
    return nn.Dense(self.num_classes)(x.reshape(x.shape[0], -1))


class Network(nn.Module):
  """The network of a genotype.

  auxiliary: adds the training-only head; its logits are None otherwise.
  """

  net: Darts
  genotype: Genotype
  mode: Mode
  auxiliary: bool = False

  @nn.compact
  def __call__(
    self, images: Array, drop_rate: Array | None = None
  ) -> tuple[Array, Array | None]:
    """Images [B, H, W, C] -> (class logits, auxiliary logits or None).

    drop_rate: drop-path probability; needs the rng stream `drop_path`.
    """
    stem, *preprocess, classifier = darts.fixed_sites(self.net)
    per_cell = len(self.net.edges)
    before = last = make_op(stem, self.mode, "stem")(images)
    if self.net.imagenet_stem:
      before, last = before
    aux = None
    for index, spec in enumerate(self.net.cells()):
      left, right = preprocess[2 * index : 2 * index + 2]
      start = per_cell if spec.reduction else 0
      ops = self.genotype[start : start + per_cell]
      inputs = (
        make_op(left, self.mode, f"left_{index}")(before),
        make_op(right, self.mode, f"right_{index}")(last),
      )
      cell = Cell(self.net, spec, ops, self.mode, name=f"cell_{index}")
      before, last = last, cell(*inputs, drop_rate)
      if self.auxiliary and index == 2 * self.net.num_cells // 3:
        head = AuxiliaryHead(self.net.num_classes, self.mode, name="auxiliary")
        aux = head(last)
    return make_op(classifier, self.mode, "classifier")(last), aux


def inherit(net: Darts, genotype: Genotype, weights: Params) -> Params:
  """The supernet's weights of one genotype, under Network's names.

  They fit mode `search`, whose BN has no scale and shift of its own.
  """
  params = {
    "stem": weights["stem"],
    "classifier": weights["classifier"],
  }
  per_cell = len(net.edges)
  for index, spec in enumerate(net.cells()):
    stored = weights["cells"][index]
    params[f"left_{index}"] = stored["left"]
    params[f"right_{index}"] = stored["right"]
    start = per_cell if spec.reduction else 0
    cell = {}
    for edge, (source, node) in enumerate(net.edges):
      op = genotype[start + edge]
      stacked = stored["edges"][str(source)].get(net.ops[op])
      if op == ABSENT or stacked is None:
        continue
      siblings = [e for e, (s, _) in enumerate(net.edges) if s == source]
      position = siblings.index(edge)
      cell[f"edge_{source}_{node + 2}_{net.ops[op]}"] = jax.tree.map(
        lambda w, p=position: w[p], stacked
      )
    if cell:
      params[f"cell_{index}"] = cell
  return params
