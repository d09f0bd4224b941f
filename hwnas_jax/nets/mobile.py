"""Supernet and derived network of a chain (`spaces.mobile`).

Each layer has weights of its own, and layers of one shape run as a scan. An
operation that a layer does not offer has no weights there. The next layer reads
a layer's output behind an optimisation barrier (see core.compile), because a
latency table measures operations one by one, without fusion between them.
"""

import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from hwnas_jax.core.types import ABSENT, Array, Genotype, Params, Paths
from hwnas_jax.nets.init import draw, op_shapes
from hwnas_jax.nets.kind import SpaceKind
from hwnas_jax.nets.norm import Mode
from hwnas_jax.nets.ops import make_op
from hwnas_jax.nets.paths import (
  Branch,
  mix_all,
  run_paths,
  shortcut,
  weigh,
)
from hwnas_jax.nets.supernet import Net, Selection, run_op
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.mobile import SKELETONS, Chain, Skeleton, fixed_sites
from hwnas_jax.spaces.sizes import scale_image
from hwnas_jax.spaces.spec import Site

_Layer = dict[int, Site]  # by column, of the operations that it offers


def _layers(net: Chain) -> list[_Layer]:
  return [
    {column: sites[0] for column, sites in enumerate(row) if sites}
    for row in net.space().sites
  ]


def _groups(layers: list[_Layer]) -> list[tuple[_Layer, slice]]:
  """Successive layers of the same sites: the sites, and which layers."""
  groups, start = [], 0
  for layer, same in itertools.groupby(layers):
    stop = start + len([*same])
    groups.append((layer, slice(start, stop)))
    start = stop
  return groups


def _shapes(sites: Mapping[str, Site]) -> Params:
  """The shapes of the weights by the sites' names, of sites with weights."""
  shapes = {name: op_shapes(site) for name, site in sites.items()}
  return {name: shape for name, shape in shapes.items() if shape}


def make_supernet(net: Chain) -> Net:
  """The supernet of a chain.

  Its weights are {"stem", ["first",] "layers": [{op: its weights}], "head",
  ["hidden",] "classifier"}.
  """
  before, after = fixed_sites(net)
  layers = _layers(net)
  groups = _groups(layers)

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
    # [E, (B,) O]
    selected = Selection(jnp.moveaxis(mix, -2, 0), paths, identity)
    for layer, which in groups:
      params = weights["layers"][which]
      x = _run_group(net, layer, params, x, selected.at(which))
    for name, site in after.items():
      x = run_op(site, weights[name], x)
    return x

  return Net(init, apply)


def _run_group(
  net: Chain,
  layer: _Layer,
  params: Sequence[Params],
  x: Array,
  selected: Selection,
) -> Array:
  """Successive layers of the same sites: one scan, so XLA compiles one layer.

  Args:
    net: the chain.
    layer: the sites of each.
    params: of each layer, by operation.
    x: [B, H, W, C].
    selected: of these layers.
  """
  rows, paths, identity = selected

  def body(
    x: Array, inputs: tuple[Params, Array, Paths | None]
  ) -> tuple[Array, None]:
    y = _layer(len(net.ops), layer, x, *inputs)
    if identity is not None:
      y = y + weigh(shortcut(x, y), identity)
    return lax.optimization_barrier(y), None

  if len(params) == 1:  # it may change the image's size and channels
    row, path, _ = selected.at(0)
    return body(x, (params[0], row, path))[0]
  stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)
  return lax.scan(body, x, (stacked, rows, paths))[0]


def _layer(
  num_ops: int,
  layer: _Layer,
  x: Array,
  params: Params,
  row: Array,
  paths: Paths | None,
) -> Array:
  """A layer's output: the mix of its operations, or of those on the paths.

  Args:
    num_ops: O.
    layer: its sites.
    x: [B, H, W, C].
    params: by operation.
    row: [(B,) O].
    paths: of this layer.
  """
  if paths is None:
    branches = [_branch(site) for site in layer.values()]
    return mix_all(branches, params, x, row[..., np.asarray([*layer])])
  site = next(iter(layer.values()))
  shape = x.shape[0], *site.out_size, site.channels_out
  # A path may name an operation that the layer does not offer: it adds zeros.
  zeros: Branch = lambda params, x: jnp.zeros(shape, x.dtype)  # noqa: E731
  branches = [
    _branch(layer[column]) if column in layer else zeros
    for column in range(num_ops)
  ]
  return run_paths(branches, params, x, row, paths)


def _branch(site: Site) -> Branch:
  return lambda params, x: run_op(site, params.get(site.op, {}), x)


def _chosen(net: Chain, genotype: Genotype) -> dict[str, Site]:
  """The site of each layer by its name.

  Raises:
    ValueError: a layer has no operation, or one that it does not offer.
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
    """Class logits [B, num_classes], and None: no auxiliary head.

    Args:
      images: [B, H, W, C], in whose type it computes.
      drop_rate: not read: these networks have no drop-path.
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
  """The supernet's weights of one genotype, by the names of its network.

  They fit mode `search`, where a layer's batch norm has no scale and shift.
  """
  params = {name: w for name, w in weights.items() if name != "layers"}
  layers = _chosen(net, genotype).items()
  for (name, site), stored in zip(layers, weights["layers"], strict=True):
    if site.op in stored:
      params[name] = stored[site.op]
  return params


def make(
  values: Mapping[str, Any], image: tuple[int, int, int], num_classes: int
) -> Chain:
  """The Spec of a config's fields; see `nets.kind.MakeSpec`."""
  name = values["skeleton"]
  try:
    return Chain(SKELETONS[name], image, num_classes, values["width"])
  except ValueError as error:
    raise ValueError(
      f"space.skeleton={name} is not for images of {image[0]}x{image[1]}:"
      f" {error}"
    ) from error


def widen(net: Chain, width: float, side: float) -> Chain:
  """The networks with more channels and for larger images."""
  image = scale_image(net.image, side)
  return dataclasses.replace(net, image=image, width=net.width * width)


def overrides(net: Chain, wanted: Chain) -> list[tuple[str, Any]]:
  """The config fields that give the wider networks."""
  changed = wanted.width != net.width
  return [("space.width", wanted.width)] if changed else []


def reference(net: Chain) -> Genotype:
  """MobileNetV2's block in every layer (Sandler et al. 2018, section 3).

  It is the bottleneck of kernel 3 and expansion 6, or the one nearest to it.
  """

  def distance(op: str) -> tuple[int, int, int]:
    kernel, expansion, *rest = map(int, re.findall(r"[keg](\d+)", op))
    return abs(kernel - 3), abs(expansion - 6), len(rest)

  bottlenecks = [op for op in net.ops if op.startswith("mb_")]
  op = net.ops.index(min(bottlenecks, key=distance))
  return (op,) * len(net.space().choices)


def _describe(skeleton: Skeleton) -> str:
  layers = sum(stage.repeats for stage in skeleton.stages)
  return f"{layers} layers of {len(skeleton.ops)} operations"


# skeleton: layers and channels. width: multiplies the channels, see `Chain`.
KIND = SpaceKind(
  spec=Chain,
  fields={"skeleton": "fbnet_32", "width": 1.0},
  make=make,
  make_supernet=make_supernet,
  make_network=Network,
  inherit=inherit,
  choices={"skeleton": {name: _describe(s) for name, s in SKELETONS.items()}},
  positive=("width",),
  smoke={"skeleton": "tiny"},
  widen=widen,
  overrides=overrides,
  reference=reference,
  classifier=True,
)
