"""What a config may say: all of it is checked before anything runs."""

import pathlib
from typing import Any

from ml_collections import ConfigDict

from hwnas_jax.config.fields import default, restore
from hwnas_jax.core import budget
from hwnas_jax.costs import counts
from hwnas_jax.costs.predict.fit import MIN_SAMPLES
from hwnas_jax.costs.predict.nets import NETWORKS as PREDICTORS
from hwnas_jax.io import writers
from hwnas_jax.method.estimators import ON_A_PATH
from hwnas_jax.method.penalty import PENALTIES, TARGETED
from hwnas_jax.method.phases import ORDERS
from hwnas_jax.method.relaxed import SAMPLERS
from hwnas_jax.method.schedule import SCHEDULES
from hwnas_jax.spaces.darts import OP_SETS
from hwnas_jax.spaces.mobile import SKELETONS
from hwnas_jax.spaces.rules import RULES

CHOICES = {
  "space.name": ("darts", "nasbench201", "mobile", "custom"),
  "space.ops": tuple(OP_SETS),
  "space.skeleton": tuple(SKELETONS),
  "controller.name": ("table", "pivots", "piecewise", "mlp", "mixture"),
  "controller.sign": (-1, 1),
  "condition.name": ("fixed", "simplex", "cone", "scale", "devices"),
  "cost.name": ("latency", "paper", *counts.COUNTS),
  "penalty.name": tuple(PENALTIES),
  "penalty.on": ("expected", "sampled"),
  "sampler.name": (*SAMPLERS, *ON_A_PATH, "reinforce"),
  "sampler.warmup": ("", *SAMPLERS, *ON_A_PATH),
  "search.order": ORDERS,
  "temperature.name": tuple(SCHEDULES),
  "derive.rule": tuple(RULES),
}


# Conditions with a scale.
SCALED = ("cone", "scale", "devices")


def _field(config: ConfigDict, path: str) -> Any:
  value: Any = config
  for name in path.split("."):
    value = value[name]
  return value


_POSITIVE = (
  "space.num_cells space.num_nodes space.channels space.width search.num_steps"
  " search.batch_size search.steps_per_dispatch search.checkpoint_every"
  " latency.batch_size latency.repeats train.batch_size train.num_seeds"
  " train.steps_per_dispatch train.checkpoint_every controller.num_pivots"
  " search.weights_lr search.controller_lr train.lr search.weights_clip"
  " train.clip controller.reference_std temperature.start temperature.end"
  " derive.num_scales controller.num_experts condition.num_devices"
).split()
_NOT_NEGATIVE = (
  "data.pad derive.num_cells derive.channels derive.num_samples"
  " derive.num_random derive.max_skips regularise.identity regularise.entropy"
  " search.epoch_steps search.controller_epoch_steps search.weights_lr_end"
  " search.weights_decay search.controller_decay train.num_steps"
  " train.weight_decay train.cutout train.auxiliary_weight cost.kappa"
).split()
# The spaces that read a field; in another it stays at its default.
_READ_BY = {
  "space.ops": ("darts",),
  "space.num_nodes": ("darts",),
  "space.imagenet_stem": ("darts",),
  "train.auxiliary_weight": ("darts",),
  "train.drop_path": ("darts",),
  "space.num_cells": ("darts", "nasbench201"),
  "space.channels": ("darts", "nasbench201"),
  "derive.num_cells": ("darts", "nasbench201"),
  "derive.channels": ("darts", "nasbench201"),
  "space.skeleton": ("mobile",),
  "space.width": ("mobile",),
  "space.model": ("custom",),
  "controller.classifier": ("darts", "mobile"),
}
_RATES = (
  "train.drop_path train.label_smoothing search.weights_momentum"
  " train.momentum search.controller_b1"
).split()


def read_run(folder: pathlib.Path) -> ConfigDict:
  """The checked config of a run folder.

  Raises:
    FileNotFoundError: there is no run.
    ValueError: another version wrote it; or see `check`.
  """
  config = restore(writers.read_json(folder / "config.json")["config"])
  check(config)
  return config


def check(config: ConfigDict) -> None:
  """Raises ValueError that names every field that is wrong."""
  problems = [
    f"{path} must be one of {', '.join(map(str, choices))}, got"
    f" {_field(config, path)!r}"
    for path, choices in CHOICES.items()
    if _field(config, path) not in choices
  ]
  problems += [
    f"{path} must be > 0, got {_field(config, path)}"
    for path in _POSITIVE
    if not _field(config, path) > 0
  ]
  problems += [
    f"{path} must be >= 0, got {_field(config, path)}"
    for path in _NOT_NEGATIVE
    if not _field(config, path) >= 0
  ]
  problems += [
    f"{path} must be in [0, 1), got {_field(config, path)}"
    for path in _RATES
    if not 0 <= _field(config, path) < 1
  ]
  problems += _check_steps(config, "search") + _check_steps(config, "train")
  problems += _check_together(config) + _check_penalty(config)
  problems += _check_predictor(config) + _check_sampler(config)
  problems += _check_schedule(config)
  if problems:
    raise ValueError("the config is wrong: " + "; ".join(problems))


def _check_steps(config: ConfigDict, part: str) -> list[str]:
  dispatch = config[part].steps_per_dispatch
  return [
    f"{part}.{name} ({config[part][name]}) must be a multiple of"
    f" {part}.steps_per_dispatch ({dispatch})"
    for name in (
      *("num_steps", "checkpoint_every", "warmup_steps"),
      *("epoch_steps", "controller_epoch_steps"),
    )
    if name in config[part] and dispatch > 0 and config[part][name] % dispatch
  ]


def _check_space(config: ConfigDict) -> list[str]:
  """Fields of another space."""
  preset = default()
  problems = [
    f"{path} is for space.name={' or '.join(spaces)} alone: leave it at"
    f" {_field(preset, path)!r}, got {_field(config, path)!r}"
    for path, spaces in _READ_BY.items()
    if config.space.name not in spaces
    and _field(config, path) != _field(preset, path)
  ]
  if config.space.name == "custom" and not config.space.model:
    problems.append("space.name=custom needs space.model, such as net.py:Net")
  return problems


def _check_together(config: ConfigDict) -> list[str]:
  """Fields that contradict each other."""
  problems = _check_space(config)
  paper, condition = config.cost.name == "paper", config.condition.name
  if paper and condition in SCALED:
    problems.append(
      "cost.name=paper prices by S alone: condition.name must be simplex or"
      f" fixed, got {condition}"
    )
  if not paper and condition == "simplex":
    problems.append(
      f"condition.name=simplex has no scale: cost.name={config.cost.name}"
      f" needs fixed, {', '.join(SCALED)}"
    )
  problems += _check_controller(config)
  if config.derive.num_samples and condition != "fixed":
    problems.append(
      "derive.num_samples draws from one network's logits: condition.name must"
      f" be fixed, got {condition}"
    )
  if condition == "devices" and not config.search.bilevel:
    problems.append(
      "condition.name=devices combines the controller's own steps:"
      " search.bilevel must be True"
    )
  count = config.latency.calibration_networks
  if count < 0 or 0 < count < 3:
    problems.append(
      f"latency.calibration_networks must be 0, or 3 at least, got {count}"
    )
  low, high = config.condition.low, config.condition.high
  if not 0 < low < high:
    problems.append(
      "condition.low and condition.high must be 0 < low < high, got"
      f" {low} and {high}"
    )
  fraction = config.search.weights_fraction
  upper = fraction < 1 if config.search.bilevel else fraction <= 1
  if not (0 < fraction and upper):
    problems.append(
      f"search.weights_fraction ({fraction}) must be in (0, 1], and below 1"
      " with search.bilevel"
    )
  return problems


def _check_controller(config: ConfigDict) -> list[str]:
  """It has to hear what it is told."""
  condition, problems = config.condition.name, []
  controller = config.controller.name
  if condition != "fixed" and controller == "table":
    problems.append(
      f"controller.name=table cannot hear condition.name={condition}; use"
      " controller.name=pivots or condition.name=fixed"
    )
  if config.controller.classifier and controller == "table":
    problems.append(
      "controller.classifier=True needs a controller that hears the condition,"
      " not controller.name=table"
    )
  if condition not in SCALED and controller in ("piecewise", "mixture"):
    problems.append(
      f"controller.name={controller} reads a scale: condition.name must be one"
      f" of {', '.join(SCALED)}, got {condition}"
    )
  if controller == "piecewise" and config.controller.num_pivots < 2:
    problems.append(
      "controller.name=piecewise needs controller.num_pivots >= 2"
    )
  return problems


def _check_sampler(config: ConfigDict) -> list[str]:
  """What a sampler draws has to be what the step can read."""
  part, problems = config.sampler, []
  if part.name == "softmax" and part.per_example:
    problems.append(
      "sampler.per_example needs a sampler with noise, not softmax"
    )
  if part.name not in SAMPLERS and part.per_example:
    problems.append(
      f"sampler.name={part.name} runs one path for the whole batch: set"
      " sampler.per_example=False"
    )
  if part.name == "two_gates" and config.controller.name != "table":
    problems.append(
      "sampler.name=two_gates moves the logits themselves: controller.name"
      f" must be table, got {config.controller.name}"
    )
  if part.name == "reinmax":
    problems += [
      "sampler.name=reinmax needs temperatures of 1 or more:"
      f" temperature.{name} is {config.temperature[name]}"
      for name in ("start", "end")
      if config.temperature[name] < 1
    ]
  if part.num_samples < 1:
    problems.append(
      f"sampler.num_samples must be 1 or more, got {part.num_samples}"
    )
  return problems


def _check_schedule(config: ConfigDict) -> list[str]:
  """Phases end where a dispatch does; what looks ahead can."""
  part, problems = config.search, []
  warmup, num_steps = part.warmup_steps, part.num_steps
  if not 0 <= warmup < max(num_steps, 1):
    problems.append(
      f"search.warmup_steps ({warmup}) must be in [0, search.num_steps"
      f" ({num_steps}))"
    )
  if config.sampler.warmup and not warmup:
    problems.append(
      f"sampler.warmup={config.sampler.warmup} needs search.warmup_steps"
    )
  if part.controller_epoch_steps and not part.epoch_steps:
    problems.append("search.controller_epoch_steps needs search.epoch_steps")
  if part.every < 1:
    problems.append(f"search.every must be 1 or more, got {part.every}")
  wanted = {"order": "first", "every": 1, "epoch_steps": 0, "same_key": False}
  problems += [
    f"search.{name}={part[name]} needs search.bilevel=True"
    for name, value in wanted.items()
    if part[name] != value and not part.bilevel
  ]
  if part.epoch_steps and (part.order != "first" or part.every != 1):
    problems.append(
      "search.epoch_steps alternates whole epochs: search.order must be first"
      " and search.every 1"
    )
  discrete = config.sampler.name not in SAMPLERS
  if part.order != "first" and discrete:
    problems.append(
      f"search.order={part.order} differentiates the mixture: sampler.name"
      f" must be one of {', '.join(SAMPLERS)}, got {config.sampler.name}"
    )
  return problems


def _check_predictor(config: ConfigDict) -> list[str]:
  """It was trained on whole one-hot networks, of one device."""
  wanted = {
    "cost.name": "latency",
    "condition.name": "fixed",
    "penalty.on": "sampled",
    "sampler.per_example": False,
  }
  problems = [
    f"cost.predictor needs {path}={value}, got {_field(config, path)!r}"
    for path, value in wanted.items()
    if config.cost.predictor and _field(config, path) != value
  ]
  if config.cost.predictor and config.derive.rule == "top_k":
    problems.append(
      "cost.predictor reads a sample of every choice, and derive.rule=top_k"
      " drops some: use argmax"
    )
  kind = config.cost.predictor in PREDICTORS
  if config.cost.predictor and not kind and not config.latency.table:
    problems.append("cost.predictor needs the latency.table that it is over")
  if kind and config.latency.calibration_networks < MIN_SAMPLES:
    problems.append(
      f"cost.predictor={config.cost.predictor} is trained on measured networks:"
      f" latency.calibration_networks must be {MIN_SAMPLES} or more"
    )
  one_hot = ("straight_through", *ON_A_PATH, "reinforce")
  if config.cost.predictor and config.sampler.name not in one_hot:
    problems.append(
      f"cost.predictor needs a sampler.name of {', '.join(one_hot)}, got"
      f" {config.sampler.name}"
    )
  return problems


def _check_penalty(config: ConfigDict) -> list[str]:
  """A target needs a penalty that aims at it, and one network to aim with."""
  part = config.penalty
  problems = []
  if part.strength < 0:
    problems.append(f"penalty.strength must be >= 0, got {part.strength}")
  if part.on == "sampled" and config.sampler.name == "softmax":
    problems.append(
      "penalty.on=sampled needs a sampler with noise, not softmax"
    )
  if part.name == "dual_ascent" and config.derive.max_skips:
    problems.append(
      "penalty.name=dual_ascent derives what takes its target:"
      " derive.max_skips must be 0"
    )
  if part.name not in TARGETED:
    problems += [
      f"penalty.{field} is not read by penalty.name={part.name}; use one of"
      f" {', '.join(TARGETED)}, or leave it out"
      for field in ("target", "strength")
      if part[field]
    ]
    return problems
  try:
    budget.parse(part.target, "penalty.target")
  except ValueError as error:
    problems.append(f"penalty.name={part.name} aims at a target: {error}")
  if config.cost.name != "latency":
    problems.append(
      f"penalty.name={part.name} reads latencies in ms: cost.name must be"
      f" latency, got {config.cost.name}"
    )
  if config.condition.name != "fixed":
    problems.append(
      f"penalty.name={part.name} searches one network for one target:"
      f" condition.name must be fixed, got {config.condition.name}"
    )
  return problems
