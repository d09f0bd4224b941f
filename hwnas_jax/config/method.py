"""Composition root: a checked ConfigDict becomes objects.

The only place that knows names; below it there are only arguments.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from hwnas_jax.config import fields as configuration
from hwnas_jax.config.pricing import make_penalty, skip_of
from hwnas_jax.core.compile import jit, repeat
from hwnas_jax.core.rng import stream
from hwnas_jax.core.types import Array, Genotype
from hwnas_jax.data import arrays, augment, load
from hwnas_jax.derive import collapse
from hwnas_jax.method import conditions, controllers, estimators, phases, price
from hwnas_jax.method.conditioned import Fold, conditioned, plain
from hwnas_jax.method.conditions import Conditions
from hwnas_jax.method.entropy import entropy
from hwnas_jax.method.estimators import Estimator, Metrics
from hwnas_jax.method.phases import Phase, Span
from hwnas_jax.method.relaxed import SAMPLERS
from hwnas_jax.method.schedule import SCHEDULES
from hwnas_jax.method.state import CostTable, SearchData, SearchState
from hwnas_jax.method.step import Parts, Settings, Step, init_state, make_step
from hwnas_jax.nets.darts_network import AUX_WINDOW
from hwnas_jax.nets.models import make_network, make_supernet
from hwnas_jax.nets.ops import Module
from hwnas_jax.nets.supernet import Net
from hwnas_jax.nets.tracing import trace
from hwnas_jax.spaces.custom import Custom
from hwnas_jax.spaces.darts import OP_SETS, Darts
from hwnas_jax.spaces.mobile import SKELETONS, Chain
from hwnas_jax.spaces.nasbench201 import NasBench201
from hwnas_jax.spaces.spec import Space, Spec
from hwnas_jax.train.step import Recipe, TrainStep, make_train_step

# (image, classes) of the data sets whose shape is known without loading them.
_SHAPES = {
  "digits": ((8, 8, 1), 10),
  "cifar10": ((32, 32, 3), 10),
  "fashion_mnist": ((28, 28, 1), 10),
}


def load_dataset(config: ConfigDict) -> arrays.Dataset:
  """The data set a config names; see `hwnas_jax.data.load` for errors."""
  return load.load(config.data.name, config.data.data_dir or None)


def make_nets(config: ConfigDict) -> tuple[Spec, Spec]:
  """(supernet's dimensions, those of the networks derived from it).

  Both have the same choices; the second's shapes are measured and priced.

  Raises:
    ValueError: the space has no such networks for images of this size, or
      space.model cannot be searched.
  """
  image, num_classes = _image_and_classes(config)
  if config.space.name == "custom":
    found = _trace_model(config, image, num_classes)
    return found, found
  net = _make_net(config, image, num_classes)
  if isinstance(net, Chain):
    return net, net
  derived = dataclasses.replace(
    net,
    num_cells=config.derive.num_cells or net.num_cells,
    channels=config.derive.channels or net.channels,
  )
  if isinstance(net, Darts) and isinstance(derived, Darts):
    _check_darts(config, net, derived)
  return net, derived


def _image_and_classes(
  config: ConfigDict,
) -> tuple[tuple[int, int, int], int]:
  name = config.data.name.removeprefix("mock_")
  if name in _SHAPES:
    return _SHAPES[name]
  dataset = load_dataset(config)
  height, width, channels = dataset.train.images.shape[1:]
  return (height, width, channels), dataset.num_classes


def _make_net(
  config: ConfigDict, image: tuple[int, int, int], num_classes: int
) -> Darts | NasBench201 | Chain:
  part = config.space
  if part.name == "mobile":
    return _make_chain(config, image, num_classes)
  if part.name == "nasbench201":
    return NasBench201(part.num_cells, part.channels, image, num_classes)
  return Darts(
    ops=OP_SETS[part.ops],
    num_cells=part.num_cells,
    num_nodes=part.num_nodes,
    channels=part.channels,
    image=image,
    num_classes=num_classes,
    imagenet_stem=part.imagenet_stem,
  )


def _make_chain(
  config: ConfigDict, image: tuple[int, int, int], num_classes: int
) -> Chain:
  part = config.space
  try:
    return Chain(SKELETONS[part.skeleton], image, num_classes, part.width)
  except ValueError as error:
    raise ValueError(
      f"space.skeleton={part.skeleton} is not for data.name="
      f"{config.data.name}: {error}"
    ) from error


def _trace_model(
  config: ConfigDict, image: tuple[int, int, int], num_classes: int
) -> Custom:
  model = configuration.load_model(config)
  try:
    return trace(model, image, num_classes)
  except ValueError as error:
    raise ValueError(f"space.model={config.space.model!r}: {error}") from error


def _check_darts(config: ConfigDict, net: Darts, derived: Darts) -> None:
  if len(net.space().choices) != len(derived.space().choices):
    raise ValueError(
      f"space.num_cells={net.num_cells} and"
      f" derive.num_cells={derived.num_cells} must both be below 3 or neither:"
      " fewer cells have no reduction"
    )
  height, width = derived.cells()[2 * derived.num_cells // 3].out_size
  if config.train.auxiliary_weight and min(height, width) < AUX_WINDOW:
    raise ValueError(
      f"train.auxiliary_weight needs features of {AUX_WINDOW}x{AUX_WINDOW}"
      f" after the second reduction, here they are {height}x{width}: set it"
      " to 0"
    )


def _sgd(
  lr: float,
  lr_end: float,
  num_steps: int,
  momentum: float,
  decay: float,
  clip: float,
) -> optax.GradientTransformation:
  """Clipped SGD with decay and momentum under a cosine (research 1.2)."""
  cosine = optax.cosine_decay_schedule(lr, max(num_steps, 1), lr_end / lr)
  return optax.chain(
    optax.clip_by_global_norm(clip),
    optax.add_decayed_weights(decay),
    optax.sgd(cosine, momentum),
  )


def make_conditions(config: ConfigDict, size: int) -> Conditions:
  """Conditions over `size` priced operations."""
  part = config.condition
  if part.name == "fixed":
    return conditions.fixed(size, part.high)
  if part.name == "simplex":
    return conditions.simplex(size)
  if part.name == "devices":
    points = conditions.draw_devices(
      stream(config.seed, "devices"), part.num_devices, size
    )
    return conditions.devices(points, part.low, part.high)
  make = {"cone": conditions.cone, "scale": conditions.scale}[part.name]
  return make(size, part.low, part.high)


def _make_controller(
  config: ConfigDict,
  drawn: Conditions,
  space: Space | controllers.Rows,
  reference_std: float,
) -> controllers.Controller:
  part = config.controller
  if part.name == "pivots":
    return controllers.pivots(
      space,
      drawn,
      part.num_pivots,
      part.sign,
      reference_std,
      part.train_pivots,
    )
  if part.name == "piecewise":
    return controllers.piecewise(space, part.num_pivots)
  if part.name == "mlp":
    return controllers.mlp(space, drawn)
  if part.name == "mixture":
    return controllers.mixture(space, drawn, part.num_experts)
  return controllers.table(space)


def _make_supernet(
  config: ConfigDict, net: Spec, drawn: Conditions
) -> tuple[Net, Fold]:
  """(the supernet, what folds its weights)."""
  supernet = make_supernet(net)
  if not config.controller.classifier:
    return supernet, plain
  return conditioned(
    supernet, functools.partial(_make_controller, config, drawn)
  )


def make_augment(
  config: ConfigDict, dataset: arrays.Dataset, cutout: int
) -> Callable[[Array, Array], Array]:
  """(key, uint8 images) -> float32 images, normalised."""
  return functools.partial(
    augment.augment,
    pad=config.data.pad,
    flip=config.data.flip,
    cutout=cutout,
    mean=dataset.mean,
    std=dataset.std,
  )


def make_parts(
  config: ConfigDict, net: Spec, reference: CostTable, dataset: arrays.Dataset
) -> tuple[Parts, Settings, tuple[int, ...]]:
  """(parts of the method, numbers of its step, priced columns)."""
  space, part = net.space(), config.search
  columns = price.priced_columns(np.asarray(reference.reference))
  drawn, skip = make_conditions(config, len(columns)), skip_of(space)
  schedule = SCHEDULES[config.temperature.name]
  supernet, fold = _make_supernet(config, net, drawn)
  controller = _make_controller(
    config, drawn, space, config.controller.reference_std
  )
  parts = Parts(
    net=supernet,
    fold=fold,
    controller=controllers.masked(controller, space),
    conditions=drawn,
    price=price.paper(columns, config.cost.kappa)
    if config.cost.name == "paper"
    else price.cone(columns),
    temperature=schedule(config.temperature.start, config.temperature.end),
    augment=make_augment(config, dataset, cutout=0),
    weights_optimiser=_sgd(
      part.weights_lr,
      part.weights_lr_end,
      phases.weights_steps(make_phases(config)),
      part.weights_momentum,
      part.weights_decay,
      part.weights_clip,
    ),
    controller_optimiser=optax.chain(
      optax.add_decayed_weights(part.controller_decay),
      optax.adam(part.controller_lr, b1=part.controller_b1),
    ),
    skip=space.ops.index(skip) if skip else None,
    **_make_regularisers(config),
    **make_penalty(config, space, reference),
  )
  settings = Settings(
    num_steps=part.num_steps,
    batch_size=part.batch_size,
    warmup_steps=part.warmup_steps,
    price_sample=config.penalty.on == "sampled",
  )
  return parts, settings, columns


def _make_regularisers(config: ConfigDict) -> dict[str, Any]:
  """The fields of Parts that are switched on by config.regularise."""
  part = config.regularise
  found: dict[str, Any] = {}
  if part.identity:
    found["identity"] = lambda progress: part.identity * (1.0 - progress)
  if part.entropy:
    found["regulariser"] = lambda logits: part.entropy * entropy(logits)
  return found


def _make_estimator(config: ConfigDict, name: str) -> Estimator:
  part = config.sampler
  if name == "reinforce":
    return estimators.reinforce(part.num_samples)
  if name in estimators.ON_A_PATH:
    return estimators.ON_A_PATH[name]
  rows = config.search.batch_size if part.per_example else None
  return estimators.reparameterised(SAMPLERS[name], rows)


def paths_of(config: ConfigDict) -> int:
  """Paths that stand in for the mixture, where the search never trains one."""
  name = config.sampler.name
  mixes = name in SAMPLERS and name != "straight_through"
  return 0 if mixes else collapse.PATHS


def make_phases(config: ConfigDict) -> list[Span]:
  """The schedule of a search."""
  part, warmup = config.search, config.sampler.warmup
  main = Phase(
    _make_estimator(config, config.sampler.name),
    joint=not part.bilevel,
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
  config: ConfigDict, parts: Parts, settings: Settings
) -> tuple[Callable[[Array], SearchState], Step]:
  """(key -> fresh state, search.steps_per_dispatch steps from a state).

  Each phase of the schedule is compiled once, when it comes.
  """
  spans = make_phases(config)
  count = config.search.steps_per_dispatch
  compiled = {
    phase: jit(
      repeat(make_step(parts, settings, phase), count), donate_argnums=0
    )
    for phase in phases.different(spans)
  }

  def dispatch(
    state: SearchState, data: SearchData, table: CostTable
  ) -> tuple[SearchState, Metrics]:
    phase = phases.at(spans, int(state.step))
    return compiled[phase](state, data, table)

  return jit(functools.partial(init_state, parts, spans)), dispatch


def make_search_data(
  config: ConfigDict, dataset: arrays.Dataset
) -> tuple[SearchData, str]:
  """(arguments of the step, digest of the split that was drawn)."""
  count = dataset.train.labels.shape[0]
  halves = arrays.halves(count, config.search.weights_fraction, config.seed)
  data = SearchData(
    *dataset.train, *(jnp.asarray(index, jnp.int32) for index in halves)
  )
  smallest = min(len(h) for h in halves if len(h) or config.search.bilevel)
  if smallest < config.search.batch_size:
    raise ValueError(
      f"search.batch_size ({config.search.batch_size}) exceeds the"
      f" {smallest} examples of a split of {dataset.name}"
    )
  return data, arrays.digest(*halves)


def held_out(
  config: ConfigDict, dataset: arrays.Dataset, count: int
) -> tuple[Array, Array]:
  """The fixed batch (images, labels) that the weights never saw.

  Where the search left nothing out, it is of what the weights saw.
  """
  data, _ = make_search_data(config, dataset)
  unseen = data.controller_index
  rows = (unseen if len(unseen) else data.weights_index)[:count]
  images = augment.normalise(data.images[rows], dataset.mean, dataset.std)
  return images, data.labels[rows]


def make_training(
  config: ConfigDict, dataset: arrays.Dataset, net: Spec, genotype: Genotype
) -> tuple[Module, optax.GradientTransformation, TrainStep]:
  """(network, optimiser, step) that train one derived network."""
  part = config.train
  more = {"auxiliary": True} if part.auxiliary_weight else {}
  network = make_network(net, genotype, "train", **more)
  optimiser = _sgd(
    part.lr, 0.0, part.num_steps, part.momentum, part.weight_decay, part.clip
  )
  recipe = Recipe(
    num_steps=part.num_steps,
    batch_size=part.batch_size,
    drop_path=part.drop_path,
    auxiliary_weight=part.auxiliary_weight,
    label_smoothing=part.label_smoothing,
  )
  step = make_train_step(
    network, optimiser, recipe, make_augment(config, dataset, part.cutout)
  )
  return network, optimiser, step
