"""Every component that a config may name, with the first line of its docs."""

import inspect
from collections.abc import Mapping
from typing import Any

from hwnas_jax.checks import CHOICES
from hwnas_jax.core import conditions
from hwnas_jax.core.schedule import SCHEDULES
from hwnas_jax.costs import price
from hwnas_jax.nets import controllers, predictors
from hwnas_jax.samplers import discrete
from hwnas_jax.samplers.relaxed import SAMPLERS
from hwnas_jax.search import discretise, estimators
from hwnas_jax.search.penalty import PENALTIES
from hwnas_jax.spaces.custom import Custom
from hwnas_jax.spaces.darts import Darts
from hwnas_jax.spaces.mobile import Chain
from hwnas_jax.spaces.nasbench201 import NasBench201

_SAMPLERS: Mapping[str, Any] = {
  **SAMPLERS,
  **discrete.DISCRETE,
  "ordered": estimators.ordered,
  "reinforce": estimators.reinforce,
}
_BEHIND: dict[str, Mapping[str, Any]] = {
  "space.name": {
    "darts": Darts,
    "nasbench201": NasBench201,
    "mobile": Chain,
    "custom": Custom,
  },
  "controller.name": vars(controllers),
  "condition.name": vars(conditions),
  "cost.name": {"latency": price.cone, "paper": price.paper},
  "cost.predictor": {
    "mlp": predictors.Regressor,
    "graph": predictors.GraphNetwork,
  },
  "penalty.name": PENALTIES,
  "sampler.name": _SAMPLERS,
  "temperature.name": SCHEDULES,
  "derive.rule": discretise.RULES,
}


def listing() -> str:
  """Fields and their values, a line each."""
  fields = CHOICES | {"cost.predictor": tuple(_BEHIND["cost.predictor"])}
  lines = []
  for field, choices in fields.items():
    lines.append(f"config.{field}")
    for choice in choices:
      name = '""' if choice == "" else str(choice)
      lines.append(f"  {name:18}{_summary(field, choice)}".rstrip())
  return "\n".join(lines)


def _summary(field: str, choice: Any) -> str:
  behind = _BEHIND.get(field, {}).get(choice)
  doc = inspect.getdoc(behind) if callable(behind) else None
  return doc.splitlines()[0] if doc else ""
