"""The controller's gradient through the weights' next step (DARTS, eq. 6 to 8).

With w' = w + step(grad_w L_train(w, a)) the loss L_valid(w', a) depends on the
logits a directly and by w'. `exact` differentiates the weights' optimiser and
the gradient it is given, reverse over reverse. `difference` replaces the
product with the mixed second derivative by two gradients, at w +- e u, with
the same noise in both: other noise would drown the difference
(docs/methods.md#common-noise).
"""

from typing import Protocol

import jax
import jax.numpy as jnp
import optax

from hwnas_jax.core.types import Array, Params
from hwnas_jax.method.estimators import (
  BOTH,
  LOGITS,
  WEIGHTS,
  BatchGradients,
  Metrics,
  State,
  Variables,
)

STEP = 0.01  # e * |u|, as in DARTS's published code


class StepWeights(Protocol):
  """The weights' optimiser, at the current weights and moments."""

  def __call__(self, grads: Params, /) -> Params:
    """Gradients of the weights -> the weights after the step."""


def look_ahead(
  order: str,
  train: BatchGradients,
  valid: BatchGradients,
  step_weights: StepWeights,
  variables: Variables,
) -> tuple[Array, Metrics, State]:
  """The gradient of L_valid(w'(a), a) by the logits.

  Args:
    order: "exact" or "difference".
    train: on the weights' batch.
    valid: on the controller's batch.
    step_weights: gives w' from a gradient at w; differentiable.
    variables: w and a.

  Returns:
    (gradient [E, O], metrics of `valid`, its estimator's state).
  """
  weights, logits = variables

  def ahead(logits: Array) -> Params:
    grads, _, _ = train((WEIGHTS,), Variables(weights, logits))
    return step_weights(grads.weights)

  if order == "exact":
    after, pull_back = jax.vjp(ahead, logits)
    grads, metrics, state = valid(BOTH, Variables(after, logits))
    (through_weights,) = pull_back(grads.weights)
    return grads.logits + through_weights, metrics, state
  d_weights = train((WEIGHTS,), variables)[0].weights
  after, pull_back = jax.vjp(step_weights, d_weights)
  grads, metrics, state = valid(BOTH, Variables(after, logits))
  (direction,) = pull_back(grads.weights)
  size = STEP / jnp.maximum(optax.tree.norm(direction), 1e-12)
  plus, minus = (
    train(
      (LOGITS,),
      Variables(
        jax.tree.map(lambda w, u, s=s: w + s * size * u, weights, direction),
        logits,
      ),
    )[0].logits
    for s in (1.0, -1.0)
  )
  return grads.logits + (plus - minus) / (2 * size), metrics, state
