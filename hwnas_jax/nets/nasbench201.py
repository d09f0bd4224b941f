"""Supernet and derived network of NAS-Bench-201 (Dong and Yang 2020).

The N cells of a stage have one shape and one mix: a scan runs them over
stacked weights, so compile time does not grow with N. Its body is
rematerialised, as in `nets.supernet`. A derived network is unrolled: a
compiler may then fuse across cells, as it does where the network is deployed.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from hwnas_jax.core.types import Array, Genotype, Params
from hwnas_jax.nets.init import draw, op_shapes, stacked
from hwnas_jax.nets.norm import Mode
from hwnas_jax.nets.ops import make_op
from hwnas_jax.nets.supernet import Net, run_op, weigh
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


def _mixed_cell(
  sites: dict[int, Site], params: Params, rows: Array, x: Array
) -> Array:
  """One cell of the supernet: rows [6, (B,) O], x [B, H, W, C] -> the same."""
  free = {o: s for o, s in sites.items() if not op_shapes(s)}
  states: list[Array] = [x]
  shared: list[dict[int, Array]] = []  # by state: what all that leave it run
  for node in range(1, OUTPUT + 1):
    shared.append({o: _run(s, {}, states[-1]) for o, s in free.items()})
    terms = []
    for name, row, (source, target) in zip(_NAMES, rows, EDGES, strict=True):
      if target != node:
        continue
      outputs = shared[source] | {
        o: _run(s, params[name][s.op], states[source])
        for o, s in sites.items()
        if o not in free
      }
      terms += [weigh(y, row[..., o]) for o, y in outputs.items()]
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
  cells}}}], "blocks": [residual block], "head"}. `apply` takes a mix [6, 5]
  or [B, 6, 5] and images float32 [B, H, W, C].
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

  def apply(weights: Params, mix: Array, images: Array) -> Array:
    x = run_op(stem, weights["stem"], images)
    rows = jnp.moveaxis(mix, -2, 0)  # [6, (B,) O]
    for stage in range(NUM_STAGES):
      if stage:
        x = run_op(blocks[stage - 1], weights["blocks"][stage - 1], x)
      x = _mixed_stage(net, stage, weights["stages"][stage], rows, x)
    return run_op(head, weights["head"], x)

  return Net(init, apply)


def _mixed_stage(
  net: NasBench201, stage: int, params: Params, rows: Array, x: Array
) -> Array:
  sites = _edge_sites(net, stage)
  cell = jax.checkpoint(lambda w, m, x: _mixed_cell(sites, w, m, x))

  def body(x: Array, weights: Params) -> tuple[Array, None]:
    return cell(weights, rows, x), None

  return lax.scan(body, x, params["edges"])[0]


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
