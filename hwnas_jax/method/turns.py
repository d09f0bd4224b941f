"""The two updates of a step: the controller's turn and the weights' turn."""

import dataclasses
import functools
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax
from jax import lax

from hwnas_jax.core.types import Array, Params
from hwnas_jax.method import hypergradient, min_norm
from hwnas_jax.method.draws import Draw, Gradients, mean_over
from hwnas_jax.method.estimators import (
  BOTH,
  LOGITS,
  WEIGHTS,
  BatchGradients,
  Metrics,
  State,
  Variables,
)
from hwnas_jax.method.losses import Given, Static
from hwnas_jax.method.parts import Parts
from hwnas_jax.method.phases import Phase
from hwnas_jax.method.state import SearchState


class Levels(NamedTuple):
  """Gradients on the weights' examples, and on the controller's."""

  weights: BatchGradients
  controller: BatchGradients


class LevelsUnder(Protocol):
  """Both levels' gradients under a condition."""

  def __call__(self, given: Given, drawn: Draw, /) -> Levels:
    """(what the losses share, one condition's draw) -> the gradients."""


class Turn(NamedTuple):
  """What an update reads besides the state.

  given: with the first of the step's conditions.
  drawn: all of the step's conditions.
  levels: gives the gradients under one of them.
  """

  static: Static
  given: Given
  drawn: Draw
  levels: LevelsUnder

  def mean(self, gradients: Gradients) -> Any:
    """The mean of gradients over the step's conditions."""
    settings = self.static.settings
    return mean_over(gradients, self.drawn, settings.conditions, settings.mesh)

  def logits(self, drawn: Draw, controller: Params) -> Array:
    """The controller's logits under a condition."""
    parts = self.static.parts
    features = parts.conditions.features(drawn.condition)
    return parts.controller.apply(controller, features)

  def under(self, drawn: Draw) -> tuple[Given, Levels]:
    """(what the losses share, the gradients) under a condition."""
    given = self.given._replace(condition=drawn.condition)
    return given, self.levels(given, drawn)


def move(
  optimiser: optax.GradientTransformation,
  grads: Params,
  state: optax.OptState,
  params: Params,
  pace: Array | float = 1.0,
) -> tuple[Params, optax.OptState]:
  """(params, optimiser's state) after a step whose length `pace` scales."""
  updates, state = optimiser.update(grads, state, params)
  updates = jax.tree.map(lambda u: pace * u, updates)
  return optax.apply_updates(params, updates), state


def is_due(phase: Phase, step: Array) -> Array:
  """Whether the controller is updated at a step: bool[]."""
  return (step >= phase.start) & (step % phase.every == 0)


def _logits_gradient(
  static: Static, levels: Levels, state: SearchState, logits: Array
) -> tuple[Array, Metrics, State]:
  """(d_logits, metrics, estimator's state) in the controller's turn."""
  parts, order = static.parts, static.phase.order
  variables = Variables(state.weights, logits)
  if order == "first":
    grads, metrics, estimator = levels.controller((LOGITS,), variables)
    return grads.logits, metrics, estimator

  def step_weights(grads: Params) -> Params:
    updates, _ = parts.weights_optimiser.update(
      grads, state.weights_optimiser, state.weights
    )
    return optax.apply_updates(state.weights, updates)

  return hypergradient.look_ahead(
    order,
    levels.weights,
    levels.controller,
    step_weights,
    variables,
  )


def controller_gradient(
  parts: Parts, given: Given, controller: Params, d_logits: Array
) -> Params:
  """The gradient of the controller's parameters from that of its logits."""
  features = parts.conditions.features(given.condition)
  logits, pull_back = jax.vjp(
    lambda c: parts.controller.apply(c, features), controller
  )
  if parts.regulariser is not None:
    d_logits += jax.grad(parts.regulariser)(logits)
  weight = parts.conditions.weight(given.condition)
  return jax.tree.map(lambda g: weight * g, pull_back(d_logits)[0])


def move_controller(
  static: Static, given: Given, state: SearchState, grads: Params, key: Array
) -> SearchState:
  """The state after the controller's step and the penalty's."""
  parts, settings, phase = static
  features = parts.conditions.features(given.condition)
  pace = parts.penalty.pace(state.penalty, state.step / settings.num_steps)
  controller, optimiser = move(
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
  if parts.penalty.derived is not None:
    mask = parts.penalty.derived(parts.controller.apply(controller, features))
    penalty = parts.penalty.update(penalty, given.table.cost(mask))
  return dataclasses.replace(
    state,
    controller=controller,
    controller_optimiser=optimiser,
    penalty=penalty,
  )


def move_weights(
  parts: Parts, state: SearchState, grads: Params
) -> SearchState:
  """The state after the weights' step."""
  weights, optimiser = move(
    parts.weights_optimiser, grads, state.weights_optimiser, state.weights
  )
  return dataclasses.replace(
    state, weights=weights, weights_optimiser=optimiser
  )


def _moved_fields(state: SearchState) -> dict[str, Any]:
  """The fields that a controller's step changes."""
  names = "controller", "controller_optimiser", "penalty", "estimator"
  return {name: getattr(state, name) for name in names}


def controller_turn(
  turn: Turn, state: SearchState, key: Array
) -> tuple[SearchState, Metrics]:
  """The controller's step on its own examples, if it is due at this step.

  Metrics are {} if the phase has steps without it: every step must have the
  same metrics, and only those of the weights' examples exist at each.
  """
  parts, _, phase = static = turn.static

  def gradient(drawn: Draw) -> tuple[Params, Metrics, State]:
    given, levels = turn.under(drawn)
    logits = turn.logits(drawn, state.controller)
    d_logits, metrics, estimator = _logits_gradient(
      static, levels, state, logits
    )
    grads = controller_gradient(parts, given, state.controller, d_logits)
    return grads, metrics, estimator

  def stepped(state: SearchState) -> tuple[SearchState, Metrics]:
    if parts.conditions.each is None:
      grads, metrics, estimator = turn.mean(gradient)
    else:
      # Another key than the one that draws the sample.
      devices = parts.conditions.each(jax.random.fold_in(key, 1))
      grads, metrics, estimator = lax.map(
        lambda c: gradient(turn.drawn._replace(condition=c)), devices
      )
      metrics, estimator = jax.tree.map(
        lambda a: a.mean(0), (metrics, estimator)
      )
      grads = min_norm.combine(grads)
    state = dataclasses.replace(state, estimator=estimator)
    return move_controller(static, turn.given, state, grads, key), metrics

  if phase.every == 1 and not phase.start:
    return stepped(state)
  moved = lax.cond(
    is_due(phase, state.step),
    lambda: _moved_fields(stepped(state)[0]),
    lambda: _moved_fields(state),
  )
  return dataclasses.replace(state, **moved), {}


def joint_turn(
  turn: Turn, state: SearchState, key: Array
) -> tuple[SearchState, Metrics]:
  """One gradient for both: weights always move, the controller if it is due."""
  parts, _, phase = static = turn.static

  def gradient(drawn: Draw) -> tuple[Params, Params, Metrics, State]:
    given, levels = turn.under(drawn)
    logits = turn.logits(drawn, state.controller)
    variables = Variables(state.weights, logits)
    grads, metrics, estimator = levels.weights(BOTH, variables)
    d_controller = controller_gradient(
      parts, given, state.controller, grads.logits
    )
    return grads.weights, d_controller, metrics, estimator

  d_weights, d_controller, metrics, estimator = turn.mean(gradient)
  moved = move_controller(static, turn.given, state, d_controller, key)
  moved = dataclasses.replace(moved, estimator=estimator)
  where_due = functools.partial(jnp.where, is_due(phase, state.step))
  fields = jax.tree.map(where_due, _moved_fields(moved), _moved_fields(state))
  state = dataclasses.replace(state, **fields)
  return move_weights(parts, state, d_weights), metrics


def weights_turn(turn: Turn, state: SearchState) -> tuple[SearchState, Metrics]:
  """The weights' step, with the controller's current logits."""

  def gradient(drawn: Draw) -> tuple[Params, Metrics]:
    _, levels = turn.under(drawn)
    logits = turn.logits(drawn, state.controller)
    variables = Variables(state.weights, logits)
    grads, metrics, _ = levels.weights((WEIGHTS,), variables)
    return grads.weights, metrics

  d_weights, metrics = turn.mean(gradient)
  return move_weights(turn.static.parts, state, d_weights), metrics
