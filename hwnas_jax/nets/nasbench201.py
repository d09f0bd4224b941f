"""Supernet and derived network of NAS-Bench-201 (Dong and Yang 2020).

In the supernet the N cells of a stage, which have one shape and one mix, are a
scan over stacked weights, so that compile time does not grow with N. The scan's
body is rematerialised, as in `nets.darts_supernet`. A derived network is
unrolled: a compiler may fuse across its cells, as it does where the network is
deployed.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from hwnas_jax.core.types import Array, Genotype, Params, Paths
from hwnas_jax.nets.cells import overrides, widen
from hwnas_jax.nets.init import draw, op_shapes, stacked
from hwnas_jax.nets.kind import SpaceKind
from hwnas_jax.nets.norm import Mode
from hwnas_jax.nets.ops import make_op
from hwnas_jax.nets.paths import run_paths, weigh
from hwnas_jax.nets.supernet import Net, Selection, run_op
from hwnas_jax.spaces.nasbench201 import (
  EDGES,
  NUM_STAGES,
  OUTPUT,
  NasBench201,
  fixed_sites,
  from_string,
)
from hwnas_jax.spaces.spec import Site

_NAMES = tuple(f"{source}->{target}" for source, target in EDGES)


class RunEdge(Protocol):
  """Runs one edge of a supernet's cell."""

  def __call__(self, edge: int, x: Array, /) -> Array:
    """The edge's output, from its source state; both [B, H, W, C].

    Args:
      edge: its place in EDGES.
      x: the source state.
    """


def _make_edge_op(site: Site, mode: Mode, name: str | None = None) -> nn.Module:
  """As `make_op`, but without a batch norm after pooling in the search.

  The benchmark's code has none there.
  """
  return make_op(site, "eval" if "pool" in site.op else mode, name)


def _edge_sites(net: NasBench201, stage: int) -> dict[int, Site]:
  """{column: site} of a stage, without `none`, which adds nothing."""
  return {
    column: net.stage_site(stage, op)
    for column, op in enumerate(net.ops)
    if op != "none"
  }


def _run(site: Site, params: Params, x: Array) -> Any:
  return _make_edge_op(site, "search").apply({"params": params}, x)


def _mixed_edges(
  sites: dict[int, Site], params: Params, rows: Array
) -> RunEdge:
  """Runs all operations of an edge, mixed.

  Those without weights run once for all edges that leave a state.
  """
  unweighted = {o: s for o, s in sites.items() if not op_shapes(s)}
  shared: dict[int, dict[int, Array]] = {}  # by state that edges leave

  def run(edge: int, x: Array) -> Array:
    source, name, row = EDGES[edge][0], _NAMES[edge], rows[edge]
    if source not in shared:
      shared[source] = {o: _run(s, {}, x) for o, s in unweighted.items()}
    outputs = shared[source] | {
      o: _run(s, params[name][s.op], x)
      for o, s in sites.items()
      if o not in unweighted
    }
    terms = [weigh(y, row[..., o]) for o, y in outputs.items()]
    return sum(terms[1:], terms[0])

  return run


def _path_edges(
  net: NasBench201, stage: int, params: Params, rows: Array, paths: Paths
) -> RunEdge:
  """Runs the operations of the paths alone."""
  sites = [net.stage_site(stage, op) for op in net.ops]
  branches = [
    lambda weights, x, site=site: _run(site, weights.get(site.op, {}), x)
    for site in sites
  ]

  def run(edge: int, x: Array) -> Array:
    path = jax.tree.map(lambda p: p[edge], paths)
    return run_paths(branches, params[_NAMES[edge]], x, rows[edge], path)

  return run


def _cell(run: RunEdge, x: Array, identity: Array | None) -> Array:
  """One cell of the supernet: x [B, H, W, C] -> the same shape."""
  states: list[Array] = [x]
  for node in range(1, OUTPUT + 1):
    terms = []
    for edge, (source, target) in enumerate(EDGES):
      if target == node:
        terms.append(run(edge, states[source]))
        if identity is not None:
          terms.append(weigh(states[source], identity))
    # Without it a CPU computes the sum again in everything that reads it
    # (core.compile).
    states.append(lax.optimization_barrier(sum(terms[1:], terms[0])))
  return states[OUTPUT]


def _stage_shapes(net: NasBench201, stage: int) -> Params:
  cell = {
    site.op: stacked(op_shapes(site), net.num_cells)
    for site in _edge_sites(net, stage).values()
    if op_shapes(site)
  }
  return {"edges": dict.fromkeys(_NAMES, cell)}


def make_supernet(net: NasBench201) -> Net:
  """The supernet of a NAS-Bench-201 network.

  Its weights are {"stem", "stages": [{"edges": {edge: {op: one copy for each
  of the N cells, stacked}}}], "blocks": [residual block], "head"}.
  """
  stem, *blocks, head = fixed_sites(net)

  def init(key: Array) -> Params:
    shapes = {
      "stem": op_shapes(stem),
      "stages": [_stage_shapes(net, stage) for stage in range(NUM_STAGES)],
      "blocks": [op_shapes(block) for block in blocks],
      "head": op_shapes(head),
    }
    return draw(key, shapes)

  def apply(
    weights: Params,
    mix: Array,
    images: Array,
    paths: Paths | None = None,
    identity: Array | None = None,
  ) -> Array:
    x = run_op(stem, weights["stem"], images)
    # [6, (B,) O]
    selected = Selection(jnp.moveaxis(mix, -2, 0), paths, identity)
    for stage in range(NUM_STAGES):
      if stage:
        x = run_op(blocks[stage - 1], weights["blocks"][stage - 1], x)
      params = weights["stages"][stage]["edges"]
      x = _stage(net, stage, params, x, selected)
    return run_op(head, weights["head"], x)

  return Net(init, apply)


def _stage(
  net: NasBench201,
  stage: int,
  params: Params,
  x: Array,
  selected: Selection,
) -> Array:
  """The N cells of a stage: x [B, H, W, C] -> the same shape."""
  sites = _edge_sites(net, stage)
  rows, paths, identity = selected

  def mixed(weights: Params, x: Array, rows: Array) -> Array:
    return _cell(_mixed_edges(sites, weights, rows), x, identity)

  def body(x: Array, weights: Params) -> tuple[Array, None]:
    if paths is None:
      return jax.checkpoint(mixed)(weights, x, rows), None
    run = _path_edges(net, stage, weights, rows, paths)
    return _cell(run, x, identity), None

  return lax.scan(body, x, params)[0]


class Cell(nn.Module):
  """One cell of a derived network, without edges that are not `live`."""

  net: NasBench201
  stage: int
  genotype: Genotype
  mode: Mode

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """x [B, H, W, C] -> the same shape; zeros if nothing joins the ends."""
    states = {0: x}
    live = self.net.live(self.genotype)
    for node in range(1, OUTPUT + 1):
      terms = [
        self._edge(edge, states[source])
        for edge, (source, target) in enumerate(EDGES)
        if target == node and live[edge]
      ]
      if terms:
        states[node] = sum(terms[1:], terms[0])
        # Without it a CPU computes the sum again in everything that reads it
        # (core.compile). It also runs the convolutions of several nodes at
        # once, and three of them then take 1.5 times as long as one by one.
        states = lax.optimization_barrier(states)
    return states.get(OUTPUT, jnp.zeros_like(x))

  def _edge(self, edge: int, x: Array) -> Array:
    op = self.net.ops[self.genotype[edge]]
    site = self.net.stage_site(self.stage, op)
    return _make_edge_op(site, self.mode, _edge_name(edge, op))(x)


def _edge_name(edge: int, op: str) -> str:
  source, target = EDGES[edge]
  return f"edge_{source}_{target}_{op}"


class Network(nn.Module):
  """The network of a genotype."""

  net: NasBench201
  genotype: Genotype
  mode: Mode

  @nn.compact
  def __call__(
    self, images: Array, drop_rate: None = None
  ) -> tuple[Array, None]:
    """Class logits [B, num_classes], and None: no auxiliary head.

    Args:
      images: [B, H, W, C], in whose type it computes.
      drop_rate: not read: the published recipe has no drop-path.
    """
    del drop_rate
    stem, *blocks, head = fixed_sites(self.net)
    x = make_op(stem, self.mode, "stem")(images)
    for stage in range(NUM_STAGES):
      if stage:
        x = make_op(blocks[stage - 1], self.mode, f"block_{stage}")(x)
      for index in range(self.net.num_cells):
        name = f"cell_{stage}_{index}"
        x = Cell(self.net, stage, self.genotype, self.mode, name=name)(x)
    return make_op(head, self.mode, "head")(x), None


def inherit(net: NasBench201, genotype: Genotype, weights: Params) -> Params:
  """The supernet's weights of one genotype, by the names of its network.

  They fit mode `search`, where a cell's batch norm has no scale and shift.
  """
  params = {"stem": weights["stem"], "head": weights["head"]}
  for stage, block in enumerate(weights["blocks"], 1):
    params[f"block_{stage}"] = block
  live = net.live(genotype)
  for stage, stored in enumerate(weights["stages"]):
    cells = {
      _edge_name(edge, net.ops[op]): stored["edges"][_NAMES[edge]][net.ops[op]]
      for edge, op in enumerate(genotype)
      if live[edge] and net.ops[op] in stored["edges"][_NAMES[edge]]
    }
    for index in range(net.num_cells if cells else 0):
      params[f"cell_{stage}_{index}"] = jax.tree.map(
        lambda w, i=index: w[i], cells
      )
  return params


def reference(net: NasBench201) -> Genotype:
  """A residual block: three 3x3 convolutions in a row, and a skip past them.

  ResNet's idea (He et al. 2016, section 3.2) in the space's terms.
  """
  return from_string(
    "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|"
    "+|skip_connect~0|none~1|nor_conv_3x3~2|"
  )


def make(
  values: Mapping[str, Any], image: tuple[int, int, int], num_classes: int
) -> NasBench201:
  """The Spec of a config's fields; see `nets.kind.MakeSpec`."""
  return NasBench201(
    values["num_cells"], values["channels"], image, num_classes
  )


# num_cells: of each of the three stages. channels: of the first stage.
KIND = SpaceKind(
  spec=NasBench201,
  fields={"num_cells": 8, "channels": 16},
  make=make,
  make_supernet=make_supernet,
  make_network=Network,
  inherit=inherit,
  positive=("num_cells", "channels"),
  smoke={"num_cells": 1, "channels": 4},
  derive_fields=("num_cells", "channels"),
  widen=widen,
  overrides=overrides,
  reference=reference,
)
