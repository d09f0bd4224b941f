"""The parts of a search and their registries, for authors of methods.

A registry maps the names of a config to parts, with the traits by which a
config is checked. Registries are read when they are used, so your own entry
works at once:

>>> from hwnas_jax import method
>>> method.CONTROLLERS["flat"] = method.ControllerKind(
...   lambda settings: method.CONTROLLERS["table"].make(settings),
...   conditioned=False,
... )

`method.samplers` has an example of a sampler.
"""

from hwnas_jax.core.types import Condition, Mix, Paths
from hwnas_jax.method.conditions import (
  CONDITIONS,
  ConditionKind,
  Conditions,
  ConditionSettings,
)
from hwnas_jax.method.controllers import (
  CONTROLLERS,
  Controller,
  ControllerKind,
  ControllerSettings,
)
from hwnas_jax.method.estimators import (
  Estimator,
  Grads,
  Sampling,
  Variables,
)
from hwnas_jax.method.penalty import (
  PENALTIES,
  Costs,
  Penalty,
  PenaltyKind,
  PenaltySettings,
)
from hwnas_jax.method.samplers import SAMPLERS, Sampler, make_estimator

__all__ = [
  "CONDITIONS",
  "CONTROLLERS",
  "PENALTIES",
  "SAMPLERS",
  "Condition",
  "ConditionKind",
  "ConditionSettings",
  "Conditions",
  "Controller",
  "ControllerKind",
  "ControllerSettings",
  "Costs",
  "Estimator",
  "Grads",
  "Mix",
  "Paths",
  "Penalty",
  "PenaltyKind",
  "PenaltySettings",
  "Sampler",
  "Sampling",
  "Variables",
  "make_estimator",
]
