"""The search step: one jitted function a phase, for every method.

    loss(w, a) = cross_entropy(w, mix) + penalty(cross_entropy, cost of mix)

where an estimator draws the mix and gives the gradients, and the logits come
from the controller a under a condition drawn each step (research 10.1). Who is
updated, on which examples and by which gradient is the phase
(`search.phases`).
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from hwnas_jax.core.types import Array, Condition, Mix, Params
from hwnas_jax.data.arrays import batch_indices
from hwnas_jax.method import hypergradient, min_norm, phases
from hwnas_jax.method.conditioned import Fold, plain
from hwnas_jax.method.conditions import Conditions
from hwnas_jax.method.controllers import Controller
from hwnas_jax.method.entropy import entropy
from hwnas_jax.method.estimators import (
  BOTH,
  LOGITS,
  WEIGHTS,
  Estimator,
  Grads,
  Metrics,
)
from hwnas_jax.method.penalty import Costs, Penalty, State, additive
from hwnas_jax.method.phases import Phase, Span
from hwnas_jax.method.price import Price
from hwnas_jax.method.schedule import Schedule
from hwnas_jax.method.state import CostTable, SearchData, SearchState
from hwnas_jax.nets.supernet import Net

Step = Callable[
  [SearchState, SearchData, CostTable], tuple[SearchState, Metrics]
]


class Parts(NamedTuple):
  """What a method is made of.

  augment: (key, uint8 images) -> float32 images.
  derived: logits[E, O] -> mask[E, O] of the network they give, for a penalty
    with a target; without one it is not looked at.
  identity: how much of its input each choice adds, by the progress after the
    warm-up (SurgeNAS; research 7.1); None is nothing.
  regulariser: logits[E, O] -> [], added to the controller's loss.
  skip: the column of the operation whose share is logged as an alarm.
  fold: the weights that `net` applies under a condition.
  """

  net: Net
  controller: Controller
  conditions: Conditions
  price: Price
  temperature: Schedule
  augment: Callable[[Array, Array], Array]
  weights_optimiser: optax.GradientTransformation
  controller_optimiser: optax.GradientTransformation
  penalty: Penalty = additive()
  derived: Callable[[Array], Array] | None = None
  identity: Schedule | None = None
  regulariser: Callable[[Array], Array] | None = None
  skip: int | None = None
  fold: Fold = plain


class Settings(NamedTuple):
  """Numbers and switches of a step.

  num_steps: of the whole search. warmup_steps: of the weights alone, in which
  the temperature stays (FBNet, LightNAS) and the identity does not fade
  (SurgeNAS). price_sample: what is priced is the sample, not its expectation.
  """

  num_steps: int
  batch_size: int
  warmup_steps: int = 0
  price_sample: bool = False


def init_state(parts: Parts, spans: Sequence[Span], key: Array) -> SearchState:
  """A fresh state; `key` is the run's."""
  weights_key, controller_key, run_key = jax.random.split(key, 3)
  weights = parts.net.init(weights_key)
  controller = parts.controller.init(controller_key)
  return SearchState(
    weights=weights,
    controller=controller,
    weights_optimiser=parts.weights_optimiser.init(weights),
    controller_optimiser=parts.controller_optimiser.init(controller),
    penalty=parts.penalty.init(),
    estimator=phases.init(spans),
    step=jnp.zeros((), jnp.int32),
    key=run_key,
  )


def _update(
  optimiser: optax.GradientTransformation,
  grads: Params,
  state: optax.OptState,
  params: Params,
  pace: Array | float = 1.0,
) -> tuple[Params, optax.OptState]:
  updates, state = optimiser.update(grads, state, params)
  updates = jax.tree.map(lambda u: pace * u, updates)
  return optax.apply_updates(params, updates), state


def _priced(mix: Mix, sample: bool) -> Array:
  """[E, O] of which the cost is read; a batch of samples counts by its mean."""
  if not sample:
    return mix.priced
  return mix.weights if mix.weights.ndim == 2 else mix.weights.mean(0)


def _price(
  parts: Parts, table: CostTable, condition: Condition, priced: Array
) -> Array:
  """What [E, O] costs at the condition's prices; [] in the loss's unit."""
  if table.predictor is None:
    return (parts.price(table.reference, condition) * priced).sum()
  # No prices of operations here: the device itself, in the table's unit.
  dearest = table.reference.max(1).sum()
  return condition.scale * table.of(priced) / dearest


class _Given(NamedTuple):
  """What a step's losses share."""

  condition: Condition
  penalty: State
  table: CostTable
  temperature: Array
  progress: Array


def _loss(
  parts: Parts,
  settings: Settings,
  given: _Given,
  batch: tuple[Array, Array],
  weights: Params,
  mix: Mix,
) -> tuple[Array, Metrics]:
  """The loss of a mix on a batch, and what there is to log."""
  images, labels = batch
  table = given.table
  more: dict[str, Any] = {}
  if mix.paths is not None:
    more["paths"] = mix.paths
  if parts.identity is not None:
    more["identity"] = parts.identity(given.progress)
  features = parts.conditions.features(given.condition)
  folded = parts.fold(weights, features)
  outputs = parts.net.apply(folded, mix.weights, images, **more)
  cross_entropy = optax.softmax_cross_entropy_with_integer_labels(
    outputs, labels
  ).mean()
  priced = _priced(mix, settings.price_sample)
  costs = Costs(_price(parts, table, given.condition, priced), table.of(priced))
  penalty = parts.penalty.added(given.penalty, cross_entropy, costs)
  metrics = {
    "loss": cross_entropy + penalty,
    "cross_entropy": cross_entropy,
    "penalty": penalty,
    "expected_cost": table.of(
      mix.priced if table.predictor is None else priced
    ),
    "accuracy": (outputs.argmax(-1) == labels).mean(),
  }
  return metrics["loss"], metrics


def _batch(
  parts: Parts,
  settings: Settings,
  state: SearchState,
  data: SearchData,
  level: int,
) -> tuple[Array, Array]:
  """The step's (images, labels) of level 0 (weights) or 1 (controller)."""
  index = data.controller_index if level else data.weights_index
  order, noise = jax.random.split(jax.random.fold_in(state.key, level))
  rows = index[
    batch_indices(order, state.step, index.shape[0], settings.batch_size)
  ]
  key = jax.random.fold_in(noise, state.step)
  return parts.augment(key, data.images[rows]), data.labels[rows]


# (wrt, weights, logits) -> (gradients, metrics, the estimator's state)
_Side = Callable[..., tuple[Grads, Metrics, State]]


def _side(
  parts: Parts,
  settings: Settings,
  estimator: Estimator,
  given: _Given,
  state: SearchState,
  data: SearchData,
  level: int,
  key: Array,
) -> _Side:
  """The gradients of a level's examples, all with the same noise."""
  batch = _batch(parts, settings, state, data, level)
  loss = functools.partial(_loss, parts, settings, given, batch)

  def grads(
    wrt: tuple[int, ...], weights: Params, logits: Array
  ) -> tuple[Grads, Metrics, State]:
    return estimator.grads(
      loss,
      wrt,
      weights,
      logits,
      jax.random.clone(key),
      given.temperature,
      state.estimator,
    )

  return grads


def _controller_grads(
  parts: Parts,
  phase: Phase,
  sides: tuple[_Side, _Side],
  state: SearchState,
  logits: Array,
) -> tuple[Array, Metrics, State]:
  """(d_logits, metrics, estimator's state) of a phase that is not joint."""
  train, valid = sides
  if phase.order == "first":
    found, metrics, kept = valid((LOGITS,), state.weights, logits)
    return found.logits, metrics, kept
  return hypergradient.look_ahead(
    phase.order,
    lambda *wanted: train(*wanted)[0],
    valid,
    parts.weights_optimiser,
    state.weights_optimiser,
    state.weights,
    logits,
  )


def _of_controller(
  parts: Parts, given: _Given, controller: Params, d_logits: Array
) -> Params:
  """What the controller's parameters get of a gradient of its logits."""
  features = parts.conditions.features(given.condition)
  logits, pull = jax.vjp(
    lambda c: parts.controller.apply(c, features), controller
  )
  if parts.regulariser is not None:
    d_logits += jax.grad(parts.regulariser)(logits)
  # Adam forgets a gradient's scale but not its spread: unweighted, the
  # dearest conditions would drown the cross-entropy of all others.
  weight = 1.0 / (1.0 + given.condition.scale)
  return jax.tree.map(lambda g: weight * g, pull(d_logits)[0])


def _with_controller(
  parts: Parts,
  settings: Settings,
  phase: Phase,
  given: _Given,
  state: SearchState,
  grads: Params,
  key: Array,
) -> SearchState:
  """The state after the controller's step and the penalty's."""
  features = parts.conditions.features(given.condition)
  pace = parts.penalty.pace(state.penalty, state.step / settings.num_steps)
  controller, optimiser = _update(
    parts.controller_optimiser,
    grads,
    state.controller_optimiser,
    state.controller,
    pace,
  )
  if phase.estimator.project is not None:
    old, new = (
      parts.controller.apply(c, features)
      for c in (state.controller, controller)
    )
    controller = {"logits": phase.estimator.project(key, old, new)}
  penalty = state.penalty
  if parts.derived is not None:
    mask = parts.derived(parts.controller.apply(controller, features))
    penalty = parts.penalty.update(penalty, given.table.of(mask))
  return dataclasses.replace(
    state,
    controller=controller,
    controller_optimiser=optimiser,
    penalty=penalty,
  )


def _logged(
  parts: Parts, given: _Given, state: SearchState, metrics: Metrics
) -> Metrics:
  """What is told of a step: the loss's parts, and how sharp the logits are."""
  features = parts.conditions.features(given.condition)
  logits = parts.controller.apply(state.controller, features)
  more = {"temperature": given.temperature, "entropy": entropy(logits)}
  if parts.skip is not None:
    more["skip_share"] = jax.nn.softmax(logits)[:, parts.skip].mean()
  if parts.derived is not None:
    latency_ms = given.table.of(parts.derived(logits))
    more |= {**state.penalty, "derived_latency_ms": latency_ms}
  return metrics | more


def _turn_controller(
  parts: Parts,
  settings: Settings,
  phase: Phase,
  given: _Given,
  sides: Callable[[_Given], tuple[_Side, _Side]],
  state: SearchState,
  key: Array,
) -> tuple[SearchState, Metrics]:
  """The controller's own step, where it is due."""

  def at(given: _Given) -> tuple[Params, Metrics, State]:
    features = parts.conditions.features(given.condition)
    logits = parts.controller.apply(state.controller, features)
    d_logits, metrics, kept = _controller_grads(
      parts, phase, sides(given), state, logits
    )
    grads = _of_controller(parts, given, state.controller, d_logits)
    return grads, metrics, kept

  def turn(state: SearchState) -> tuple[SearchState, Metrics]:
    if parts.conditions.each is None:
      grads, metrics, kept = at(given)
    else:
      # Not the key itself: that one draws the sample.
      devices = parts.conditions.each(jax.random.fold_in(key, 1))
      grads, metrics, kept = lax.map(
        lambda c: at(given._replace(condition=c)), devices
      )
      metrics, kept = jax.tree.map(lambda a: a.mean(0), (metrics, kept))
      grads = min_norm.combine(grads)
    state = dataclasses.replace(state, estimator=kept)
    after = _with_controller(parts, settings, phase, given, state, grads, key)
    return after, metrics

  if phase.every == 1 and not phase.start:
    return turn(state)
  changed = lax.cond(
    _due(phase, state.step),
    lambda: _of_turn(turn(state)[0]),
    lambda: _of_turn(state),
  )
  # The other metrics are of the weights' examples, due or not.
  return dataclasses.replace(state, **changed), {}


def _due(phase: Phase, step: Array) -> Array:
  """Whether the controller is updated at a step."""
  return (step >= phase.start) & (step % phase.every == 0)


def _of_turn(state: SearchState) -> dict[str, Any]:
  """The fields that a controller's step changes."""
  names = "controller", "controller_optimiser", "penalty", "estimator"
  return {name: getattr(state, name) for name in names}


def _with_weights(
  parts: Parts, state: SearchState, grads: Params
) -> SearchState:
  """The state after the weights' step."""
  weights, optimiser = _update(
    parts.weights_optimiser, grads, state.weights_optimiser, state.weights
  )
  return dataclasses.replace(
    state, weights=weights, weights_optimiser=optimiser
  )


def make_step(parts: Parts, settings: Settings, phase: Phase) -> Step:
  """Returns step(state, data, table) -> (state, metrics), to be jitted."""

  def step(
    state: SearchState, data: SearchData, table: CostTable
  ) -> tuple[SearchState, Metrics]:
    key = jax.random.fold_in(jax.random.fold_in(state.key, 2), state.step)
    condition_key, weights_key, controller_key = jax.random.split(key, 3)
    if phase.same_key:
      controller_key = jax.random.clone(weights_key)
    start = settings.warmup_steps
    progress = (state.step - start) / (settings.num_steps - start)
    progress = jnp.maximum(progress, 0.0)
    given = _Given(
      condition=parts.conditions.draw(condition_key),
      penalty=state.penalty,
      table=table,
      temperature=parts.temperature(progress),
      progress=progress,
    )

    def side(given: _Given, level: int) -> _Side:
      key = controller_key if level else weights_key
      return _side(
        parts, settings, phase.estimator, given, state, data, level, key
      )

    features = parts.conditions.features(given.condition)
    train = side(given, 0)
    metrics: Metrics = {}
    if phase.controller and not phase.joint:
      state, metrics = _turn_controller(
        parts,
        settings,
        phase,
        given,
        lambda given: (side(given, 0), side(given, 1)),
        state,
        controller_key,
      )
    if phase.weights:
      logits = parts.controller.apply(state.controller, features)
      wrt = BOTH if phase.joint else (WEIGHTS,)
      grads, metrics, kept = train(wrt, state.weights, logits)
      if phase.joint:
        own = _of_controller(parts, given, state.controller, grads.logits)
        after = _with_controller(
          parts, settings, phase, given, state, own, weights_key
        )
        after = dataclasses.replace(after, estimator=kept)
        due = functools.partial(jnp.where, _due(phase, state.step))
        changed = jax.tree.map(due, _of_turn(after), _of_turn(state))
        state = dataclasses.replace(state, **changed)
      state = _with_weights(parts, state, grads.weights)
    metrics = _logged(parts, given, state, metrics)
    return dataclasses.replace(state, step=state.step + 1), metrics

  return step
