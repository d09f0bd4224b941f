"""Trains a latency predictor on measured architectures, in one program.

Each of the members holds out its own fifth of the samples; the table is fitted
without it, the network is trained without it, and all members stop at the one
step at which their held-out errors together were best. Step 0 is the table
alone, and a later step is better only by more than its standard error: with
few samples the table stays as it is.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from hwnas_jax.core import graph as graphs
from hwnas_jax.core.graph import Graph
from hwnas_jax.core.rng import stream
from hwnas_jax.core.types import Array, Genotype, Params
from hwnas_jax.costs.predict import predictor as predictors
from hwnas_jax.costs.predict.nets import NETWORKS
from hwnas_jax.costs.predict.predictor import HeldOut, Predictor, Table
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.spec import Spec

FOLDS = 5
MIN_SAMPLES = 20
RIDGE = 0.01
KINK = 0.02  # relative error below which least absolute turns to least squares
REWEIGHTINGS = 20
CLIP = 1.0
DECAY = 1e-3


class Settings(NamedTuple):
  """members: networks, at most FOLDS; evaluations: chances to stop."""

  members: int = FOLDS
  evaluations: int = 40
  steps_per_evaluation: int = 20
  batch_size: int = 128
  rate: float = 3e-3


DEFAULTS = Settings()


def fit_table(
  graph: Graph, reference: Array, mixes: Array, latency_ms: Array, rule: Array
) -> Table:
  """Least absolute relative errors, by reweighted least squares.

  A small ridge, relative to each column, settles what is not determined.

  Args:
    graph: which choices run.
    reference: [E, O] ms, or ones.
    mixes: [N, E, O] one-hot.
    latency_ms: [N].
    rule: int32[] index into graph.RULES.
  """
  runs = predictors.rule_runs(graph, rule, mixes)
  sums = jnp.einsum("ne,neo,eo->no", runs, mixes, reference)
  columns = jnp.append(sums, jnp.ones((len(sums), 1)), 1) / latency_ms[:, None]
  ridge = RIDGE * jnp.square(columns).mean(0) + 1e-12

  def solve(weight: Array) -> Array:
    left = (columns * weight[:, None]).T @ columns + jnp.diag(ridge)
    return jnp.linalg.solve(left, columns.T @ weight)

  def reweight(prices: Array, _: None) -> tuple[Array, None]:
    residual = jnp.abs(columns @ prices - 1)
    return solve(KINK / jnp.maximum(residual, KINK)), None

  start = solve(jnp.ones(len(sums)))
  prices, _ = lax.scan(reweight, start, None, REWEIGHTINGS)
  return Table(prices, rule, 0.1 * latency_ms.min())


def table_ms(
  graph: Graph, reference: Array, table: Table, mixes: Array
) -> Array:
  """What a table alone predicts, in ms: [..., E, O] -> [...]."""
  runs = predictors.rule_runs(graph, table.rule, mixes)
  return jnp.exp(predictors.table_log_ms(table, reference, mixes, runs))


def relative_error(predicted_ms: Array, latency_ms: Array) -> Array:
  """|predicted / measured - 1|."""
  return jnp.abs(predicted_ms / latency_ms - 1)


def best_tables(
  graph: Graph,
  reference: Array,
  mixes: Array,
  latency_ms: Array,
  folds: tuple[Array, Array],
) -> Table:
  """A table a member [M, ...], all of the rule that is best held out."""

  def fit(kept: Array, held: Array, rule: Array) -> tuple[Table, Array]:
    table = fit_table(graph, reference, mixes[kept], latency_ms[kept], rule)
    predicted = table_ms(graph, reference, table, mixes[held])
    return table, relative_error(predicted, latency_ms[held]).mean()

  rules = jnp.arange(len(graphs.RULES))
  each = jax.vmap(jax.vmap(fit, (0, 0, None)), (None, None, 0))
  tables, errors = each(*folds, rules)
  best = errors.mean(1).argmin()
  return jax.tree.map(lambda leaf: leaf[best], tables)


def split(num_samples: int, members: int, key: Array) -> tuple[Array, Array]:
  """Rows that each member trains on and holds out: [M, .], [M, N // FOLDS]."""
  held = num_samples // FOLDS
  order = jax.random.permutation(key, num_samples)
  shifts = -held * np.arange(members)
  rolled = jnp.stack([jnp.roll(order, shift) for shift in shifts])
  return rolled[:, held:], rolled[:, :held]


def fit(
  kind: str,
  graph: Graph,
  settings: Settings,
  reference: Array,
  mixes: Array,
  latency_ms: Array,
  key: Array,
) -> Predictor:
  """The whole training, pure: `train` without its checks, to jit and vmap."""
  split_key, init_key, batch_key = jax.random.split(key, 3)
  kept, held = split(len(mixes), settings.members, split_key)
  tables = best_tables(graph, reference, mixes, latency_ms, (kept, held))
  runs = predictors.rule_runs(graph, tables.rule[0], mixes[:1])
  networks = jax.vmap(NETWORKS[kind](graph).init, (0, None, None))(
    jax.random.split(init_key, settings.members), mixes[:1], runs
  )
  zero = jnp.zeros(())
  start = Predictor(
    table=tables,
    networks=networks,
    reference=reference,
    held_out=HeldOut(zero, zero, zero, zero),
    num_samples=jnp.asarray(len(mixes), jnp.int32),
    kind=kind,
    graph=graph,
  )

  def errors(networks: Params, rows: Array) -> Array:
    logs = jax.vmap(predictors.member_log_ms, (None, 0, 0, 0))(
      start, tables, networks, mixes[rows]
    )
    return relative_error(jnp.exp(logs), latency_ms[rows])

  best = _descend(settings, errors, networks, kept, held, batch_key)
  ours, table_alone = errors(best, held), errors(networks, held)
  held_out = HeldOut(
    ours.mean(), jnp.median(ours), table_alone.mean(), jnp.median(table_alone)
  )
  return dataclasses.replace(start, networks=best, held_out=held_out)


def _descend(
  settings: Settings,
  errors: Callable[[Params, Array], Array],
  start: Params,
  kept: Array,
  held: Array,
  key: Array,
) -> Params:
  """Networks [M, ...] at the best evaluation; errors(networks, rows[M, .])."""
  num_steps = settings.evaluations * settings.steps_per_evaluation
  schedule = optax.warmup_cosine_decay_schedule(
    0.0, settings.rate, num_steps // 20, num_steps
  )
  optimiser = optax.adamw(schedule, weight_decay=DECAY)
  members, num_kept = kept.shape
  batch = min(settings.batch_size, num_kept)

  def rows(index: Array) -> Array:
    if batch == num_kept:
      return kept
    shape = members, batch
    drawn = jax.random.randint(
      jax.random.fold_in(key, index), shape, 0, num_kept
    )
    return jnp.take_along_axis(kept, drawn, 1)

  def step(carry: Any, index: Array) -> tuple[Any, None]:
    networks, state = carry
    # A sum over members: each has its own gradient.
    loss = lambda n: errors(n, rows(index)).mean(1).sum()  # noqa: E731
    updates, state = optimiser.update(jax.grad(loss)(networks), state, networks)
    return (optax.apply_updates(networks, updates), state), None

  at_start = errors(start, held)

  def evaluate(carry: Any, index: Array) -> tuple[Any, None]:
    running, best, best_bound = carry
    steps = index * settings.steps_per_evaluation
    running, _ = lax.scan(
      step, running, steps + jnp.arange(settings.steps_per_evaluation)
    )
    change = errors(running[0], held) - at_start
    bound = change.mean() + change.std() / np.sqrt(change.size)
    better = bound < best_bound
    keep = functools.partial(jnp.where, better)
    best = jax.tree.map(keep, running[0], best)
    return (running, best, jnp.minimum(bound, best_bound)), None

  carry = (start, optimiser.init(start)), start, jnp.zeros(())
  (_, best, _), _ = lax.scan(evaluate, carry, jnp.arange(settings.evaluations))
  return best


def train(
  kind: str,
  graph: Graph,
  reference: np.ndarray,
  mixes: np.ndarray,
  latency_ms: np.ndarray,
  key: Array,
  settings: Settings = DEFAULTS,
) -> Predictor:
  """Trains a predictor on measured architectures.

  Args:
    kind: the network's name in nets.predictors.NETWORKS.
    graph: which choices run.
    reference: [E, O] a table in ms, or ones.
    mixes: [N, E, O] one-hot; a row of zeros is an absent choice.
    latency_ms: [N] measured latencies.
    key: of the split, the weights and the batches.
    settings: how long.

  Raises:
    ValueError: too few samples, a mix that is no architecture or has no path
      from an input to an output, a latency that is not positive; says where.
  """
  check(kind, graph, reference, mixes, latency_ms, settings)
  arrays = (jnp.asarray(a, jnp.float32) for a in (reference, mixes, latency_ms))
  return _fit(kind, graph, settings, *arrays, key)


def train_on(
  kind: str,
  net: Spec,
  costs: Mapping[str, float],
  genotypes: Sequence[Genotype],
  measured_ms: Sequence[float],
) -> Predictor:
  """`train` on measured networks of a space, over its table.

  Args:
    kind: the network's name in nets.predictors.NETWORKS.
    net: the networks' space.
    costs: the raw table, ms by the key of a site (`table.raw_costs`).
    genotypes: [N] of the measured networks; those in which nothing runs are
      left out.
    measured_ms: [N] their latencies.
  """
  rows = [i for i, g in enumerate(genotypes) if any(net.live(g))]
  return train(
    kind,
    net.graph(),
    net.space().cost_array(costs),
    architecture.one_hot([genotypes[i] for i in rows], len(net.ops)),
    np.asarray([measured_ms[i] for i in rows], np.float32),
    stream(0, "predictor"),
  )


_fit = jax.jit(fit, static_argnums=(0, 1, 2))


def check(
  kind: str,
  graph: Graph,
  reference: np.ndarray,
  mixes: np.ndarray,
  latency_ms: np.ndarray,
  settings: Settings,
) -> None:
  """Raises `train`'s ValueErrors."""
  graphs.check(graph)
  if kind not in NETWORKS:
    raise ValueError(f"kind is {kind!r}, expected one of {[*NETWORKS]}")
  if not 1 <= settings.members <= FOLDS:
    raise ValueError(
      f"settings.members is {settings.members}, not 1 to {FOLDS}"
    )
  count, shape = len(mixes), mixes.shape[1:]
  if count < MIN_SAMPLES:
    raise ValueError(
      f"{count} measured networks are too few for a predictor: measure"
      f" {MIN_SAMPLES} or more, or use a calibrated table"
    )
  if shape != reference.shape or len(graph.edges) != shape[0]:
    raise ValueError(
      f"mixes {shape}, reference {reference.shape} and graph"
      f" ({len(graph.edges)} edges) are not of one space"
    )
  if latency_ms.shape != (count,):
    raise ValueError(f"latency_ms is {latency_ms.shape}, expected ({count},)")
  one_hot = ((mixes == 0) | (mixes == 1)).all((1, 2)) & (mixes.sum(2) <= 1).all(
    1
  )
  connected = np.asarray(graphs.runs(graph, jnp.asarray(mixes))[:, -1].any(-1))
  timed = np.isfinite(latency_ms) & (latency_ms > 0)
  for what, holds in (
    ("mixes: not a one-hot architecture", one_hot),
    ("mixes: no path from an input to an output", connected),
    ("latency_ms: not a positive number", timed),
  ):
    if not holds.all():
      raise ValueError(f"{what} at sample {int(np.argmin(holds))}")
