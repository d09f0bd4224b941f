"""The controller's gradient through the weights' next step (DARTS, eq. 6 to 8).

With w' = w + step(grad_w L_train(w, a)) the loss L_valid(w', a) depends on the
logits a directly and by w'. `exact` differentiates the weights' optimiser and
the gradient it is given, reverse over reverse; `difference` replaces the
product with the mixed second derivative by two gradients, at w +- e u, under
the same noise (common random numbers: other noise would drown the difference).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from hwnas_jax.core.types import Array, Params
from hwnas_jax.method.estimators import BOTH, LOGITS, WEIGHTS, Grads, Metrics

STEP = 0.01  # e * |u|, as in DARTS's code (research 1.1)

# (wrt, weights, logits) -> gradients, of one batch and one key
Gradient = Callable[[tuple[int, ...], Params, Array], Grads]


def look_ahead(
  order: str,
  train: Gradient,
  valid: Callable[..., tuple[Grads, Metrics, dict[str, Array]]],
  optimiser: optax.GradientTransformation,
  state: optax.OptState,
  weights: Params,
  logits: Array,
) -> tuple[Array, Metrics, dict[str, Array]]:
  """(d L_valid(w'(a), a) / d logits, metrics, state) of `valid`.

  Args:
    order: "exact" or "difference".
    train: gradients of the weights' batch.
    valid: the same of the controller's, with what it has to log.
    optimiser: of the weights; its state is `state`.
    weights: w.
    logits: a, [E, O].
  """

  def stepped(grads: Params) -> Params:
    updates, _ = optimiser.update(grads, state, weights)
    return optax.apply_updates(weights, updates)

  def ahead(logits: Array) -> Params:
    return stepped(train((WEIGHTS,), weights, logits).weights)

  if order == "exact":
    after, pull = jax.vjp(ahead, logits)
    found, metrics, kept = valid(BOTH, after, logits)
    (through,) = pull(found.weights)
    return found.logits + through, metrics, kept
  grads = train((WEIGHTS,), weights, logits).weights
  after, pull_step = jax.vjp(stepped, grads)
  found, metrics, kept = valid(BOTH, after, logits)
  (direction,) = pull_step(found.weights)
  size = STEP / jnp.maximum(optax.tree.norm(direction), 1e-12)
  plus, minus = (
    train(
      (LOGITS,),
      jax.tree.map(lambda w, u, s=s: w + s * size * u, weights, direction),
      logits,
    ).logits
    for s in (1.0, -1.0)
  )
  return found.logits + (plus - minus) / (2 * size), metrics, kept
