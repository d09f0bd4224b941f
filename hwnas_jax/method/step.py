"""The search step: one function a phase, compiled once, for every method.

Each step draws conditions (`draws`), the controller turns each into logits, an
estimator draws mixes from them and gives the gradients of the loss (`losses`).
The phase says whether weights, controller or both are updated, and on which
examples (`phases`, `turns`).
"""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import jax
import jax.numpy as jnp

from hwnas_jax.core.types import Array
from hwnas_jax.method import draws, phases
from hwnas_jax.method.draws import Batch, Draw
from hwnas_jax.method.entropy import entropy
from hwnas_jax.method.estimators import Metrics
from hwnas_jax.method.losses import Given, Static, draw_batch, gradients_on
from hwnas_jax.method.parts import Parts, Settings
from hwnas_jax.method.phases import Phase, Span
from hwnas_jax.method.state import CostTable, SearchData, SearchState
from hwnas_jax.method.turns import (
  Levels,
  Turn,
  controller_turn,
  joint_turn,
  weights_turn,
)


class Step(Protocol):
  """A step of the search, or several in one dispatch."""

  def __call__(
    self, state: SearchState, data: SearchData, table: CostTable, /
  ) -> tuple[SearchState, Metrics]:
    """-> (the next state, scalars to log)."""


def init_state(parts: Parts, spans: Sequence[Span], key: Array) -> SearchState:
  """The state before the first step.

  Args:
    parts: the method's functions.
    spans: its phases, whose estimators may have a state.
    key: the run's typed key.
  """
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


def _with_logits(
  parts: Parts, given: Given, state: SearchState, metrics: Metrics
) -> Metrics:
  """The loss's metrics, and those of the logits after the step."""
  features = parts.conditions.features(given.condition)
  logits = parts.controller.apply(state.controller, features)
  logged = {"temperature": given.temperature, "entropy": entropy(logits)}
  if parts.skip is not None:
    logged["skip_share"] = jax.nn.softmax(logits)[:, parts.skip].mean()
  if parts.penalty.derived is not None:
    latency_ms = given.table.cost(parts.penalty.derived(logits))
    logged |= {**state.penalty, "derived_latency_ms": latency_ms}
  return metrics | logged


def make_step(parts: Parts, settings: Settings, phase: Phase) -> Step:
  """A phase's step, not compiled yet.

  All randomness of a step is a function of the state's key and step number.
  """
  static, read = Static(parts, settings, phase), phases.levels(phase)

  def batch(state: SearchState, data: SearchData, level: int) -> Batch | None:
    return draw_batch(static, state, data, level) if level in read else None

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
    drawn = draws.draw(
      parts.conditions,
      settings.conditions,
      condition_key,
      (weights_key, controller_key),
      (batch(state, data, 0), batch(state, data, 1)),
    )
    given = Given(
      condition=draws.first(drawn, settings.conditions),
      penalty=state.penalty,
      table=table,
      temperature=parts.temperature(progress),
      progress=progress,
    )

    def levels(given: Given, drawn: Draw) -> Levels:
      sources = (data.surrogate,) * 2 if phase.surrogate else drawn.batches
      # The state before the controller moves: its estimator reads the old one.
      return Levels(
        *(
          gradients_on(static, given, source, sample_key, state.estimator)
          for source, sample_key in zip(sources, drawn.keys, strict=True)
        )
      )

    turn = Turn(static, given, drawn, levels)
    moved, metrics = state, Metrics()
    if phase.joint:
      moved, metrics = joint_turn(turn, state, weights_key)
    elif phase.controller:
      moved, metrics = controller_turn(turn, state, controller_key)
    if phase.weights and not phase.joint:
      moved, metrics = weights_turn(turn, moved)
    metrics = _with_logits(parts, given, moved, metrics)
    return dataclasses.replace(moved, step=state.step + 1), metrics

  return step
