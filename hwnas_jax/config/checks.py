"""Checks the fields of a config, all of them before anything runs."""

import importlib.util
from collections.abc import Mapping
from typing import Any

from hwnas_jax.config import fitted, numbers, recipe, streaming
from hwnas_jax.config.derive_checks import derive_faults
from hwnas_jax.config.fields import Config, value
from hwnas_jax.core import budget, precision
from hwnas_jax.costs import counts
from hwnas_jax.data import images, load
from hwnas_jax.method.conditions import CONDITIONS
from hwnas_jax.method.controllers import CONTROLLERS
from hwnas_jax.method.penalty import PENALTIES
from hwnas_jax.method.phases import ORDERS
from hwnas_jax.method.samplers import SAMPLERS
from hwnas_jax.method.schedule import SCHEDULES
from hwnas_jax.nets.models import SPACES, field_problems, space_fields
from hwnas_jax.spaces.rules import RULES

# Registries are read when a config is checked: a name that a notebook adds
# to one is allowed from then on.
_REGISTRIES: Mapping[str, Mapping[str, Any]] = {
  "space.name": SPACES,
  "controller.name": CONTROLLERS,
  "condition.name": CONDITIONS,
  "penalty.name": PENALTIES,
  "sampler.name": SAMPLERS,
  "temperature.name": SCHEDULES,
  "derive.rule": RULES,
}


def choices() -> dict[str, tuple[Any, ...]]:
  """{path of a field: the values it may have}."""
  return {
    **{path: tuple(registry) for path, registry in _REGISTRIES.items()},
    "controller.sign": (-1, 1),
    "cost.name": ("latency", "paper", *counts.COUNTS),
    "penalty.on": ("expected", "sampled"),
    "precision": precision.PRECISIONS,
    "quality.name": ("supernet", "surrogate"),
    "sampler.warmup": ("", *SAMPLERS),
    "search.order": ORDERS,
  }


def check(config: Config) -> None:
  """Raises a ValueError whose message names every wrong field."""
  problems = [
    f"{path} must be one of {', '.join(map(str, allowed))}, got"
    f" {value(config, path)!r}"
    for path, allowed in choices().items()
    if value(config, path) not in allowed
  ]
  if problems:  # the checks below look these names up
    raise ValueError("the config is wrong: " + "; ".join(problems))
  for faults in (
    numbers.faults,
    _resize,
    streaming.faults,
    _tensorboard,
    recipe.devices,
    recipe.parts,
    recipe.conditions,
    recipe.dispatches,
    recipe.helpers,
    _space,
    _condition,
    derive_faults,
    _controller,
    _sampler,
    _schedule,
    fitted.predictor,
    fitted.surrogate,
    _penalty,
  ):
    problems += faults(config)
  if problems:
    raise ValueError("the config is wrong: " + "; ".join(problems))


def _tensorboard(config: Config) -> list[str]:
  """Faults of the events: what writes them is an extra of this package."""
  if config.tensorboard and importlib.util.find_spec("tensorboardX") is None:
    return ["tensorboard=True needs tensorboardX: pip install tensorboardX"]
  return []


def _resize(config: Config) -> list[str]:
  """Faults of data.resize: a size, for data that are files of images."""
  part = config.data
  try:
    size = images.parse_size(part.resize)
  except ValueError as error:
    return [str(error)]
  if size and not load.is_resizable(part.name):
    return [
      "data.resize is for folder:PATH, records:PATH and data sets of TFDS:"
      f" leave it out with data.name={part.name}, got {part.resize!r}"
    ]
  return []


def _space(config: Config) -> list[str]:
  """Faults of the space's fields; fields of other spaces stay at defaults."""
  defaults = {
    **{f"space.{field}": default for field, default in space_fields().items()},
    **{
      f"{part}.{field}": getattr(default, field)
      for k in SPACES.values()
      for part, default, fields in (
        ("derive", Config().derive, k.derive_fields),
        ("train", Config().train, k.training_fields),
      )
      for field in fields
    },
    "controller.classifier": False,
  }
  problems = [
    f"{path} is only for space.name={' or '.join(_readers(path))}: leave it at"
    f" {default!r}, got {value(config, path)!r}"
    for path, default in defaults.items()
    if config.space["name"] not in _readers(path)
    and value(config, path) != default
  ]
  return problems + field_problems(str(config.space["name"]), config.space)


def _readers(path: str) -> list[str]:
  """Names of the spaces that read a field."""
  part, _, field = path.partition(".")
  if part == "controller":
    return [name for name, kind in SPACES.items() if kind.classifier]
  return [
    name
    for name, kind in SPACES.items()
    if field
    in {
      "space": kind.fields,
      "derive": kind.derive_fields,
      "train": kind.training_fields,
    }[part]
  ]


def _condition(config: Config) -> list[str]:
  """Faults of the condition, against the cost and the derivation."""
  problems = []
  paper, condition = config.cost.name == "paper", config.condition.name
  if paper and CONDITIONS[condition].scaled:
    problems.append(
      "cost.name=paper has no scale: condition.name must be simplex or fixed,"
      f" got {condition}"
    )
  if not paper and condition == "simplex":
    problems.append(
      "condition.name=simplex has no scale: with"
      f" cost.name={config.cost.name}, condition.name must be one of fixed,"
      f" {', '.join(_scaled())}"
    )
  if CONDITIONS[condition].several_devices and not config.search.bilevel:
    problems.append(
      f"condition.name={condition} combines gradients of the controller alone:"
      " search.bilevel must be True"
    )
  count = config.latency.calibration_networks
  if 0 < count < 3:
    problems.append(
      f"latency.calibration_networks must be 0, or at least 3, got {count}"
    )
  low, high = config.condition.low, config.condition.high
  if CONDITIONS[condition].scaled and not 0 < low < high:
    problems.append(
      "condition.low and condition.high must satisfy 0 < low < high, got"
      f" {low} and {high}"
    )
  elif not high > 0:
    problems.append(f"condition.high must be > 0, got {high}")
  return problems


def _scaled() -> list[str]:
  """Names of the conditions that draw a scale."""
  return [name for name, kind in CONDITIONS.items() if kind.scaled]


def _controller(config: Config) -> list[str]:
  """Faults of the controller: whether it can read the condition."""
  condition, problems = config.condition.name, []
  name = config.controller.name
  kind = CONTROLLERS[name]
  if not CONDITIONS[condition].single and not kind.conditioned:
    problems.append(
      f"controller.name={name} does not read the condition, so"
      f" condition.name={condition} has no effect on it; use"
      " controller.name=pivots or condition.name=fixed"
    )
  if config.controller.classifier and not kind.conditioned:
    problems.append(
      "controller.classifier=True needs a controller that reads the condition,"
      f" not controller.name={name}"
    )
  if kind.reads_scale and not CONDITIONS[condition].scaled:
    problems.append(
      f"controller.name={name} reads a scale: condition.name must be one of"
      f" {', '.join(_scaled())}, got {condition}"
    )
  if config.controller.num_pivots < kind.least_pivots:
    problems.append(
      f"controller.name={name} needs controller.num_pivots >="
      f" {kind.least_pivots}"
    )
  return problems


def _sampler(config: Config) -> list[str]:
  """Faults of the sampler, against the step and the controller."""
  part, problems = config.sampler, []
  sampler = SAMPLERS[part.name]
  if part.per_example and sampler.path:
    problems.append(
      f"sampler.name={part.name} runs one path for the whole batch:"
      " sampler.per_example must be False"
    )
  elif part.per_example and not sampler.noisy:
    problems.append(
      "sampler.per_example=True needs a sampler that draws at random, which"
      f" sampler.name={part.name} does not: set it to False"
    )
  if sampler.moves_logits and config.controller.name != "table":
    problems.append(
      f"sampler.name={part.name} moves logits after the optimiser's step:"
      f" controller.name must be table, got {config.controller.name}"
    )
  problems += [
    f"sampler.name={part.name} needs temperatures of"
    f" {sampler.least_temperature:g} or more: temperature.{name} is"
    f" {temperature}"
    for name in ("start", "end")
    if (temperature := getattr(config.temperature, name))
    < sampler.least_temperature
  ]
  return problems


def _schedule(config: Config) -> list[str]:
  """Faults of the schedule: warm-up, levels, turns and order."""
  part, problems = config.search, []
  warmup, num_steps = part.warmup_steps, part.num_steps
  if not 0 <= warmup < max(num_steps, 1):
    problems.append(
      f"search.warmup_steps ({warmup}) must be in [0, search.num_steps"
      f" ({num_steps}))"
    )
  if config.sampler.warmup and not warmup:
    problems.append(
      f"sampler.warmup={config.sampler.warmup} needs search.warmup_steps > 0"
    )
  if part.controller_epoch_steps and not part.epoch_steps:
    problems.append(
      "search.controller_epoch_steps needs search.epoch_steps > 0"
    )
  one_level = {"order": "first", "every": 1, "epoch_steps": 0}
  problems += [
    f"search.{name}={getattr(part, name)} needs search.bilevel=True"
    for name, default in (one_level | {"same_key": False}).items()
    if getattr(part, name) != default and not part.bilevel
  ]
  if part.epoch_steps and (part.order != "first" or part.every != 1):
    problems.append(
      "search.epoch_steps lets weights and controller take turns: search.order"
      " must be first and search.every must be 1"
    )
  if part.same_key and part.epoch_steps:
    problems.append(
      "search.same_key is for steps that move both weights and controller, and"
      " search.epoch_steps lets them take turns: set one of the two"
    )
  if part.order != "first" and SAMPLERS[config.sampler.name].path:
    mixtures = [name for name, s in SAMPLERS.items() if not s.path]
    problems.append(
      f"search.order={part.order} needs a sampler that runs all operations:"
      f" sampler.name must be one of {', '.join(mixtures)}, got"
      f" {config.sampler.name}"
    )
  fraction = part.weights_fraction
  upper = fraction < 1 if part.bilevel else fraction <= 1
  if not (0 < fraction and upper):
    problems.append(
      f"search.weights_fraction ({fraction}) must be in (0, 1], and below 1"
      " with search.bilevel=True"
    )
  return problems


def _penalty(config: Config) -> list[str]:
  """Faults of the penalty and its target."""
  part, problems = config.penalty, []
  if part.on == "sampled" and not SAMPLERS[config.sampler.name].noisy:
    problems.append(
      "penalty.on=sampled needs a sampler that draws at random, which"
      f" sampler.name={config.sampler.name} does not: use penalty.on=expected"
    )
  if PENALTIES[part.name].hits_target and config.derive.max_skips:
    problems.append(
      f"penalty.name={part.name} derives the network by its target, without a"
      " limit of skips: derive.max_skips must be 0"
    )
  if not PENALTIES[part.name].targeted:
    targeted = [name for name, kind in PENALTIES.items() if kind.targeted]
    problems += [
      f"penalty.{field} has no effect with penalty.name={part.name}: leave it"
      f" out, or use one of {', '.join(targeted)}"
      for field in ("target", "strength")
      if getattr(part, field)
    ]
    return problems
  try:
    budget.parse(part.target, "penalty.target")
  except ValueError as error:
    problems.append(f"penalty.name={part.name} needs a target: {error}")
  if config.cost.name != "latency":
    problems.append(
      f"penalty.name={part.name} has a target in ms: cost.name must be latency,"
      f" got {config.cost.name}"
    )
  if not CONDITIONS[config.condition.name].single:
    problems.append(
      f"penalty.name={part.name} searches one network for one target:"
      f" condition.name must be fixed, got {config.condition.name}"
    )
  return problems
