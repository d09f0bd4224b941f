"""What a scan over equal cells saves in compiling a training step.

  python -m experiments.benchmarks.scan_cells

A training step of the network DARTS_V2 (forward, backward, batch statistics,
SGD; no auxiliary head, no drop-path) on 32x32 images, with every cell written
out, as this package does it, and with each row of cells of one shape in one
`lax.scan`. Both start from the same weights; their losses have to be equal.
Rows that scan_cells.json has are not made again.
"""

import itertools
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from experiments.made import begin, made
from hwnas_jax.core.compile import jit
from hwnas_jax.core.types import ABSENT, Array
from hwnas_jax.io import readers, writers
from hwnas_jax.nets.darts_network import Cell
from hwnas_jax.nets.ops import make_op
from hwnas_jax.spaces import darts
from hwnas_jax.spaces.darts import CellSpec, Darts

RESULTS = pathlib.Path(__file__).with_suffix(".json")
CELLS, CHANNELS, BATCH, STEPS = (14, 20), 16, 16, 5
# Of each node, its operations by source (Liu et al. 2019, figures 4 and 5).
NORMAL = (
  {0: "sep_conv_3x3", 1: "sep_conv_3x3"},
  {0: "sep_conv_3x3", 1: "sep_conv_3x3"},
  {0: "skip_connect", 1: "sep_conv_3x3"},
  {0: "skip_connect", 2: "dil_conv_3x3"},
)
REDUCTION = (
  {0: "max_pool_3x3", 1: "max_pool_3x3"},
  {1: "max_pool_3x3", 2: "skip_connect"},
  {0: "max_pool_3x3", 2: "skip_connect"},
  {1: "max_pool_3x3", 2: "skip_connect"},
)


class Layer(nn.Module):
  """A cell with the operations before it."""

  net: Darts
  spec: CellSpec
  sites: tuple[Any, Any]

  @nn.compact
  def __call__(self, before: Array, last: Array) -> Array:
    """The two cells before -> this cell's features."""
    left = make_op(self.sites[0], "train", "left")(before)
    right = make_op(self.sites[1], "train", "right")(last)
    nodes = REDUCTION if self.spec.reduction else NORMAL
    ops = tuple(
      self.net.ops.index(nodes[node][source])
      if source in nodes[node]
      else ABSENT
      for source, node in self.net.edges
    )
    return Cell(self.net, self.spec, ops, "train", name="cell")(
      left, right, None
    )


def rows_of(net: Darts, scanned: bool) -> list[list[Layer]]:
  """Layers by row; layers of a row have one shape."""
  _, *sites, _ = darts.fixed_sites(net)
  layers = [
    Layer(net, spec, (sites[2 * i], sites[2 * i + 1]))
    for i, spec in enumerate(net.cells())
  ]
  if not scanned:
    return [[layer] for layer in layers]
  groups = itertools.groupby(layers, key=lambda layer: layer.spec)
  return [list(group) for _, group in groups]


def stacked(trees: Sequence[Any]) -> Any:
  """Trees of one structure as one tree, with a first axis."""
  return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def run(module: nn.Module, variables: Any, *inputs: Array) -> Any:
  """(output, new batch statistics)."""
  out, new = module.apply(variables, *inputs, mutable=["batch_stats"])
  return out, new.get("batch_stats", {})


class Network:
  """The network, its cells written out or scanned."""

  def __init__(self, net: Darts, scanned: bool) -> None:
    """Nothing is computed yet."""
    stem, *_, head = darts.fixed_sites(net)
    self.rows = rows_of(net, scanned)
    self.stem, self.head = make_op(stem, "train"), make_op(head, "train")

  def init(self, images: Array) -> list[Any]:
    """Variables of the stem, of each row and of the head; one draw for both."""
    keys = iter(jax.random.split(jax.random.key(0), 64))
    variables = [self.stem.init(next(keys), images)]
    before = last = run(self.stem, variables[0], images)[0]
    for row in self.rows:
      made = []
      for layer in row:
        made.append(layer.init(next(keys), before, last))
        before, last = last, run(layer, made[-1], before, last)[0]
      variables.append(stacked(made) if len(row) > 1 else made[0])
    return [*variables, self.head.init(next(keys), last)]

  def __call__(self, variables: list[Any], images: Array) -> Any:
    """(logits, new batch statistics of the stem, each row and the head)."""
    first, *middle, final = variables
    last, new = run(self.stem, first, images)
    carry, stats = (last, last), [new]
    for row, given in zip(self.rows, middle, strict=True):

      def one(carry: Any, given: Any, layer: Layer = row[0]) -> Any:
        out, new = run(layer, given, *carry)
        return (carry[1], out), new

      carry, new = lax.scan(one, carry, given) if row[1:] else one(carry, given)
      stats.append(new)
    logits, new = run(self.head, final, carry[1])
    return logits, [*stats, new]


def make_step(network: Network) -> Any:
  """(params, stats, images, labels) -> (params, stats, loss)."""

  def loss(params: Any, stats: Any, images: Array, labels: Array) -> Any:
    variables = [
      {"params": p, "batch_stats": s}
      for p, s in zip(params, stats, strict=True)
    ]
    logits, stats = network(variables, images)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return losses.mean(), stats

  def step(params: Any, stats: Any, images: Array, labels: Array) -> Any:
    (value, stats), grads = jax.value_and_grad(loss, has_aux=True)(
      params, stats, images, labels
    )
    return jax.tree.map(lambda p, g: p - 0.01 * g, params, grads), stats, value

  return step


def measure(num_cells: int, scanned: bool) -> dict[str, Any]:
  """Seconds to trace, lower, compile and make a step, and the losses."""
  net = Darts(darts.OP_SETS["eight"], num_cells, 4, CHANNELS, (32, 32, 3), 10)
  network, rng = Network(net, scanned), np.random.default_rng(0)
  images = jnp.asarray(rng.standard_normal((BATCH, 32, 32, 3), np.float32))
  labels = jnp.asarray(rng.integers(0, 10, BATCH), jnp.int32)
  variables = network.init(images)
  params = [v.get("params", {}) for v in variables]
  stats = [v.get("batch_stats", {}) for v in variables]
  step = jit(make_step(network))
  times = [time.perf_counter()]
  lowered = step.lower(params, stats, images, labels)
  times.append(time.perf_counter())
  compiled = lowered.compile()
  times.append(time.perf_counter())
  losses = []
  for _ in range(STEPS + 1):
    params, stats, value = compiled(params, stats, images, labels)
    losses.append(float(value))
    times.append(time.perf_counter())
  lower_s, compile_s, _, *steps_s = np.diff(times).tolist()
  return {
    "cells": num_cells,
    "scanned": scanned,
    "rows": len(network.rows),
    "lower_s": lower_s,
    "compile_s": compile_s,
    "step_s": float(np.median(steps_s)),
    "losses": losses,
  }


def main() -> None:
  """Writes scan_cells.json."""
  start = begin()
  document = readers.read_json(RESULTS) if RESULTS.exists() else {"rows": []}
  done = {(row["cells"], row["scanned"]) for row in document["rows"]}
  for case in itertools.product(CELLS, (False, True)):
    if case in done:
      continue
    row = measure(*case)
    print(row, flush=True)
    document["rows"].append(row)
    document["made"] = made(start, all=0)
    writers.write_json(RESULTS, document)
  by_cells = itertools.groupby(document["rows"], key=lambda row: row["cells"])
  for cells, rows in by_cells:
    one, other = (row["losses"][:2] for row in rows)
    if not np.allclose(one, other, rtol=1e-4):
      raise SystemExit(f"{cells} cells: losses differ: {one} and {other}")


if __name__ == "__main__":
  main()
