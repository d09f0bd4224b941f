"""The whole configuration: defaults, and the checks before anything runs."""

import copy
import importlib
import importlib.util
import pathlib
import sys
import types
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from hwnas_jax.core import budget
from hwnas_jax.core.schedule import SCHEDULES
from hwnas_jax.costs import analytic
from hwnas_jax.costs.predictor_fit import MIN_SAMPLES
from hwnas_jax.nets.predictors import NETWORKS as PREDICTORS
from hwnas_jax.samplers.relaxed import SAMPLERS
from hwnas_jax.search.discretise import RULES
from hwnas_jax.search.estimators import ON_A_PATH
from hwnas_jax.search.penalty import PENALTIES, TARGETED
from hwnas_jax.search.phases import ORDERS
from hwnas_jax.spaces.darts import OP_SETS
from hwnas_jax.spaces.mobile import SKELETONS

CHOICES = {
  "space.name": ("darts", "nasbench201", "mobile", "custom"),
  "space.ops": tuple(OP_SETS),
  "space.skeleton": tuple(SKELETONS),
  "controller.name": ("table", "pivots", "piecewise", "mlp", "mixture"),
  "controller.sign": (-1, 1),
  "condition.name": ("fixed", "simplex", "cone", "scale", "devices"),
  "cost.name": ("latency", "paper", *analytic.COUNTS),
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

# Every field with its default and its unit; a config file changes some.
_DEFAULTS: dict[str, Any] = {
  "seed": 0,
  "tensorboard": False,  # the search's metrics; needs the extra [tensorboard]
  "data": {
    "name": "digits",  # see `hwnas_jax.data.load`
    "data_dir": "",  # of TFDS; "" is TFDS's own default
    "pad": 0,  # pixels of the random crop
    "flip": False,
  },
  "space": {
    "name": "darts",
    "model": "",  # custom alone: FILE.py:NAME or package.module:NAME
    "ops": "eight",
    "num_cells": 8,  # nasbench201: of each of its three stages
    "num_nodes": 4,
    "channels": 16,
    "imagenet_stem": False,
    "skeleton": "fbnet_32",  # mobile: see `hwnas_jax.spaces.mobile`
    "width": 1.0,  # mobile: multiplies all channels
  },
  # The derived network may be deeper and wider than the supernet; its
  # shapes are the ones that are measured and priced. 0: as the space.
  "derive": {
    "rule": "top_k",
    "num_cells": 0,
    "channels": 0,
    "num_scales": 8,  # members at the uniform simplex, cone only
    "num_samples": 0,  # drawn from the logits in place of the rule; FBNet
    "num_random": 4,  # random architectures trained beside the family
    "max_skips": 0,  # skip_connect in a derived network; 0 is no limit
    "vectors": {},  # name -> prices, one a priced operation (paper)
  },
  "controller": {
    "name": "pivots",
    "num_pivots": 5,  # of each group; knots of piecewise
    "num_experts": 10,  # of mixture
    "sign": -1,
    "reference_std": 1e-3,  # of the pivots' logits at first
    "train_pivots": False,
  },
  "condition": {
    "name": "cone",
    "low": 0.001,  # scale
    "high": 10.0,
    "num_devices": 4,  # of devices: drawn prices, the first this device's
  },
  "cost": {
    "name": "latency",
    "kappa": 50.0,  # paper mode only
    # Prices the sampled network in place of the table: `mlp` or `graph`,
    # trained on latency.calibration_networks, or the path of what
    # `profile --predictor` wrote over latency.table.
    "predictor": "",
  },
  "penalty": {
    "name": "additive",  # see `hwnas_jax.search.penalty`
    "on": "expected",  # the mix that is priced
    "target": "",  # 5ms, or 0.4x or 60% of the largest architecture's
    "strength": 0.0,  # 0: the penalty's own default
  },
  "sampler": {
    "name": "gumbel_softmax",
    "per_example": True,  # one sample an example; those of one path cannot
    "num_samples": 10,  # paths a step of reinforce
    "warmup": "",  # of the warm-up steps; "" is the same
  },
  "regularise": {
    # Each choice adds so much of its input (SurgeNAS), at first; 0 at the end.
    "identity": 0.0,
    "entropy": 0.0,  # of the logits, times this, is added to the loss
  },
  "temperature": {"name": "linear", "start": 1.0, "end": 0.2},
  "search": {
    "num_steps": 1000,
    "warmup_steps": 0,  # weights only, before the controller moves
    "batch_size": 64,
    # Weights and controller each on their own examples, the controller first.
    "bilevel": False,
    "order": "first",  # of its gradient: exact and difference look ahead
    "every": 1,  # weight steps a step of the controller
    "epoch_steps": 0,  # the two alternate, so many steps each; 0: every step
    "same_key": False,  # the controller's sample is drawn by the weights' key
    "weights_fraction": 0.5,  # of the training split; rest: controller
    "weights_lr": 0.025,
    "weights_lr_end": 0.001,
    "weights_momentum": 0.9,
    "weights_decay": 3e-4,
    "weights_clip": 5.0,
    "controller_lr": 1e-3,
    "controller_b1": 0.5,
    "steps_per_dispatch": 10,
    "checkpoint_every": 500,  # steps
  },
  "latency": {
    "table": "",  # path; "" profiles first, into the run folder
    "batch_size": 64,
    "repeats": 20,
    # Whole networks measured to calibrate the table; 0 leaves it raw.
    "calibration_networks": 0,
  },
  "train": {
    "num_steps": 1000,  # 0 leaves the family untrained
    "batch_size": 96,
    "lr": 0.025,
    "momentum": 0.9,
    "weight_decay": 3e-4,
    "clip": 5.0,
    "cutout": 0,  # pixels
    "drop_path": 0.0,
    "auxiliary_weight": 0.0,
    "label_smoothing": 0.0,
    "num_seeds": 1,
    "steps_per_dispatch": 10,
    "checkpoint_every": 1000,  # steps
  },
}


def default() -> ConfigDict:
  """A fresh copy of all fields at their defaults."""
  # Locked: a misspelt field is an error, not a new field.
  return ConfigDict(copy.deepcopy(_DEFAULTS)).lock()


def restore(saved: dict[str, Any]) -> ConfigDict:
  """The config of a run folder's config.json, `to_dict()` of what ran.

  Raises:
    ValueError: it has a field that there is not; another version wrote it.
  """
  config = default()
  vectors = saved.get("derive", {}).get("vectors", {})
  config.derive.vectors = vectors
  try:
    config.update(saved)
  except (KeyError, TypeError) as error:
    raise ValueError(
      "config.json is of another version of hwnas_jax:"
      f" {str(error).split('. ')[0]}"
    ) from error
  check(config)
  return config


def load(spec: str) -> ConfigDict:
  """Runs `FILE[:variant]`'s get_config(variant).

  Raises:
    FileNotFoundError: no such file.
  """
  name, _, variant = spec.partition(":")
  path = pathlib.Path(name)
  if not path.is_file():
    raise FileNotFoundError(
      f"no config file {path}; run from a checkout, or give its full path"
    )
  return _run_file(path).get_config(variant)


def _run_file(path: pathlib.Path) -> types.ModuleType:
  name = str(path.resolve())
  module_spec = importlib.util.spec_from_file_location(name, path)
  assert module_spec is not None and module_spec.loader is not None
  module = importlib.util.module_from_spec(module_spec)
  sys.modules[name] = module  # where dataclasses look up annotations
  module_spec.loader.exec_module(module)
  return module


def load_model(config: ConfigDict) -> Callable[..., Any]:
  """What space.model names: a linen module's class, or what makes one.

  Raises:
    ValueError: it is not there; the message names the field.
  """
  spec = config.space.model
  where, _, name = spec.rpartition(":")
  problem = f"space.model={spec!r}: "
  if not where or not name.isidentifier():
    raise ValueError(
      problem + "expected FILE.py:NAME or package.module:NAME, NAME being a"
      " linen module's class"
    )
  path = pathlib.Path(where)
  if path.suffix == ".py" and not path.is_file():
    raise ValueError(problem + f"no file {path} here")
  try:
    module = (
      _run_file(path)
      if path.suffix == ".py"
      else importlib.import_module(where)
    )
  except ImportError as error:
    raise ValueError(problem + f"{error}") from error
  found = getattr(module, name, None)
  if not callable(found):
    raise ValueError(
      problem + f"{where} has no class or function of the name {name}"
    )
  return found


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
}
_RATES = (
  "train.drop_path train.label_smoothing search.weights_momentum"
  " train.momentum search.controller_b1"
).split()


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
    for name in ("num_steps", "checkpoint_every", "warmup_steps", "epoch_steps")
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
  controller = config.controller.name
  if condition != "fixed" and controller == "table":
    problems.append(
      f"controller.name=table cannot hear condition.name={condition}; use"
      " controller.name=pivots or condition.name=fixed"
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
  if part.name == "reinmax" and config.temperature.end < 1:
    problems.append(
      "sampler.name=reinmax needs temperatures of 1 or more: temperature.end"
      f" is {config.temperature.end}"
    )
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
