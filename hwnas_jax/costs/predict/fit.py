"""Trains a latency predictor on measured networks, in one program.

A predictor has several members. Each holds out a different fifth of the
samples; its table is fitted and its network trained on the rest. All members
stop at the same step, where their mean held-out error is least. At step 0 the
predictor is the table, and a later step has to be better by more than its
standard error, so with few samples the predictor stays the table.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from hwnas_jax.core import graph as graphs
from hwnas_jax.core.graph import Graph
from hwnas_jax.core.rng import stream
from hwnas_jax.core.types import Array, Params
from hwnas_jax.costs.measured import Measured
from hwnas_jax.costs.predict import predictor as predictors
from hwnas_jax.costs.predict.nets import NETWORKS
from hwnas_jax.costs.predict.predictor import FittedTable, HeldOut, Predictor
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
  """The recipe of a predictor's training.

  members: how many, at most FOLDS.
  evaluations: how often held-out errors are computed; training stops at one of
    these.
  batch_size: samples a step; all of a member's samples if they are fewer.
  rate: learning rate of AdamW, at its highest.
  """

  members: int = FOLDS
  evaluations: int = 40
  steps_per_evaluation: int = 20
  batch_size: int = 128
  rate: float = 3e-3


DEFAULTS = Settings()


class Samples(NamedTuple):
  """Measured networks, and the table that a predictor corrects.

  reference: [E, O] the table in ms, or ones.
  mixes: [N, E, O] one-hot; a row of zeros is an absent choice.
  latency_ms: [N] measured, above 0.
  """

  reference: Array
  mixes: Array
  latency_ms: Array


class Errors(Protocol):
  """Relative errors of members on samples."""

  def __call__(self, networks: Params, rows: Array, /) -> Array:
    """Returns the relative errors [M, n].

    Args:
      networks: weights [M, ...], one network a member.
      rows: int32[M, n] indices of each member's samples.
    """


def fit_table(graph: Graph, samples: Samples, rule: Array) -> FittedTable:
  """Fits a table: least absolute relative errors, by reweighted least squares.

  A small ridge, relative to each column, fixes the prices that the samples do
  not determine.

  Args:
    graph: the choices as edges between states.
    samples: N measured networks.
    rule: int32[] index into graph.RULES.
  """
  reference, mixes, latency_ms = samples
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
  return FittedTable(prices, rule, 0.1 * latency_ms.min())


def table_ms(
  graph: Graph, reference: Array, table: FittedTable, mixes: Array
) -> Array:
  """Latency in ms by the table, without a network: [..., E, O] -> [...]."""
  runs = predictors.rule_runs(graph, table.rule, mixes)
  return jnp.exp(predictors.table_log_ms(table, reference, mixes, runs))


def relative_error(predicted_ms: Array, latency_ms: Array) -> Array:
  """|predicted / measured - 1|."""
  return jnp.abs(predicted_ms / latency_ms - 1)


def best_tables(
  graph: Graph, samples: Samples, folds: tuple[Array, Array]
) -> FittedTable:
  """A table for each member [M, ...], with the rule of least held-out error.

  Args:
    graph: the choices as edges between states.
    samples: N measured networks.
    folds: what `split` returned.
  """
  reference, mixes, latency_ms = samples

  def fit(kept: Array, held: Array, rule: Array) -> tuple[FittedTable, Array]:
    part = Samples(reference, mixes[kept], latency_ms[kept])
    table = fit_table(graph, part, rule)
    predicted = table_ms(graph, reference, table, mixes[held])
    return table, relative_error(predicted, latency_ms[held]).mean()

  rules = jnp.arange(len(graphs.RULES))
  each = jax.vmap(jax.vmap(fit, (0, 0, None)), (None, None, 0))
  tables, errors = each(*folds, rules)
  best = errors.mean(1).argmin()
  return jax.tree.map(lambda leaf: leaf[best], tables)


def split(num_samples: int, members: int, key: Array) -> tuple[Array, Array]:
  """Rows that each member trains on [M, .] and holds out [M, N // FOLDS]."""
  held = num_samples // FOLDS
  order = jax.random.permutation(key, num_samples)
  shifts = -held * np.arange(members)
  rolled = jnp.stack([jnp.roll(order, shift) for shift in shifts])
  return rolled[:, held:], rolled[:, :held]


def fit(
  kind: str, graph: Graph, settings: Settings, samples: Samples, key: Array
) -> Predictor:
  """The whole training as a pure function: `train` without its checks."""
  reference, mixes, latency_ms = samples
  split_key, init_key, batch_key = jax.random.split(key, 3)
  kept, held = split(len(mixes), settings.members, split_key)
  tables = best_tables(graph, samples, (kept, held))
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

  def errors(networks: Params, rows: Array, /) -> Array:
    logs = jax.vmap(predictors.member_log_ms, (None, 0, 0, 0))(
      start, tables, networks, mixes[rows]
    )
    return relative_error(jnp.exp(logs), latency_ms[rows])

  best = _descend(settings, errors, networks, kept, held, batch_key)
  trained, table_alone = errors(best, held), errors(networks, held)
  held_out = HeldOut(
    trained.mean(),
    jnp.median(trained),
    table_alone.mean(),
    jnp.median(table_alone),
  )
  return dataclasses.replace(start, networks=best, held_out=held_out)


def _descend(
  settings: Settings,
  errors: Errors,
  start: Params,
  kept: Array,
  held: Array,
  key: Array,
) -> Params:
  """Trains from `start`; the networks [M, ...] at the best evaluation."""
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
  samples: Samples,
  key: Array,
  settings: Settings = DEFAULTS,
) -> Predictor:
  """Trains a predictor on measured networks.

  Args:
    kind: the network's name in `costs.predict.nets.NETWORKS`.
    graph: the choices as edges between states.
    samples: N measured networks.
    key: of the split, the weights and the batches.
    settings: how long and how.

  Raises:
    ValueError: too few samples, a mix that is not one-hot or has no path from
      an input to an output, a latency that is not above 0; the message names
      the sample.
  """
  require_trainable(kind, graph, samples, settings)
  arrays = Samples(*(jnp.asarray(a, jnp.float32) for a in samples))
  return _fit(kind, graph, settings, arrays, key)


def train_on(
  kind: str, net: Spec, costs: Mapping[str, float], measured: Measured
) -> Predictor:
  """`train` on measured networks of a space, over its table.

  Args:
    kind: the network's name in `costs.predict.nets.NETWORKS`.
    net: the networks' space.
    costs: the raw table, ms by the key of a site (`table.raw_costs`).
    measured: N networks; dead ones are left out.
  """
  alive = [i for i, g in enumerate(measured.genotypes) if net.alive(g)]
  genotypes = [measured.genotypes[i] for i in alive]
  latency_ms = [measured.latencies_ms[i] for i in alive]
  samples = Samples(
    jnp.asarray(net.space().cost_array(costs)),
    jnp.asarray(architecture.one_hot(genotypes, len(net.ops))),
    jnp.asarray(latency_ms, jnp.float32),
  )
  return train(kind, net.graph(), samples, stream(0, "predictor"))


_fit = jax.jit(fit, static_argnums=(0, 1, 2))


def require_trainable(
  kind: str, graph: Graph, samples: Samples, settings: Settings
) -> None:
  """Raises `train`'s ValueErrors."""
  reference, mixes, latency_ms = map(np.asarray, samples)
  graphs.require_forward(graph)
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
