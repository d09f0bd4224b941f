"""The training step of a derived network, and its evaluation.

The recipe is DARTS's (research 1.5): SGD with momentum and a cosine, clipping,
cutout, drop-path that grows linearly, an auxiliary head, label smoothing. The
last step's network is tested; nothing is selected on the test split.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from hwnas_jax.core.types import Array, Params
from hwnas_jax.data.arrays import Split, batch_indices
from hwnas_jax.nets.init import draw
from hwnas_jax.nets.ops import Module
from hwnas_jax.spaces.custom import Custom


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
  """One checkpoint of this resumes a training bit for bit.

  stats: running BN statistics. step: int32[]. key: typed, never advanced.
  """

  params: Params
  stats: Params
  optimiser: optax.OptState
  step: Array
  key: Array


class Recipe(NamedTuple):
  """num_steps: of the whole training; rates in [0, 1)."""

  num_steps: int
  batch_size: int
  drop_path: float
  auxiliary_weight: float
  label_smoothing: float


Metrics = dict[str, Array]
TrainStep = Callable[[TrainState, Split], tuple[TrainState, Metrics]]


def init_variables(network: Module, key: Array) -> tuple[Params, Params]:
  """(params, running statistics) of a network, in one random draw.

  Those of a user's own model start as its modules say, one draw a tensor.
  """
  images = jnp.zeros((1, *network.net.image), jnp.float32)
  if isinstance(network.net, Custom):
    own = network.init(key, images)
    return own["params"], own.get("batch_stats", {})
  shapes = jax.eval_shape(network.init, jax.random.key(0), images)
  stats = {} if "batch_stats" not in shapes else shapes["batch_stats"]
  values = {"mean": jnp.zeros, "var": jnp.ones}
  stats = jax.tree_util.tree_map_with_path(
    lambda path, s: values[path[-1].key](s.shape), stats
  )
  return draw(key, shapes["params"]), stats


def init_state(
  network: Module, optimiser: optax.GradientTransformation, key: Array
) -> TrainState:
  """A fresh state of a network in mode `train`."""
  weights_key, run_key = jax.random.split(key)
  params, stats = init_variables(network, weights_key)
  return TrainState(
    params=params,
    stats=stats,
    optimiser=optimiser.init(params),
    step=jnp.zeros((), jnp.int32),
    key=run_key,
  )


def _cross_entropy(logits: Array, labels: Array, smoothing: float) -> Array:
  targets = jax.nn.one_hot(labels, logits.shape[-1])
  targets = optax.smooth_labels(targets, smoothing)
  return optax.softmax_cross_entropy(logits, targets).mean()


def _make_loss(network: Module, recipe: Recipe) -> Callable:
  """loss(params, stats, images, labels, key, progress) with updated stats."""

  def loss(
    params: Params,
    stats: Params,
    images: Array,
    labels: Array,
    key: Array,
    progress: Array,
  ) -> tuple[Array, tuple[Params, Metrics]]:
    rate = recipe.drop_path * progress if recipe.drop_path else None
    (logits, aux), updated = network.apply(
      {"params": params, "batch_stats": stats},
      images,
      rate,
      rngs={"drop_path": key},
      mutable=["batch_stats"],
    )
    total = _cross_entropy(logits, labels, recipe.label_smoothing)
    if aux is not None:
      extra = _cross_entropy(aux, labels, recipe.label_smoothing)
      total = total + recipe.auxiliary_weight * extra
    accuracy = (logits.argmax(-1) == labels).mean()
    metrics = {"loss": total, "train_accuracy": accuracy}
    return total, (updated["batch_stats"], metrics)

  return loss


def make_train_step(
  network: Module,
  optimiser: optax.GradientTransformation,
  recipe: Recipe,
  augment: Callable[[Array, Array], Array],
) -> TrainStep:
  """Returns step(state, train split) -> (state, metrics), to be jitted."""
  loss = _make_loss(network, recipe)

  def step(state: TrainState, data: Split) -> tuple[TrainState, Metrics]:
    order, noise = (jax.random.fold_in(state.key, name) for name in (0, 1))
    rows = batch_indices(
      order, state.step, data.labels.shape[0], recipe.batch_size
    )
    augment_key, path_key = jax.random.split(
      jax.random.fold_in(noise, state.step)
    )
    images = augment(augment_key, data.images[rows])
    grads, (stats, metrics) = jax.grad(loss, has_aux=True)(
      state.params,
      state.stats,
      images,
      data.labels[rows],
      path_key,
      state.step / recipe.num_steps,
    )
    updates, optimiser_state = optimiser.update(
      grads, state.optimiser, state.params
    )
    return TrainState(
      params=optax.apply_updates(state.params, updates),
      stats=stats,
      optimiser=optimiser_state,
      step=state.step + 1,
      key=state.key,
    ), metrics

  return step


def make_estimate(
  network: Module, normalise: Callable[[Array], Array], batches: int
) -> Callable[[Params, Params, Split], Params]:
  """Returns estimate(params, stats, split) -> BN statistics, to be jitted.

  `network` is in mode `train`. Passes over `batches` batches of 128; what the
  statistics started with has 0.9 ** batches of the weight.
  """

  def estimate(params: Params, stats: Params, split: Split) -> Params:
    count = split.labels.shape[0]
    size = min(128, count)

    def update(index: Array, stats: Params) -> Params:
      rows = batch_indices(jax.random.key(0), index, count, size)
      variables = {"params": params, "batch_stats": stats}
      images = normalise(split.images[rows])
      return network.apply(variables, images, mutable=["batch_stats"])[1][
        "batch_stats"
      ]

    return lax.fori_loop(0, batches, update, stats)

  return estimate


def make_evaluate(
  network: Module, normalise: Callable[[Array], Array], batch_size: int
) -> Callable[[Params, Params, Split], Array]:
  """Returns evaluate(params, stats, split) -> accuracy [], to be jitted.

  `network` is in mode `eval`. Every example counts once: the last batch is
  filled up with examples that carry no weight.
  """

  def evaluate(params: Params, stats: Params, split: Split) -> Array:
    count = split.labels.shape[0]
    batches = -(-count // batch_size)
    rows = jnp.arange(batches * batch_size).reshape(batches, batch_size)

    def correct(batch: Array) -> Array:
      index = jnp.minimum(batch, count - 1)
      logits, _ = network.apply(
        {"params": params, "batch_stats": stats},
        normalise(split.images[index]),
      )
      hit = logits.argmax(-1) == split.labels[index]
      return (hit & (batch < count)).sum()

    return lax.map(correct, rows).sum() / count

  return evaluate
