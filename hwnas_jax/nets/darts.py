"""The weight-sharing supernet: every operation on every edge, mixed.

Edges that leave one state form a scan: their weights are stacked, so HLO size
follows the number of states, not of edges. Operations without weights are the
same on all of them and run once a state. The scanned body is rematerialised:
on CPU writing and faulting in the residuals of all edges costs more than
computing them again (BUILD_NOTES.md has the alternatives and their numbers).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from hwnas_jax.core.types import Array, Params, Paths
from hwnas_jax.nets.init import draw, op_shapes, stacked
from hwnas_jax.nets.paths import run_paths, shortcut, weigh
from hwnas_jax.nets.supernet import Net, run_op
from hwnas_jax.spaces import darts
from hwnas_jax.spaces.darts import CellSpec, Darts
from hwnas_jax.spaces.spec import Site


def edge_site(net: Darts, cell: CellSpec, source: int, op: str) -> Site:
  """The site of an operation on an edge that leaves state `source`."""
  if source < 2:
    stride = 2 if cell.reduction else 1
    return Site(
      op, cell.height, cell.width, cell.channels, cell.channels, stride
    )
  return Site(op, *cell.out_size, cell.channels, cell.channels, 1)


def _edges_from(net: Darts, source: int) -> list[int]:
  """Positions in `net.edges` of the edges that leave state `source`."""
  return [e for e, (s, _) in enumerate(net.edges) if s == source]


def _sources(net: Darts) -> range:
  return range(net.num_nodes + 1)


def _split_ops(
  net: Darts, cell: CellSpec, source: int
) -> tuple[dict[int, Site], dict[int, Site]]:
  """({column: site} with weights, the same without), `none` left out."""
  sites = {
    o: edge_site(net, cell, source, op)
    for o, op in enumerate(net.ops)
    if op != "none"
  }
  weighted = {o: s for o, s in sites.items() if op_shapes(s)}
  return weighted, {o: s for o, s in sites.items() if o not in weighted}


def _mix_edges(
  sites: dict[int, Site], params: Params, mix: Array, x: Array
) -> Array:
  """Mixes the weighted operations on n edges: mix [n, (B,) O] -> [n, ...]."""

  @jax.checkpoint
  def edge(weights: Params, row: Array, x: Array) -> Array:
    outputs = [
      weigh(
        run_op(site, weights[site.op], x),
        row[..., column],
      )
      for column, site in sites.items()
    ]
    return sum(outputs[1:], outputs[0])

  def body(carry: None, inputs: tuple[Params, Array]) -> tuple[None, Array]:
    return carry, edge(*inputs, x)

  return lax.scan(body, None, (params, mix))[1]


def _mixed(
  net: Darts,
  cell: CellSpec,
  source: int,
  params: Params,
  rows: Array,
  x: Array,
) -> list[Array]:
  """All operations, mixed, on the n edges that leave a state."""
  weighted, free = _split_ops(net, cell, source)
  shared = {o: run_op(site, {}, x) for o, site in free.items()}
  outputs: Array | list[Array] = [jnp.zeros(())] * len(rows)
  if weighted:
    outputs = _mix_edges(weighted, params, rows, x)
  return [
    sum((weigh(o, row[..., column]) for column, o in shared.items()), y)
    for y, row in zip(outputs, rows, strict=True)
  ]


def _few(
  net: Darts,
  cell: CellSpec,
  source: int,
  params: Params,
  rows: Array,
  x: Array,
  paths: Paths,
) -> list[Array]:
  """The operations of `paths` alone on the n edges that leave a state."""
  sites = [edge_site(net, cell, source, op) for op in net.ops]
  branches = [
    lambda weights, x, site=site: run_op(site, weights.get(site.op, {}), x)
    for site in sites
  ]

  def body(
    carry: None, inputs: tuple[Params, Array, Paths]
  ) -> tuple[None, Array]:
    weights, row, path = inputs
    return carry, run_paths(branches, weights, x, row, path)

  return list(lax.scan(body, None, (params, rows, paths))[1])


def _cell(
  net: Darts,
  cell: CellSpec,
  params: Params,
  inputs: tuple[Array, Array],
  mix: Array,
  paths: Paths | None,
  identity: Array | None,
) -> Array:
  """One mixed cell; mix [n edges, (B,) O], paths [n edges, .]."""
  states = list(inputs)
  nodes: list[Array] = []
  for source in _sources(net):
    x, edges = states[source], _edges_from(net, source)
    rows, weights = mix[np.asarray(edges)], params[str(source)]
    if paths is None:
      outputs = _mixed(net, cell, source, weights, rows, x)
    else:
      own = jax.tree.map(lambda p, e=edges: p[np.asarray(e)], paths)
      outputs = _few(net, cell, source, weights, rows, x, own)
    for edge, y in zip(edges, outputs, strict=True):
      if identity is not None:
        y = y + identity * shortcut(x, y)
      node = net.edges[edge][1]
      if node < len(nodes):
        nodes[node] = nodes[node] + y
      else:
        nodes.append(y)
    if source > 0 and source - 1 < net.num_nodes:
      # Or the CPU computes it again in all that reads it (core.compile).
      nodes[source - 1] = lax.optimization_barrier(nodes[source - 1])
      states.append(nodes[source - 1])
  return jnp.concatenate(nodes, -1)


def _edge_shapes(net: Darts, cell: CellSpec) -> Params:
  shapes = {}
  for source in _sources(net):
    weighted, _ = _split_ops(net, cell, source)
    count = len(_edges_from(net, source))
    shapes[str(source)] = {
      site.op: stacked(op_shapes(site), count) for site in weighted.values()
    }
  return shapes


def make_supernet(net: Darts) -> Net:
  """The supernet of a DARTS network.

  Weights: {"stem", "cells": [{"edges": {source: {op: stacked}}, "left",
  "right"}], "classifier"}.
  """
  cells = net.cells()
  stem, *preprocess, classifier = darts.fixed_sites(net)
  pairs = list(zip(preprocess[::2], preprocess[1::2], strict=True))

  def init(key: Array) -> Params:
    shapes = {
      "stem": op_shapes(stem),
      "classifier": op_shapes(classifier),
      "cells": [
        {
          "left": op_shapes(left),
          "right": op_shapes(right),
          "edges": _edge_shapes(net, cell),
        }
        for cell, (left, right) in zip(cells, pairs, strict=True)
      ],
    }
    return draw(key, shapes)

  def apply(
    weights: Params,
    mix: Array,
    images: Array,
    paths: Paths | None = None,
    identity: Array | None = None,
  ) -> Array:
    before = last = run_op(stem, weights["stem"], images)
    if net.imagenet_stem:
      before, last = before
    rows = jnp.moveaxis(mix, -2, 0)  # [E, (B,) O]
    per_cell = len(net.edges)
    for cell, (left, right), params in zip(
      cells, pairs, weights["cells"], strict=True
    ):
      inputs = (
        run_op(left, params["left"], before),
        run_op(right, params["right"], last),
      )
      start = per_cell if cell.reduction else 0
      kind, own = jax.tree.map(
        lambda a, s=start: a[s : s + per_cell], (rows, paths)
      )
      output = _cell(net, cell, params["edges"], inputs, kind, own, identity)
      before, last = last, output
    return run_op(classifier, weights["classifier"], last)

  return Net(init, apply)
