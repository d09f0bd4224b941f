"""The loss of a mix on a batch, and its gradients.

    loss(weights, mix) = CE + penalty(CE, cost of the mix)

with CE the cross-entropy of the batch. Level 0 is the weights', level 1 the
controller's; in a one-level search both are trained on the examples of level 0
(docs/methods.md#one-loss-for-all-methods). In a phase of a surrogate, minus its
quality of the mix stands for CE (docs/methods.md#surrogate).
"""

import functools
from typing import Any, NamedTuple, Protocol

import jax
import optax

from hwnas_jax.core.types import Array, Condition, Mix, Params
from hwnas_jax.data.arrays import batch_indices
from hwnas_jax.method.draws import Batch
from hwnas_jax.method.estimators import (
  BatchGradients,
  Estimator,
  Grads,
  Metrics,
  Sampling,
  State,
  Variables,
)
from hwnas_jax.method.parts import Parts, Settings
from hwnas_jax.method.penalty import Costs
from hwnas_jax.method.phases import Phase
from hwnas_jax.method.price import Price
from hwnas_jax.method.state import CostTable, SearchData, SearchState
from hwnas_jax.method.surrogate import Surrogate


class Static(NamedTuple):
  """The static arguments of a step; a change of them compiles it again."""

  parts: Parts
  settings: Settings
  phase: Phase


class Given(NamedTuple):
  """The arguments that all losses of one step share.

  penalty: the penalty's state.
  temperature: [].
  progress: [], of the search after the warm-up, from 0 to 1.
  """

  condition: Condition
  penalty: State
  table: CostTable
  temperature: Array
  progress: Array


def priced_mix(mix: Mix, sample: bool) -> Array:
  """The mix [E, O] that the cost reads: the mean over a batch of samples."""
  if not sample:
    return mix.priced
  return mix.weights if mix.weights.ndim == 2 else mix.weights.mean(0)


def price_mix(
  price: Price, table: CostTable, condition: Condition, priced: Array
) -> Array:
  """The cost of a mix under a condition, as the loss has it.

  Args:
    price: the price of each operation; not read if the table has a predictor,
      which has no prices of operations.
    table: the reference prices and base.
    condition: prices and scale.
    priced: [E, O].

  Returns:
    [].
  """
  if table.predictor is None:
    return (price(table.reference, condition) * priced).sum()
  most_expensive = table.reference.max(1).sum()
  return condition.scale * table.cost(priced) / most_expensive


class QualityLoss(Protocol):
  """The loss of a mix before it is priced: the better the mix, the less."""

  def __call__(self, weights: Params, mix: Mix, /) -> tuple[Array, Metrics]:
    """(weights, mix) -> ([], what there is to log of it)."""


def cross_entropy_of_mix(
  static: Static, given: Given, batch: Batch | None, weights: Params, mix: Mix
) -> tuple[Array, Metrics]:
  """The supernet's cross-entropy on a batch that the phase reads."""
  assert batch is not None
  parts = static.parts
  options: dict[str, Any] = {}
  if mix.paths is not None:
    options["paths"] = mix.paths
  if parts.identity is not None:
    options["identity"] = parts.identity(given.progress)
  features = parts.conditions.features(given.condition)
  folded = parts.fold(weights, features)
  outputs = parts.net.apply(folded, mix.weights, batch.images, **options)
  cross_entropy = optax.softmax_cross_entropy_with_integer_labels(
    outputs, batch.labels
  ).mean()
  accuracy = (outputs.argmax(-1) == batch.labels).mean()
  return cross_entropy, {"cross_entropy": cross_entropy, "accuracy": accuracy}


def minus_quality_of_mix(
  surrogate: Surrogate, weights: Params, mix: Mix
) -> tuple[Array, Metrics]:
  """Minus a surrogate's quality, mean over a batch of samples."""
  del weights
  quality = surrogate.quality(mix.weights).mean()
  return -quality, {"quality": quality}


def loss_of_mix(
  static: Static,
  given: Given,
  quality_loss: QualityLoss,
  weights: Params,
  mix: Mix,
) -> tuple[Array, Metrics]:
  """(the loss [] of a mix, metrics to log)."""
  parts, table = static.parts, given.table
  unpriced, logged = quality_loss(weights, mix)
  priced = priced_mix(mix, static.settings.price_sample)
  costs = Costs(
    price_mix(parts.price, table, given.condition, priced), table.cost(priced)
  )
  penalty = parts.penalty.added(given.penalty, unpriced, costs)
  metrics = logged | {
    "loss": unpriced + penalty,
    "penalty": penalty,
    "expected_cost": table.cost(
      mix.priced if table.predictor is None else priced
    ),
  }
  return metrics["loss"], metrics


def draw_batch(
  static: Static, state: SearchState, data: SearchData, level: int
) -> Batch:
  """The step's batch of level 0 (weights) or 1 (controller), augmented."""
  order, noise = _keys(state.key, level)
  key = jax.random.fold_in(noise, state.step)
  if data.windows is not None:
    images, labels = data.windows[level].batch(state.step)
    return Batch(static.parts.augment(key, images), labels)
  index = data.controller_index if level else data.weights_index
  batch_size = static.settings.batch_size
  rows = index[batch_indices(order, state.step, index.shape[0], batch_size)]
  images = static.parts.augment(key, data.images[rows])
  return Batch(images, data.labels[rows])


def order_key(key: Array, level: int) -> Array:
  """The key of the order of a level's examples, of the run's key."""
  return _keys(key, level)[0]


def _keys(key: Array, level: int) -> Array:
  """Typed keys [2]: of the order of a level's examples, of their noise."""
  return jax.random.split(jax.random.fold_in(key, level))


def gradients_on(
  static: Static,
  given: Given,
  examples: Batch | Surrogate | None,
  key: Array,
  estimator_state: State,
) -> BatchGradients:
  """The gradients on a batch, or by a surrogate; each with the key's sample.

  Args:
    static: of the step.
    given: with one condition.
    examples: None where the gradients are never asked for.
    key: typed.
    estimator_state: of the phase's estimator.
  """
  estimator: Estimator = static.phase.estimator
  quality_loss: QualityLoss
  if isinstance(examples, Surrogate):
    quality_loss = functools.partial(minus_quality_of_mix, examples)
  else:
    quality_loss = functools.partial(
      cross_entropy_of_mix, static, given, examples
    )
  loss = functools.partial(loss_of_mix, static, given, quality_loss)

  def gradients(
    wrt: tuple[int, ...], variables: Variables
  ) -> tuple[Grads, Metrics, State]:
    sampling = Sampling(jax.random.clone(key), given.temperature)
    return estimator.grads(loss, wrt, variables, sampling, estimator_state)

  return gradients
