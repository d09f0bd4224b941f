"""Latency predictors: a table's sum, fitted to measurements, and a network.

    latency_ms = (base + sum charge[e] * price[o] * reference[e, o] * mix[e, o])
                 * exp(log factor)

with the charges and the factor from a network of `costs.predict.nets`. Without
the network, a liveness rule gives the charges and the factor is 1: what remains
is a calibrated table. `costs.predict.fit` trains both.
"""

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.core import graph as graphs
from hwnas_jax.core import tree
from hwnas_jax.core.graph import Graph
from hwnas_jax.core.types import Array, Params
from hwnas_jax.costs.predict.nets import NETWORKS
from hwnas_jax.io import paths, readers, writers


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FittedTable:
  """A table, fitted to measured networks.

  prices: [O + 1] a factor on each operation's reference, then the base in ms.
  rule: int32[] index into graph.RULES, the liveness rule.
  floor_ms: [] smooth lower bound of a prediction.
  """

  prices: Array
  rule: Array
  floor_ms: Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class HeldOut:
  """Relative errors [] on samples that the members were not trained on.

  mean, median: of the predictor.
  table_mean, table_median: of its table without the network.

  They are a little optimistic, because training stops where they are least.
  """

  mean: Array
  median: Array
  table_mean: Array
  table_median: Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Predictor:
  """M members, each a fitted table and a network, whose logs are averaged.

  table, networks: leaves [M, ...].
  reference: [E, O] the latency table's ms that `prices` multiply, or ones where
    an operation costs the same at every edge.
  num_samples: int32[] measured networks, held-out ones included.
  kind: the network's name in `costs.predict.nets.NETWORKS`.
  """

  table: FittedTable
  networks: Params
  reference: Array
  held_out: HeldOut
  num_samples: Array
  kind: str = dataclasses.field(metadata={"static": True})
  graph: Graph = dataclasses.field(metadata={"static": True})


def table_log_ms(
  table: FittedTable, reference: Array, mix: Array, charges: Array
) -> Array:
  """Logarithm of a table's sum, mix [..., E, O], charges [..., E] -> [...]."""
  sums = jnp.einsum("...e,...eo,eo->...o", charges, mix, reference)
  sum_ms = sums @ table.prices[:-1] + table.prices[-1]
  # Extrapolated sums can be negative; above 5 floors this changes < 0.2 %.
  return jnp.log(table.floor_ms * jax.nn.softplus(sum_ms / table.floor_ms))


def rule_runs(graph: Graph, rule: Array, mix: Array) -> Array:
  """How much of each edge runs under a rule: [..., E, O] -> [..., E]."""
  return jnp.take(graphs.runs(graph, mix), rule, axis=-2)


def member_log_ms(
  predictor: Predictor, table: FittedTable, network: Params, mix: Array
) -> Array:
  """One member's log latency: [..., E, O] -> [...]."""
  module = NETWORKS[predictor.kind](predictor.graph)
  runs = rule_runs(predictor.graph, table.rule, mix)
  outputs: Any = module.apply(network, mix, runs)
  charges, log_factor = outputs
  return table_log_ms(table, predictor.reference, mix, charges) + log_factor


def cost(predictor: Predictor, mix: Array) -> Array:
  """Predicted latency in ms, base included: [..., E, O] -> [...].

  Pure and differentiable; the predictor is an argument of the jitted step. It
  was trained on one-hot mixes, so give it straight-through one-hot samples:
  inside the simplex it is smooth, but its error there is not known
  (docs/latency.md#predictors).
  """
  logs = jax.vmap(member_log_ms, (None, 0, 0, None))(
    predictor, predictor.table, predictor.networks, mix
  )
  return jnp.exp(logs.mean(0))


def save(path: str | pathlib.Path, predictor: Predictor) -> None:
  """Writes a predictor with its held-out error as .npz; numpy reads it."""
  graph = {
    name: np.asarray(value, np.int64)
    for name, value in predictor.graph._asdict().items()
  }
  fields = {**_arrays(predictor), "kind": predictor.kind, "graph": graph}
  writers.write_arrays(paths.expand(path), fields)


def load(path: str | pathlib.Path) -> Predictor:
  """Reads what `save` wrote.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it is no predictor, or a field is missing or of another shape;
      the message names the file and the field.
  """
  arrays = readers.read_sealed(paths.expand(path))
  missing = {"kind", "reference", *_GRAPH} - set(arrays)
  if missing:
    raise ValueError(f"{path}: field {min(missing)!r} is missing")
  kind, graph = str(arrays.pop("kind")), _pop_graph(arrays)
  if kind not in NETWORKS:
    raise ValueError(
      f"{path}: field 'kind' is {kind!r}, expected one of {[*NETWORKS]}"
    )
  members = arrays.get("table/rule", np.zeros(0)).size
  wanted = blank(kind, graph, arrays["reference"].shape, members)
  lines = tree.diff(_arrays(wanted), arrays)
  if lines:
    raise ValueError(f"{path}: {lines[0]}")
  names = [tree.path(p) for p, _ in jax.tree.leaves_with_path(wanted)]
  leaves = [jnp.asarray(arrays[name]) for name in names]
  return jax.tree.unflatten(jax.tree.structure(wanted), leaves)


def blank(
  kind: str, graph: Graph, shape: tuple[int, ...], members: int
) -> Predictor:
  """The shapes of a predictor's arrays, as ShapeDtypeStructs.

  Args:
    kind: the network's name in `costs.predict.nets.NETWORKS`.
    graph: the choices as edges between states.
    shape: (E, O).
    members: M.
  """

  def make() -> Predictor:
    mix = jnp.zeros((1, *shape))
    keys = jax.random.split(jax.random.key(0), members)
    init = NETWORKS[kind](graph).init
    scalar, rows = jnp.zeros(()), jnp.zeros(members)
    return Predictor(
      table=FittedTable(
        jnp.zeros((members, shape[1] + 1)), rows.astype(jnp.int32), rows
      ),
      networks=jax.vmap(init, (0, None, None))(keys, mix, mix[..., 0]),
      reference=mix[0],
      held_out=HeldOut(scalar, scalar, scalar, scalar),
      num_samples=jnp.zeros((), jnp.int32),
      kind=kind,
      graph=graph,
    )

  return jax.eval_shape(make)


_GRAPH = tuple(f"graph/{name}" for name in Graph._fields)


def _arrays(predictor: Predictor) -> dict[str, Any]:
  return tree.flatten(predictor)


def _pop_graph(arrays: dict[str, np.ndarray]) -> Graph:
  edges, *states = (arrays.pop(name).tolist() for name in _GRAPH)
  graph = Graph(tuple(map(tuple, edges)), *map(tuple, states))
  graphs.require_forward(graph)
  return graph
