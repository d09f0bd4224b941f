"""The supernet of DARTS: every operation on every edge, mixed.

The edges that leave one state are a scan over stacked weights, so that the
compiled program grows with the number of states, not of edges. Operations
without weights give the same on all of these edges and run once a state. The
scan's body is rematerialised: on a CPU, storing the residuals of all edges
takes longer than computing them again
(docs/decisions.md#the-supernet-scans-over-the-edges-of-a-state).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from hwnas_jax.core.types import Array, Params, Paths
from hwnas_jax.nets.init import draw, op_shapes, stacked
from hwnas_jax.nets.paths import run_paths, shortcut, weigh
from hwnas_jax.nets.supernet import Net, Selection, run_op
from hwnas_jax.spaces import darts
from hwnas_jax.spaces.darts import CellSpec, Darts
from hwnas_jax.spaces.spec import Site


def _edges_from(net: Darts, source: int) -> list[int]:
  """Positions in `net.edges` of the edges that leave state `source`."""
  return [e for e, (s, _) in enumerate(net.edges) if s == source]


def _sources(net: Darts) -> range:
  return range(net.num_nodes + 1)


def _split_ops(
  net: Darts, cell: CellSpec, source: int
) -> tuple[dict[int, Site], dict[int, Site]]:
  """({column: site} with weights, the same without weights), but no `none`."""
  sites = {
    o: cell.edge_site(source, op)
    for o, op in enumerate(net.ops)
    if op != "none"
  }
  weighted = {o: s for o, s in sites.items() if op_shapes(s)}
  return weighted, {o: s for o, s in sites.items() if o not in weighted}


def _mix_edges(
  sites: dict[int, Site], params: Params, mix: Array, x: Array
) -> Array:
  """Mixes the operations with weights on n edges: [n, B, H, W, C].

  Args:
    sites: by column.
    params: by operation, n stacked copies.
    mix: [n, (B,) O].
    x: [B, H, W, C], the state that the edges leave.
  """

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
  """All operations, mixed, on each of the n edges that leave a state."""
  weighted, unweighted = _split_ops(net, cell, source)
  shared = {o: run_op(site, {}, x) for o, site in unweighted.items()}
  outputs: Array | list[Array] = [jnp.zeros((), x.dtype)] * len(rows)
  if weighted:
    outputs = _mix_edges(weighted, params, rows, x)
  return [
    sum((weigh(o, row[..., column]) for column, o in shared.items()), y)
    for y, row in zip(outputs, rows, strict=True)
  ]


def _on_paths(
  sites: Sequence[Site], params: Params, rows: Array, paths: Paths, x: Array
) -> list[Array]:
  """The operations of the paths alone, on each of n edges.

  Args:
    sites: [O].
    params: by operation, n stacked copies.
    rows: [n, O].
    paths: of the n edges.
    x: [B, H, W, C], the state that the edges leave.
  """
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
  selected: Selection,
) -> Array:
  """One cell: two states [B, H, W, C] -> [B, H', W', num_nodes * C].

  Args:
    net: the space.
    cell: its shapes.
    params: of the edges, by the state that they leave.
    inputs: the two states.
    selected: of the cell's edges.
  """
  states = list(inputs)
  nodes: list[Array] = []
  for source in _sources(net):
    x, edges = states[source], _edges_from(net, source)
    rows, paths, _ = selected.at(np.asarray(edges))
    weights = params[str(source)]
    if paths is None:
      outputs = _mixed(net, cell, source, weights, rows, x)
    else:
      sites = [cell.edge_site(source, op) for op in net.ops]
      outputs = _on_paths(sites, weights, rows, paths, x)
    for edge, y in zip(edges, outputs, strict=True):
      if selected.identity is not None:
        y = y + weigh(shortcut(x, y), selected.identity)
      node = net.edges[edge][1]
      if node < len(nodes):
        nodes[node] = nodes[node] + y
      else:
        nodes.append(y)
    if source > 0 and source - 1 < net.num_nodes:
      # Without it a CPU computes the sum again in everything that reads it
      # (core.compile).
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

  Its weights are {"stem", "cells": [{"left", "right", "edges": {source: {op:
  one copy for each edge that leaves the state, stacked}}}], "classifier"}.
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
    # [E, (B,) O]
    selected = Selection(jnp.moveaxis(mix, -2, 0), paths, identity)
    per_cell = len(net.edges)
    for cell, (left, right), params in zip(
      cells, pairs, weights["cells"], strict=True
    ):
      inputs = (
        run_op(left, params["left"], before),
        run_op(right, params["right"], last),
      )
      start = per_cell if cell.reduction else 0
      edges = selected.at(slice(start, start + per_cell))
      before, last = last, _cell(net, cell, params["edges"], inputs, edges)
    return run_op(classifier, weights["classifier"], last)

  return Net(init, apply)
