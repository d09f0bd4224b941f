"""Supernet and derived network of NAS-Bench-201 (Dong and Yang 2020).

The N cells of a stage have one shape and one mix: a scan runs them over
stacked weights, so compile time does not grow with N. Its body is
rematerialised, as in `nets.supernet`. A derived network is unrolled: a
compiler may then fuse across cells, as it does where the network is deployed.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from hwnas_jax.core.types import Array, Genotype, Params, Paths
from hwnas_jax.nets.init import draw, op_shapes, stacked
from hwnas_jax.nets.norm import Mode
from hwnas_jax.nets.ops import make_op
from hwnas_jax.nets.paths import run_paths, weigh
from hwnas_jax.nets.supernet import Net, run_op
from hwnas_jax.spaces.nasbench201 import (
  EDGES,
  NUM_STAGES,
  OUTPUT,
  NasBench201,
  fixed_sites,
)
from hwnas_jax.spaces.spec import Site

_NAMES = tuple(f"{source}->{target}" for source, target in EDGES)


def _make_edge_op(site: Site, mode: Mode, name: str | None = None) -> nn.Module:
  """As `make_op`, but no BN ever follows pooling: see the original's code."""
  return make_op(site, "eval" if "pool" in site.op else mode, name)


def _edge_sites(net: NasBench201, stage: int) -> dict[int, Site]:
  """{column: site} of a stage without `none`, which adds nothing."""
  return {
    column: net.stage_site(stage, op)
    for column, op in enumerate(net.ops)
    if op != "none"
  }


def _run(site: Site, params: Params, x: Array) -> Any:
  return _make_edge_op(site, "search").apply({"params": params}, x)


def _mixed_edges(
  sites: dict[int, Site], params: Params, rows: Array
) -> Callable[[int, Array], Array]:
  """(edge, x) -> all operations, mixed; what has no weights runs once."""
  free = {o: s for o, s in sites.items() if not op_shapes(s)}
  shared: dict[int, dict[int, Array]] = {}  # by state that edges leave

  def run(edge: int, x: Array) -> Array:
    source, name, row = EDGES[edge][0], _NAMES[edge], rows[edge]
    if source not in shared:
      shared[source] = {o: _run(s, {}, x) for o, s in free.items()}
    outputs = shared[source] | {
      o: _run(s, params[name][s.op], x)
      for o, s in sites.items()
      if o not in free
    }
    terms = [weigh(y, row[..., o]) for o, y in outputs.items()]
    return sum(terms[1:], terms[0])

  return run


def _few_edges(
  net: NasBench201, stage: int, params: Params, rows: Array, paths: Paths
) -> Callable[[int, Array], Array]:
  """(edge, x) -> the operations of `paths` alone."""
  sites = [net.stage_site(stage, op) for op in net.ops]
  branches = [
    lambda weights, x, site=site: _run(site, weights.get(site.op, {}), x)
    for site in sites
  ]

  def run(edge: int, x: Array) -> Array:
    own = jax.tree.map(lambda p: p[edge], paths)
    return run_paths(branches, params[_NAMES[edge]], x, rows[edge], own)

  return run


def _cell(
  run: Callable[[int, Array], Array], x: Array, identity: Array | None
) -> Array:
  """One cell of the supernet: x [B, H, W, C] -> the same shape."""
  states: list[Array] = [x]
  for node in range(1, OUTPUT + 1):
    terms = []
    for edge, (source, target) in enumerate(EDGES):
      if target == node:
        terms.append(run(edge, states[source]))
        if identity is not None:
          terms.append(identity * states[source])
    # Or the CPU computes it again in all that reads it (core.compile).
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

  Weights: {"stem", "stages": [{"edges": {edge: {op: stacked over the N
  cells}}}], "blocks": [residual block], "head"}.
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
    rows = jnp.moveaxis(mix, -2, 0)  # [6, (B,) O]
    for stage in range(NUM_STAGES):
      if stage:
        x = run_op(blocks[stage - 1], weights["blocks"][stage - 1], x)
      params = weights["stages"][stage]["edges"]
      x = _stage(net, stage, params, rows, x, paths, identity)
    return run_op(head, weights["head"], x)

  return Net(init, apply)


def _stage(
  net: NasBench201,
  stage: int,
  params: Params,
  rows: Array,
  x: Array,
  paths: Paths | None,
  identity: Array | None,
) -> Array:
  """The N cells of a stage."""
  sites = _edge_sites(net, stage)

  def mixed(weights: Params, x: Array, rows: Array) -> Array:
    return _cell(_mixed_edges(sites, weights, rows), x, identity)

  def body(x: Array, weights: Params) -> tuple[Array, None]:
    if paths is None:
      return jax.checkpoint(mixed)(weights, x, rows), None
    few = _few_edges(net, stage, weights, rows, paths)
    return _cell(few, x, identity), None

  return lax.scan(body, x, params)[0]


class Cell(nn.Module):
  """One cell of a derived network: what is dead (`live`) is not there."""

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
        # Or the CPU computes it again in all that reads it (core.compile), and
        # runs the convolutions of several nodes at once: three of them take
        # half as long again as one after the other.
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
    """Images [B, H, W, C] -> (class logits, no auxiliary logits).

    drop_rate: None, the published recipe has no drop-path.
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
  """The supernet's weights of one genotype, under Network's names.

  They fit mode `search`, whose BN has no scale and shift in a cell.
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
