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
from hwnas_jax.samplers.relaxed import SAMPLERS
from hwnas_jax.search.discretise import RULES
from hwnas_jax.search.penalty import PENALTIES, TARGETED
from hwnas_jax.spaces.darts import OP_SETS

CHOICES = {
  "space.name": ("darts", "nasbench201", "custom"),
  "space.ops": tuple(OP_SETS),
  "controller.name": ("table", "pivots"),
  "controller.sign": (-1, 1),
  "condition.name": ("fixed", "simplex", "cone"),
  "cost.name": ("latency", "paper"),
  "penalty.name": tuple(PENALTIES),
  "penalty.on": ("expected", "sampled"),
  "sampler.name": tuple(SAMPLERS),
  "temperature.name": tuple(SCHEDULES),
  "derive.rule": tuple(RULES),
}


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
  },
  # The derived network may be deeper and wider than the supernet; its
  # shapes are the ones that are measured and priced. 0: as the space.
  "derive": {
    "rule": "top_k",
    "num_cells": 0,
    "channels": 0,
    "num_scales": 8,  # members at the uniform simplex, cone only
    "num_random": 4,  # random architectures trained beside the family
    "vectors": {},  # name -> prices, one a priced operation (paper)
  },
  "controller": {
    "name": "pivots",
    "num_pivots": 5,
    "sign": -1,
    "reference_std": 1e-3,  # of the pivots' logits at first
    "train_pivots": False,
  },
  "condition": {"name": "cone", "low": 0.001, "high": 10.0},
  "cost": {
    "name": "latency",
    "kappa": 50.0,  # paper mode only
    # Path of what `profile --predictor` wrote: prices the sampled network in
    # place of latency.table, which it was trained over.
    "predictor": "",
  },
  "penalty": {
    "name": "additive",  # see `hwnas_jax.search.penalty`
    "on": "expected",  # the mix that is priced
    "target": "",  # 5ms, or 0.4x or 60% of the largest architecture's
    "strength": 0.0,  # 0: the penalty's own default
  },
  "sampler": {"name": "gumbel_softmax", "per_example": True},
  "temperature": {"name": "linear", "start": 1.0, "end": 0.2},
  "search": {
    "num_steps": 1000,
    "warmup_steps": 0,  # weights only, before the controller moves
    "batch_size": 64,
    "bilevel": False,
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
  "space.num_cells space.num_nodes space.channels search.num_steps"
  " search.batch_size search.steps_per_dispatch search.checkpoint_every"
  " latency.batch_size latency.repeats train.batch_size train.num_seeds"
  " train.steps_per_dispatch train.checkpoint_every controller.num_pivots"
  " search.weights_lr search.controller_lr train.lr search.weights_clip"
  " train.clip controller.reference_std temperature.start temperature.end"
  " derive.num_scales"
).split()
# What a space fixes, or has not: each stays at its default there.
_DARTS_ONLY = (
  "space.ops space.num_nodes space.imagenet_stem train.auxiliary_weight"
  " train.drop_path"
).split()
_NOT_READ = {
  "darts": ["space.model"],
  "nasbench201": ["space.model", *_DARTS_ONLY],
  "custom": [
    "space.num_cells",
    "space.channels",
    "derive.num_cells",
    "derive.channels",
    *_DARTS_ONLY,
  ],
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
  problems += _check_predictor(config)
  if problems:
    raise ValueError("the config is wrong: " + "; ".join(problems))


def _check_steps(config: ConfigDict, part: str) -> list[str]:
  dispatch = config[part].steps_per_dispatch
  return [
    f"{part}.{name} ({config[part][name]}) must be a multiple of"
    f" {part}.steps_per_dispatch ({dispatch})"
    for name in ("num_steps", "checkpoint_every")
    if dispatch > 0 and config[part][name] % dispatch
  ]


def _check_space(config: ConfigDict) -> list[str]:
  preset, name = default(), config.space.name
  problems = [
    f"{path} is not read by space.name={name}: leave it at"
    f" {_field(preset, path)!r}, got {_field(config, path)!r}"
    for path in _NOT_READ.get(name, [])
    if _field(config, path) != _field(preset, path)
  ]
  if name == "custom" and not config.space.model:
    problems.append("space.name=custom needs space.model, such as net.py:Net")
  return problems


def _check_together(config: ConfigDict) -> list[str]:
  """Fields that contradict each other."""
  problems = _check_space(config)
  paper, condition = config.cost.name == "paper", config.condition.name
  if paper and condition == "cone":
    problems.append(
      "cost.name=paper prices by S alone: condition.name must be simplex or"
      " fixed, got cone"
    )
  if not paper and condition == "simplex":
    problems.append(
      "condition.name=simplex has no scale: cost.name=latency needs cone or"
      " fixed"
    )
  if condition != "fixed" and config.controller.name == "table":
    problems.append(
      f"controller.name=table cannot hear condition.name={condition}; use"
      " controller.name=pivots or condition.name=fixed"
    )
  if config.sampler.name == "softmax" and config.sampler.per_example:
    problems.append(
      "sampler.per_example needs a sampler with noise, not softmax"
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
  warmup, num_steps = config.search.warmup_steps, config.search.num_steps
  if not 0 <= warmup < max(num_steps, 1):
    problems.append(
      f"search.warmup_steps ({warmup}) must be in [0, search.num_steps"
      f" ({num_steps}))"
    )
  fraction = config.search.weights_fraction
  upper = fraction < 1 if config.search.bilevel else fraction <= 1
  if not (0 < fraction and upper):
    problems.append(
      f"search.weights_fraction ({fraction}) must be in (0, 1], and below 1"
      " with search.bilevel"
    )
  return problems


def _check_predictor(config: ConfigDict) -> list[str]:
  """It was trained on whole one-hot networks, of one device."""
  wanted = {
    "cost.name": "latency",
    "condition.name": "fixed",
    "penalty.on": "sampled",
    "sampler.name": "straight_through",
    "sampler.per_example": False,
  }
  problems = [
    f"cost.predictor needs {path}={value}, got {_field(config, path)!r}"
    for path, value in wanted.items()
    if config.cost.predictor and _field(config, path) != value
  ]
  if config.cost.predictor and not config.latency.table:
    problems.append("cost.predictor needs the latency.table that it is over")
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
