"""The training step of a derived network.

The recipe is DARTS's (docs/methods.md#training-a-derived-network): SGD with
momentum and a cosine, clipping, cutout, drop-path that grows linearly, an
auxiliary head, label smoothing. With a teacher the loss has the distillation
term of Hinton, Vinyals and Dean 2015 too. The last step's network is tested;
nothing is selected on the test split.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax
from jax import lax

from hwnas_jax.core import tree
from hwnas_jax.core.types import Array, Params
from hwnas_jax.data.arrays import Split, Window, batch_indices
from hwnas_jax.data.augment import Augment
from hwnas_jax.nets.init import draw
from hwnas_jax.nets.models import kind_of
from hwnas_jax.nets.ops import Module


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
  """The state of a training. From its checkpoint it resumes bit for bit.

  params: the network's weights.
  stats: the running statistics of BN; {} where the network has none.
  optimiser: the optimiser's state.
  step: int32[], how many steps were made.
  key: the run's typed PRNG key, from which each step's keys are folded.
  """

  params: Params
  stats: Params
  optimiser: optax.OptState
  step: Array
  key: Array


class Recipe(Protocol):
  """What a step reads of `config.train`."""

  @property
  def num_steps(self) -> int:
    """Steps of the whole training."""

  @property
  def batch_size(self) -> int:
    """Images a step."""

  @property
  def parts(self) -> int:
    """Of a batch, whose gradients are computed one after another."""

  @property
  def drop_path(self) -> float:
    """Probability, at the last step, of dropping an operation; in [0, 1)."""

  @property
  def auxiliary_weight(self) -> float:
    """Weight of the auxiliary head's cross-entropy."""

  @property
  def label_smoothing(self) -> float:
    """Probability that labels share among all classes, in [0, 1)."""

  @property
  def teacher_weight(self) -> float:
    """Weight of the distillation term."""

  @property
  def teacher_temperature(self) -> float:
    """By which both networks' logits are divided in that term."""


Metrics = dict[str, Array]


class TrainStep(Protocol):
  """One step of a training, to be jitted."""

  def __call__(
    self,
    state: TrainState,
    data: Split | Window,
    teacher: Params | None = None,
    /,
  ) -> tuple[TrainState, Metrics]:
    """Returns (the next state, scalars `loss` and `train_accuracy`).

    Args:
      state: of the training.
      data: the training split, or the dispatch's window of a streamed one.
      teacher: the flax variables of the teacher; None where there is none.
    """


def init_variables(network: Module, key: Array) -> tuple[Params, Params]:
  """Initial (params, running statistics) of a network.

  Weights come from one random draw (`nets.init.draw`), unless the space says
  that they are initialised by its modules.

  Args:
    network: in mode `train`.
    key: typed.
  """
  images = jnp.zeros((1, *network.net.image), jnp.float32)
  if kind_of(network.net).own_init:
    variables = network.init(key, images)
    return variables["params"], variables.get("batch_stats", {})
  shapes = jax.eval_shape(network.init, jax.random.key(0), images)
  stats = {} if "batch_stats" not in shapes else shapes["batch_stats"]
  values = {"mean": jnp.zeros, "var": jnp.ones}
  stats = jax.tree_util.tree_map_with_path(
    lambda path, s: values[path[-1].key](s.shape), stats
  )
  return draw(key, shapes["params"]), stats


def init_state(
  network: Module,
  optimiser: optax.GradientTransformation,
  key: Array,
  inherited: Params | None = None,
) -> TrainState:
  """The state before the first step.

  Args:
    network: in mode `train`.
    optimiser: as for `make_train_step`.
    key: typed; decides the initial weights and everything random in training.
    inherited: weights to start from in place of random ones, where it has them.
  """
  weights_key, run_key = jax.random.split(key)
  params, stats = init_variables(network, weights_key)
  # Copies, because a training donates its state.
  params = tree.overlay(params, jax.tree.map(jnp.copy, inherited or {}))
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


def distillation(logits: Array, teacher: Array, temperature: float) -> Array:
  """T^2 KL(softmax(teacher / T) || softmax(logits / T)), mean of the batch.

  Hinton, Vinyals and Dean 2015 (arXiv:1503.02531), section 2: the factor T^2
  keeps the gradient's size as T changes.

  Args:
    logits: [B, num_classes], of the network that learns.
    teacher: [B, num_classes], of its teacher.
    temperature: T.

  Returns:
    float32[], nats.
  """
  softened = (jax.nn.log_softmax(x / temperature) for x in (logits, teacher))
  divergence = optax.losses.kl_divergence_with_log_targets(*softened)
  return temperature**2 * divergence.mean()


class _Batch(NamedTuple):
  """What one step learns from.

  images: [B, H, W, C], augmented, of config.precision.
  labels: int32[B].
  teacher: the teacher's logits [B, num_classes]; None where there is none.
  """

  images: Array
  labels: Array
  teacher: Array | None


def _make_loss(network: Module, recipe: Recipe) -> Callable:
  """loss(params, stats, batch, key, progress) with updated stats."""

  def loss(
    params: Params,
    stats: Params,
    batch: _Batch,
    key: Array,
    progress: Array,
  ) -> tuple[Array, tuple[Params, Metrics]]:
    rate = recipe.drop_path * progress if recipe.drop_path else None
    (logits, auxiliary), updated = network.apply(
      {"params": params, "batch_stats": stats},
      batch.images,
      rate,
      rngs={"drop_path": key},
      mutable=["batch_stats"],
    )
    labels = batch.labels
    total = _cross_entropy(logits, labels, recipe.label_smoothing)
    if auxiliary is not None:
      extra = _cross_entropy(auxiliary, labels, recipe.label_smoothing)
      total = total + recipe.auxiliary_weight * extra
    if batch.teacher is not None:
      extra = distillation(logits, batch.teacher, recipe.teacher_temperature)
      total = total + recipe.teacher_weight * extra
    accuracy = (logits.argmax(-1) == labels).mean()
    metrics = {"loss": total, "train_accuracy": accuracy}
    return total, (updated["batch_stats"], metrics)

  return loss


def _gradients(
  gradient: Callable, state: TrainState, batch: _Batch, key: Array, parts: int
) -> tuple[Params, Params, Metrics]:
  """(gradients, updated statistics, metrics) of a batch, part by part.

  Gradients and metrics are the means of the parts'; BN normalises each part by
  its own statistics. The memory of activations is one part's.

  Args:
    gradient: (params, statistics, batch, key) -> (gradients, (statistics,
      metrics)).
    state: before the step.
    batch: of the step.
    key: for what is random in it.
    parts: how many; 1 takes the batch as it is.
  """
  if parts == 1:
    grads, (stats, metrics) = gradient(state.params, state.stats, batch, key)
    return grads, stats, metrics

  def one(
    carry: tuple[Params, Params], given: tuple[_Batch, Array]
  ) -> tuple[tuple[Params, Params], Metrics]:
    total, stats = carry
    grads, (stats, metrics) = gradient(state.params, stats, *given)
    return (optax.tree.add(total, grads), stats), metrics

  # Every parts-th image: each device then keeps its own.
  divided = jax.tree.map(
    lambda x: x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1), batch
  )
  (total, stats), metrics = lax.scan(
    one,
    (optax.tree.zeros_like(state.params), state.stats),
    (divided, jax.random.split(key, parts)),
  )
  means = jax.tree.map(lambda m: m.mean(), metrics)
  return jax.tree.map(lambda g: g / parts, total), stats, means


def order_key(key: Array) -> Array:
  """The key of the order of the examples, of the run's key."""
  return jax.random.fold_in(key, 0)


def _batch(state: TrainState, data: Split | Window, batch_size: int) -> Split:
  """The step's examples, not augmented."""
  if isinstance(data, Window):
    return data.batch(state.step)
  rows = batch_indices(
    order_key(state.key), state.step, data.labels.shape[0], batch_size
  )
  return Split(data.images[rows], data.labels[rows])


def make_train_step(
  network: Module,
  optimiser: optax.GradientTransformation,
  recipe: Recipe,
  augment: Augment,
  teacher: Module | None = None,
) -> TrainStep:
  """The step of a network's training.

  Args:
    network: in mode `train`, with an auxiliary head where the recipe has one.
    optimiser: of the weights.
    recipe: `config.train`.
    augment: from pixels to the network's input.
    teacher: in mode `eval`; None where there is none.
  """
  loss = _make_loss(network, recipe)

  def step(
    state: TrainState, data: Split | Window, taught_by: Params | None = None, /
  ) -> tuple[TrainState, Metrics]:
    noise = jax.random.fold_in(state.key, 1)
    augment_key, path_key = jax.random.split(
      jax.random.fold_in(noise, state.step)
    )
    pixels, labels = _batch(state, data, recipe.batch_size)
    images = augment(augment_key, pixels)
    logits = None
    if teacher is not None:
      logits, _ = teacher.apply(taught_by or {}, images)
    grads, stats, metrics = _gradients(
      functools.partial(
        jax.grad(loss, has_aux=True),
        progress=state.step / recipe.num_steps,
      ),
      state,
      _Batch(images, labels, logits),
      path_key,
      recipe.parts,
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
