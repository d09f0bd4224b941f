"""Supernet and derived network of a chain (`spaces.mobile`).

Layers differ in shape, so each has weights and a program of its own; those of
operations that a layer lacks do not exist. What comes after a layer's output
reads it behind a barrier, as a node of a cell (see core.compile): a table
measures operations one by one.
"""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from hwnas_jax.core.types import ABSENT, Array, Genotype, Params, Paths
from hwnas_jax.nets.init import draw, op_shapes
from hwnas_jax.nets.norm import Mode
from hwnas_jax.nets.ops import make_op
from hwnas_jax.nets.paths import Branch, mix_all, run_paths, shortcut
from hwnas_jax.nets.supernet import Net, run_op
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.mobile import Chain, fixed_sites
from hwnas_jax.spaces.spec import Site

_Layer = dict[int, Site]  # by column; an operation that it lacks is not there


def _layers(net: Chain) -> list[_Layer]:
  return [
    {column: sites[0] for column, sites in enumerate(row) if sites}
    for row in net.space().sites
  ]


def _shapes(sites: Mapping[str, Site]) -> Params:
  """Shapes of weights by the names of sites; without those that have none."""
  found = {name: op_shapes(site) for name, site in sites.items()}
  return {name: shapes for name, shapes in found.items() if shapes}


def make_supernet(net: Chain) -> Net:
  """The supernet of a chain.

  Weights: {"stem", ["first",] "layers": [{op: ...}], "head", ["hidden",]
  "classifier"}.
  """
  before, after = fixed_sites(net)
  layers = _layers(net)

  def init(key: Array) -> Params:
    shapes = _shapes(before | after)
    shapes["layers"] = [
      _shapes({site.op: site for site in layer.values()}) for layer in layers
    ]
    return draw(key, shapes)

  def apply(
    weights: Params,
    mix: Array,
    images: Array,
    paths: Paths | None = None,
    identity: Array | None = None,
  ) -> Array:
    x = images
    for name, site in before.items():
      x = run_op(site, weights[name], x)
    rows = jnp.moveaxis(mix, -2, 0)  # [E, (B,) O]
    for index, layer in enumerate(layers):
      own = jax.tree.map(lambda p, e=index: p[e], paths)
      params = weights["layers"][index]
      y = _layer(len(net.ops), layer, params, x, rows[index], own)
      if identity is not None:
        y = y + identity * shortcut(x, y)
      x = lax.optimization_barrier(y)
    for name, site in after.items():
      x = run_op(site, weights[name], x)
    return x

  return Net(init, apply)


def _layer(
  num_ops: int,
  layer: _Layer,
  params: Params,
  x: Array,
  row: Array,
  paths: Paths | None,
) -> Array:
  """What a layer gives: the mix of its operations, or those of `paths`."""
  if paths is None:
    branches = [_branch(site) for site in layer.values()]
    return mix_all(branches, params, x, row[..., np.asarray([*layer])])
  site = next(iter(layer.values()))
  shape = x.shape[0], *site.out_size, site.channels_out
  # A path may name an operation that the layer lacks; what it adds is nothing.
  lacking: Branch = lambda weights, x: jnp.zeros(shape)  # noqa: E731
  every = [
    _branch(layer[column]) if column in layer else lacking
    for column in range(num_ops)
  ]
  return run_paths(every, params, x, row, paths)


def _branch(site: Site) -> Branch:
  return lambda params, x: run_op(site, params.get(site.op, {}), x)


def _chosen(net: Chain, genotype: Genotype) -> dict[str, Site]:
  """The site of each layer by its name.

  Raises:
    ValueError: a layer has no operation, or one that it lacks.
  """
  space = net.space()
  architecture.check_genotype(space, genotype)
  if ABSENT in genotype:
    raise ValueError(
      f"{space.choices[genotype.index(ABSENT)]} has no operation: a chain has"
      " one in every layer"
    )
  rows = zip(space.choices, space.sites, genotype, strict=True)
  return {name: row[op][0] for name, row, op in rows}


class Network(nn.Module):
  """The network of a genotype."""

  net: Chain
  genotype: Genotype
  mode: Mode

  @nn.compact
  def __call__(
    self, images: Array, drop_rate: None = None
  ) -> tuple[Array, None]:
    """Images [B, H, W, C] -> (class logits, no auxiliary logits).

    drop_rate: None, these networks have no drop-path.
    """
    del drop_rate
    before, after = fixed_sites(self.net)
    layers = _chosen(self.net, self.genotype)
    x = images
    for name, site in (before | layers | after).items():
      x = make_op(site, self.mode, name)(x)
      x = lax.optimization_barrier(x) if name in layers else x
    return x, None


def inherit(net: Chain, genotype: Genotype, weights: Params) -> Params:
  """The supernet's weights of one genotype, under Network's names.

  They fit mode `search`, whose BN has no scale and shift in a layer.
  """
  params = {name: w for name, w in weights.items() if name != "layers"}
  layers = _chosen(net, genotype).items()
  for (name, site), stored in zip(layers, weights["layers"], strict=True):
    if site.op in stored:
      params[name] = stored[site.op]
  return params
