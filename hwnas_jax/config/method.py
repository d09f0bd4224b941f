"""Makes the parts of a search's method from a problem."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from hwnas_jax.config.fields import Config
from hwnas_jax.config.problem import Problem
from hwnas_jax.core import devices
from hwnas_jax.core.compile import jit, repeat
from hwnas_jax.core.types import Array
from hwnas_jax.data import arrays, augment
from hwnas_jax.data.augment import Augment, Augmentation, Normalise
from hwnas_jax.data.streamed import Streamed
from hwnas_jax.derive import collapse
from hwnas_jax.method import controllers, phases, price
from hwnas_jax.method.conditioned import Fold, conditioned, plain
from hwnas_jax.method.conditions import Conditions
from hwnas_jax.method.controllers import CONTROLLERS, ControllerSettings
from hwnas_jax.method.entropy import entropy
from hwnas_jax.method.estimators import Estimator, Metrics
from hwnas_jax.method.penalty import PENALTIES, Penalty, PenaltySettings
from hwnas_jax.method.phases import Phase, Span
from hwnas_jax.method.samplers import SAMPLERS, make_estimator
from hwnas_jax.method.schedule import SCHEDULES, fading
from hwnas_jax.method.state import CostTable, SearchData, SearchState
from hwnas_jax.method.step import (
  Parts,
  Settings,
  Step,
  init_state,
  make_step,
)
from hwnas_jax.nets.models import make_supernet
from hwnas_jax.nets.supernet import Net
from hwnas_jax.spaces.rules import MASKS
from hwnas_jax.spaces.spec import Space, Spec

LARGE = 150  # operations of a supernet: FBNet's has 198, the digits' 126


def sgd(
  lr: float,
  num_steps: int,
  momentum: float,
  decay: optax.GradientTransformation,
  clip: float,
  lr_end: float = 0.0,
) -> optax.GradientTransformation:
  """Clipped SGD with weight decay and momentum under a cosine.

  The weights' optimiser of DARTS (Liu et al. 2019, appendix A.1). `decay` is
  `optax.add_decayed_weights`.
  """
  cosine = optax.cosine_decay_schedule(lr, max(num_steps, 1), lr_end / lr)
  # Without the barrier XLA computes the cosine again for each array of weights.
  return optax.chain(
    optax.clip_by_global_norm(clip),
    decay,
    optax.sgd(lambda step: lax.optimization_barrier(cosine(step)), momentum),
  )


def _controller_settings(
  config: Config, conditions: Conditions, space: Space
) -> ControllerSettings:
  part = config.controller
  return ControllerSettings(
    space=space,
    conditions=conditions,
    num_pivots=part.num_pivots,
    num_experts=part.num_experts,
    sign=part.sign,
    reference_std=part.reference_std,
    train_pivots=part.train_pivots,
  )


def trains_weights(config: Config) -> bool:
  """Whether a search has shared weights: one by a surrogate has a warm-up."""
  return config.quality.name == "supernet" or config.search.warmup_steps > 0


def _make_supernet(
  config: Config, net: Spec, conditions: Conditions
) -> tuple[Net, Fold]:
  """(the supernet, the function that gives its weights under a condition)."""
  supernet = make_supernet(net)
  if not trains_weights(config):
    return Net(lambda key: {}, supernet.apply), plain
  if not config.controller.classifier:
    return supernet, plain
  settings = _controller_settings(config, conditions, net.space())
  make = CONTROLLERS[config.controller.name].make
  return conditioned(
    supernet,
    lambda rows, std: make(
      dataclasses.replace(settings, space=rows, reference_std=std)
    ),
  )


def make_augment(
  config: Config, dataset: arrays.Dataset, cutout: int = 0
) -> Augment:
  """(key, uint8 images) -> images of config.precision, normalised.

  They are split over config.devices, and so is all that is computed of them.
  """
  augmentation = Augmentation(config.data.pad, config.data.flip, cutout)
  mesh = devices.make_mesh(config.devices)

  def split_and_augment(key: Array, images: Array, /) -> Array:
    images = augment.augment(
      key,
      devices.split(images, mesh),
      augmentation,
      dataset.mean,
      dataset.std,
      config.precision,
    )
    return devices.split(images, mesh)

  return split_and_augment


def make_normalise(config: Config, dataset: arrays.Dataset) -> Normalise:
  """As `make_augment`, without anything random."""
  mesh = devices.make_mesh(config.devices)

  def split_and_normalise(images: Array, /) -> Array:
    images = augment.normalise(
      devices.split(images, mesh), dataset.mean, dataset.std, config.precision
    )
    return devices.split(images, mesh)

  return split_and_normalise


def make_parts(
  problem: Problem, dataset: arrays.Dataset
) -> tuple[Parts, Settings]:
  """The parts of a problem's method, and the numbers of its step."""
  config, part = problem.config, problem.config.search
  net = problem.nets.supernet
  space = net.space()
  supernet, fold = _make_supernet(config, net, problem.conditions)
  controller = CONTROLLERS[config.controller.name].make(
    _controller_settings(config, problem.conditions, space)
  )
  decayed = optax.add_decayed_weights
  decays = functools.partial(
    controllers.decays, train_pivots=config.controller.train_pivots
  )
  schedule = SCHEDULES[config.temperature.name]
  weight = config.regularise
  parts = Parts(
    net=supernet,
    fold=fold,
    controller=controllers.masked(controller, space),
    conditions=problem.conditions,
    price=price.paper(problem.columns, config.cost.kappa)
    if config.cost.name == "paper"
    else price.cone(problem.columns),
    temperature=schedule(config.temperature.start, config.temperature.end),
    augment=make_augment(config, dataset),
    weights_optimiser=sgd(
      part.weights_lr,
      phases.weights_steps(make_phases(config)),
      part.weights_momentum,
      decayed(
        part.weights_decay,
        mask=decays if config.controller.classifier else None,
      ),
      part.weights_clip,
      lr_end=part.weights_lr_end,
    ),
    controller_optimiser=optax.chain(
      decayed(part.controller_decay, mask=decays),
      optax.adam(part.controller_lr, b1=part.controller_b1),
    ),
    penalty=_make_penalty(problem, space),
    identity=fading(weight.identity) if weight.identity else None,
    regulariser=(lambda logits: weight.entropy * entropy(logits))
    if weight.entropy
    else None,
    skip=space.ops.index(space.skip) if space.skip else None,
  )
  settings = Settings(
    num_steps=part.num_steps,
    batch_size=part.batch_size,
    warmup_steps=part.warmup_steps,
    price_sample=config.penalty.on == "sampled",
    conditions=part.conditions_per_step,
    mesh=devices.make_mesh(config.devices),
    large=sum(len(sites) for row in space.sites for sites in row) >= LARGE,
  )
  return parts, settings


def _make_penalty(problem: Problem, space: Space) -> Penalty:
  """The penalty; one with a target also gets the derivation rule."""
  part = problem.config.penalty
  settings = PenaltySettings(problem.target_ms or 0.0, part.strength or None)
  penalty = PENALTIES[part.name].make(settings)
  if problem.target_ms is None:
    return penalty
  mask = functools.partial(MASKS[problem.config.derive.rule], space)
  return penalty._replace(derived=mask)


def _make_estimator(config: Config, name: str) -> Estimator:
  part, search = config.sampler, config.search
  share = search.batch_size // search.conditions_per_step
  rows = share if part.per_example else None
  return make_estimator(SAMPLERS[name], rows, part.num_samples)


def paths_of(config: Config) -> int:
  """How many sampled paths a collapse is looked for with; 0: the mixture.

  A search that runs only sampled paths never trains its mixture.
  """
  name = config.sampler.name
  if config.quality.name == "surrogate":  # the warm-up alone trains weights
    name = config.sampler.warmup or name
  return collapse.PATHS if SAMPLERS[name].one_hot else 0


def make_phases(config: Config) -> list[Span]:
  """The phases of a search, each with its number of steps."""
  part, warmup = config.search, config.sampler.warmup
  surrogate = config.quality.name == "surrogate"
  main = Phase(
    _make_estimator(config, config.sampler.name),
    weights=not surrogate,
    joint=not part.bilevel and not surrogate,
    surrogate=surrogate,
    order=part.order,
    every=part.every,
    same_key=part.same_key,
  )
  return phases.plan(
    main,
    part.num_steps,
    warmup_steps=part.warmup_steps,
    warmup=_make_estimator(config, warmup) if warmup else None,
    epoch_steps=part.epoch_steps,
    controller_epoch_steps=part.controller_epoch_steps,
  )


def make_search(
  config: Config, parts: Parts, settings: Settings
) -> tuple[Callable[[Array], SearchState], Step]:
  """(key -> initial state, a function that runs search.steps_per_dispatch).

  Each phase is compiled once, when it comes.
  """
  spans = make_phases(config)
  count = config.search.steps_per_dispatch
  mesh = devices.make_mesh(config.devices)
  copies = devices.copies(mesh)
  data: Any = SearchData._make(len(SearchData._fields) * [copies])
  data = data._replace(windows=devices.along(mesh, 1))
  compiled = {
    phase: jit(
      repeat(make_step(parts, settings, phase), count),
      large=settings.large,
      donate_argnums=0,
      **devices.everywhere(mesh, (copies, data, copies)),
    )
    for phase in phases.different(spans)
  }

  def dispatch(
    state: SearchState, data: SearchData, table: CostTable
  ) -> tuple[SearchState, Metrics]:
    phase = phases.current(spans, int(state.step))
    return compiled[phase](state, data, table)

  init = functools.partial(init_state, parts, spans)
  return jit(init, **devices.everywhere(mesh)), dispatch


def make_search_data(
  config: Config, dataset: arrays.Dataset
) -> tuple[SearchData, str]:
  """(arguments of the step, digest of the split that was drawn).

  Of streamed data they have no examples: `windows` are added at each dispatch.
  """
  halves = level_rows(config, dataset)
  indices = [jnp.asarray(index, jnp.int32) for index in halves]
  if isinstance(dataset.train, Streamed):
    none = jnp.zeros((0, *dataset.image), jnp.uint8), jnp.zeros(0, jnp.int32)
    data = SearchData(*none, none[1], none[1])
  else:
    data = SearchData(*dataset.train, indices[0], indices[1])
  for rows, reads in zip(halves, levels_read(config), strict=True):
    if reads and len(rows) < config.search.batch_size:
      raise ValueError(
        f"search.batch_size ({config.search.batch_size}) exceeds the"
        f" {len(rows)} examples of a split of {dataset.name}"
      )
  return data, arrays.digest(*halves)


def levels_read(config: Config) -> tuple[bool, bool]:
  """Whether a step reads the weights' and the controller's examples."""
  supernet = config.quality.name == "supernet"
  return trains_weights(config), supernet and config.search.bilevel


def held_out(
  config: Config, dataset: arrays.Dataset, count: int
) -> tuple[Array, Array]:
  """A fixed batch (images, labels) that the weights were not trained on.

  If the weights were trained on the whole split, it is a batch of that.
  """
  weights, unseen = level_rows(config, dataset)
  rows = (unseen if len(unseen) else weights)[:count]
  images, labels = arrays.take(dataset.train, rows)
  return augment.normalise(images, dataset.mean, dataset.std), labels


def level_rows(
  config: Config, dataset: arrays.Dataset
) -> tuple[np.ndarray, np.ndarray]:
  """Training examples of the weights, and of the controller: int32, sorted."""
  count = arrays.size(dataset.train)
  return arrays.halves(count, config.search.weights_fraction, config.seed)
