"""The search step: one jitted function for every method.

    loss(w, a) = cross_entropy(w, mix) + penalty(cross_entropy, cost of mix)

where mix comes from the sampler, the logits from the controller a
under a condition drawn each step (research 10.1). One-level: one gradient
for both (the simplex method). Bilevel, first order: the controller steps on
its own batch, then the weights on theirs (DARTS, research 1.1).
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from hwnas_jax.core.conditions import Conditions
from hwnas_jax.core.schedule import Schedule
from hwnas_jax.core.types import Array, Condition, Mix, Params
from hwnas_jax.costs.price import Price
from hwnas_jax.data.arrays import batch_indices
from hwnas_jax.nets.controllers import Controller
from hwnas_jax.nets.supernet import Net
from hwnas_jax.samplers.relaxed import Sampler
from hwnas_jax.search.penalty import Costs, Penalty, State, additive
from hwnas_jax.search.state import CostTable, SearchData, SearchState

Metrics = dict[str, Array]
Step = Callable[
  [SearchState, SearchData, CostTable], tuple[SearchState, Metrics]
]


class Parts(NamedTuple):
  """What a method is made of.

  augment: (key, uint8 images) -> float32 images.
  derived: logits[E, O] -> mask[E, O] of the network they give, for a penalty
    with a target; without one it is not looked at.
  """

  net: Net
  controller: Controller
  conditions: Conditions
  sampler: Sampler
  price: Price
  temperature: Schedule
  augment: Callable[[Array, Array], Array]
  weights_optimiser: optax.GradientTransformation
  controller_optimiser: optax.GradientTransformation
  penalty: Penalty = additive()
  derived: Callable[[Array], Array] | None = None


class Settings(NamedTuple):
  """Numbers and switches of a step.

  num_steps: of the whole search. per_example: one sample an example.
  price_sample: what is priced is the sample, not its expectation.
  """

  num_steps: int
  warmup_steps: int
  batch_size: int
  per_example: bool
  bilevel: bool
  price_sample: bool = False


def init_state(parts: Parts, key: Array) -> SearchState:
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


def _make_loss(parts: Parts, settings: Settings) -> Callable:
  """loss(weights, controller, condition, ..., temperature)."""

  def loss(
    weights: Params,
    controller: Params,
    condition: Condition,
    state: State,
    table: CostTable,
    batch: tuple[Array, Array],
    key: Array,
    temperature: Array,
  ) -> tuple[Array, Metrics]:
    images, labels = batch
    features = parts.conditions.features(condition)
    logits = parts.controller.apply(controller, features)
    rows = labels.shape[0] if settings.per_example else None
    mix = parts.sampler(key, logits, temperature, rows)
    outputs = parts.net.apply(weights, mix.weights, images)
    cross_entropy = optax.softmax_cross_entropy_with_integer_labels(
      outputs, labels
    ).mean()
    priced = _priced(mix, settings.price_sample)
    costs = Costs(_price(parts, table, condition, priced), table.of(priced))
    penalty = parts.penalty.added(state, cross_entropy, costs)
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

  return loss


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


def _step_controller(
  parts: Parts,
  settings: Settings,
  state: SearchState,
  condition: Condition,
  grads: Params,
) -> tuple[Params, optax.OptState]:
  # Adam forgets a gradient's scale but not its spread: unweighted, the
  # dearest conditions would drown the cross-entropy of all others.
  weight = 1.0 / (1.0 + condition.scale)
  weight = jnp.where(state.step < settings.warmup_steps, 0.0, weight)
  return _update(
    parts.controller_optimiser,
    jax.tree.map(lambda g: weight * g, grads),
    state.controller_optimiser,
    state.controller,
    parts.penalty.pace(state.penalty, state.step / settings.num_steps),
  )


def _step_penalty(
  parts: Parts,
  settings: Settings,
  state: SearchState,
  controller: Params,
  condition: Condition,
  table: CostTable,
) -> tuple[State, Metrics]:
  """The penalty's new state, and what there is to log; see `Parts.derived`."""
  if parts.derived is None:
    return state.penalty, {}
  features = parts.conditions.features(condition)
  mask = parts.derived(parts.controller.apply(controller, features))
  latency_ms = table.of(mask)
  # A multiplier would wind up while the controller waits.
  waits = state.step < settings.warmup_steps
  penalty = jax.tree.map(
    lambda old, new: jnp.where(waits, old, new),
    state.penalty,
    parts.penalty.update(state.penalty, latency_ms),
  )
  return penalty, {**penalty, "derived_latency_ms": latency_ms}


def make_step(parts: Parts, settings: Settings) -> Step:
  """Returns step(state, data, table) -> (state, metrics), to be jitted."""
  loss = _make_loss(parts, settings)

  def step(
    state: SearchState, data: SearchData, table: CostTable
  ) -> tuple[SearchState, Metrics]:
    key = jax.random.fold_in(jax.random.fold_in(state.key, 2), state.step)
    condition_key, weights_key, controller_key = jax.random.split(key, 3)
    condition = parts.conditions.draw(condition_key)
    temperature = parts.temperature(state.step / settings.num_steps)
    at = functools.partial(
      loss,
      condition=condition,
      state=state.penalty,
      table=table,
      temperature=temperature,
    )
    first = _batch(parts, settings, state, data, 0)
    controller = state.controller
    if settings.bilevel:
      second = _batch(parts, settings, state, data, 1)
      controller_grads = jax.grad(at, 1, has_aux=True)(
        state.weights, controller, batch=second, key=controller_key
      )[0]
    else:
      (weight_grads, controller_grads), metrics = jax.grad(
        at, (0, 1), has_aux=True
      )(state.weights, controller, batch=first, key=weights_key)
    controller, controller_optimiser = _step_controller(
      parts, settings, state, condition, controller_grads
    )
    if settings.bilevel:
      weight_grads, metrics = jax.grad(at, has_aux=True)(
        state.weights, controller, batch=first, key=weights_key
      )
    weights, weights_optimiser = _update(
      parts.weights_optimiser,
      weight_grads,
      state.weights_optimiser,
      state.weights,
    )
    penalty, more = _step_penalty(
      parts, settings, state, controller, condition, table
    )
    metrics |= {"temperature": temperature, **more}
    return SearchState(
      weights=weights,
      controller=controller,
      weights_optimiser=weights_optimiser,
      controller_optimiser=controller_optimiser,
      penalty=penalty,
      step=state.step + 1,
      key=state.key,
    ), metrics

  return step
