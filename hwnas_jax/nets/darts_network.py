"""A derived network of DARTS: at most one operation an edge.

It is trained as the authors train theirs, with drop-path and an auxiliary head
(Liu et al. 2019, appendix A.2). In mode `search` it computes what the supernet
computes at a one-hot mix; a test compares the two.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from hwnas_jax.core.types import ABSENT, Array, Genotype, Params
from hwnas_jax.nets.norm import BatchNorm, Mode
from hwnas_jax.nets.ops import ReluConvNorm, make_op
from hwnas_jax.nets.paths import weigh
from hwnas_jax.spaces import darts
from hwnas_jax.spaces.darts import CellSpec, Darts

AUX_WINDOW = 5  # pixels a side of the auxiliary head's pooling; stride 3


def drop_path(x: Array, key: Array, rate: Array | float) -> Array:
  """Sets whole examples of x to zero and rescales the others.

  Args:
    x: [B, ...].
    key: typed.
    rate: the probability that an example is dropped, in [0, 1).

  Returns:
    [B, ...], the same in expectation.
  """
  keep = 1.0 - rate
  alive = jax.random.bernoulli(key, keep, (x.shape[0],))
  return weigh(x, alive / keep)


class Cell(nn.Module):
  """One cell.

  ops: of each edge, a column of `net.ops` or ABSENT.
  """

  net: Darts
  spec: CellSpec
  ops: Genotype
  mode: Mode

  @nn.compact
  def __call__(
    self, left: Array, right: Array, drop_rate: Array | None
  ) -> Array:
    """Two states [B, H, W, C] -> [B, H', W', num_nodes * C]."""
    # None is a node that nothing enters. Edges that leave it do not run, as in
    # `Darts.live`.
    states: list[Array | None] = [left, right]
    for node in range(self.net.num_nodes):
      terms = [
        self._edge(edge, x, drop_rate)
        for edge, (source, target) in enumerate(self.net.edges)
        if target == node
        and self._runs(edge)
        and (x := states[source]) is not None
      ]
      # Without it a CPU computes the sum again in everything that reads it
      # (core.compile).
      held = (
        lax.optimization_barrier(sum(terms[1:], terms[0])) if terms else None
      )
      states.append(held)
    shape = (left.shape[0], *self.spec.out_size, self.spec.channels)
    nodes = [
      jnp.zeros(shape, left.dtype) if x is None else x for x in states[2:]
    ]
    return jnp.concatenate(nodes, -1)

  def _runs(self, edge: int) -> bool:
    op = self.ops[edge]
    return op != ABSENT and self.net.ops[op] != "none"

  def _edge(self, edge: int, x: Array, drop_rate: Array | None) -> Array:
    source, node = self.net.edges[edge]
    name = self.net.ops[self.ops[edge]]
    site = self.spec.edge_site(source, name)
    y = make_op(site, self.mode, f"edge_{source}_{node + 2}_{name}")(x)
    if drop_rate is None or (name == "skip_connect" and site.stride == 1):
      return y
    return drop_path(y, self.make_rng("drop_path"), drop_rate)


class AuxiliaryHead(nn.Module):
  """Classifies the features after the second reduction, in training only.

  As in the authors' code (Liu et al. 2019).
  """

  num_classes: int
  mode: Mode

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """[B, H, W, C] -> class logits [B, num_classes]; the authors' H is 8."""
    window = (AUX_WINDOW, AUX_WINDOW)
    x = nn.avg_pool(jax.nn.relu(x), window, strides=(3, 3))
    x = ReluConvNorm(128, 1, self.mode, relu=False)(x)
    x = nn.Dense(768, use_bias=False)(x.reshape(x.shape[0], 1, 1, -1))
    x = jax.nn.relu(BatchNorm(self.mode)(x))
    return nn.Dense(self.num_classes)(x.reshape(x.shape[0], -1))


class Network(nn.Module):
  """The network of a genotype.

  auxiliary: whether it has the head that only training uses.
  """

  net: Darts
  genotype: Genotype
  mode: Mode
  auxiliary: bool = False

  @nn.compact
  def __call__(
    self, images: Array, drop_rate: Array | None = None
  ) -> tuple[Array, Array | None]:
    """Class logits [B, num_classes], and the auxiliary head's or None.

    Args:
      images: [B, H, W, C], in whose type it computes.
      drop_rate: [], the probability of drop-path, which draws from the random
        stream "drop_path"; None drops nothing.
    """
    stem, *preprocess, classifier = darts.fixed_sites(self.net)
    per_cell = len(self.net.edges)
    before = last = make_op(stem, self.mode, "stem")(images)
    if self.net.imagenet_stem:
      before, last = before
    auxiliary = None
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
        auxiliary = head(last)
    return make_op(classifier, self.mode, "classifier")(last), auxiliary


def inherit(net: Darts, genotype: Genotype, weights: Params) -> Params:
  """The supernet's weights of one genotype, by the names of its network.

  They fit mode `search`, where a cell's batch norm has no scale and shift.
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
