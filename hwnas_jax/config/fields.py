"""The whole configuration: every field's default, and what reads a config."""

import copy
import importlib
import importlib.util
import pathlib
import sys
import types
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

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
    "width": 1.0,  # mobile: multiplies channels, see Chain
  },
  # The derived network may be deeper and wider than the supernet; its
  # shapes are the ones that are measured and priced. 0: as the space.
  "derive": {
    "rule": "top_k",
    "num_cells": 0,
    "channels": 0,
    "num_scales": 8,  # members at the uniform simplex, cone only
    # Drawn from the logits in place of the rule, and trained on 90 % of the
    # training split; the best on the rest is kept (FBNet).
    "num_samples": 0,
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
    "classifier": False,  # generates the classifier's weights too
  },
  "condition": {
    "name": "cone",
    "low": 0.001,  # scale
    "high": 10.0,  # and the only one of fixed
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
    "controller_epoch_steps": 0,  # of the controller's turns; 0: as many
    "same_key": False,  # the controller's sample is drawn by the weights' key
    "weights_fraction": 0.5,  # of the training split; rest: controller
    "weights_lr": 0.025,
    "weights_lr_end": 0.001,
    "weights_momentum": 0.9,
    "weights_decay": 3e-4,
    "weights_clip": 5.0,
    "controller_lr": 1e-3,
    "controller_b1": 0.5,
    "controller_decay": 0.0,  # of its parameters, added to the gradient
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
