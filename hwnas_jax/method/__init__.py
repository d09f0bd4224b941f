"""What a search is made of, for authors of methods: parts and registries.

The registries map the names of a config to parts, with the traits by which a
config is checked. They are read when they are used, so an entry of your own
counts from then on:

>>> from hwnas_jax import method
>>> method.CONTROLLERS["flat"] = method.ControllerKind(
...   lambda settings: method.CONTROLLERS["table"].make(settings),
...   conditioned=False,
... )

`samplers` has a sampler as an example.
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
