"""Every component that a config may name, with the first line of its docs."""

import inspect
from collections.abc import Mapping
from typing import Any

from hwnas_jax.config.checks import CHOICES
from hwnas_jax.costs.predict import nets
from hwnas_jax.method import (
  conditions,
  controllers,
  discrete,
  estimators,
  price,
)
from hwnas_jax.method.penalty import PENALTIES
from hwnas_jax.method.relaxed import SAMPLERS
from hwnas_jax.method.schedule import SCHEDULES
from hwnas_jax.spaces import rules
from hwnas_jax.spaces.custom import Custom
from hwnas_jax.spaces.darts import OP_SETS, Darts
from hwnas_jax.spaces.mobile import SKELETONS, Chain
from hwnas_jax.spaces.nasbench201 import NasBench201

_SAMPLERS: Mapping[str, Any] = {
  **SAMPLERS,
  **discrete.DISCRETE,
  "ordered": estimators.ordered,
  "reinforce": estimators.reinforce,
}
_BEHIND: dict[str, Mapping[Any, Any]] = {
  "space.name": {
    "darts": Darts,
    "nasbench201": NasBench201,
    "mobile": Chain,
    "custom": Custom,
  },
  "controller.name": vars(controllers),
  "condition.name": vars(conditions),
  "cost.name": {
    "latency": price.cone,
    "paper": price.paper,
    "params": "Parameters of operations, by the prices of the cone.",
    "macs": "Multiply-accumulates, by the prices of the cone.",
  },
  "space.ops": {name: ", ".join(ops) for name, ops in OP_SETS.items()},
  "space.skeleton": {
    name: f"{sum(stage.repeats for stage in frame.stages)} layers of"
    f" {len(frame.ops)} operations"
    for name, frame in SKELETONS.items()
  },
  "penalty.on": {
    "expected": "The mean of the sampler's law is priced.",
    "sampled": "The sample itself is priced.",
  },
  "sampler.warmup": {"": "The same as sampler.name.", **_SAMPLERS},
  "search.order": {
    "first": "The controller's gradient at the weights as they are.",
    "exact": "Through the weights' next step, reverse over reverse.",
    "difference": "The same by a finite difference with common noise (DARTS).",
  },
  "controller.sign": {
    -1: "Near pivots count, as the paper's text has it.",
    1: "Far pivots count, as its code has it.",
  },
  "cost.predictor": {
    "mlp": nets.Regressor,
    "graph": nets.GraphNetwork,
  },
  "penalty.name": PENALTIES,
  "sampler.name": _SAMPLERS,
  "temperature.name": SCHEDULES,
  "derive.rule": rules.MASKS,
}


# Components that are switched on by a number or a text.
SWITCHES = {
  "data.name": "digits, cifar10, fashion_mnist, mock_*, folder:PATH, npz:PATH",
  "controller.classifier": "generates the classifier's weights too",
  "derive.num_samples": "draws and trains so many, keeps the best (FBNet)",
  "derive.max_skips": "the likeliest network with so many skips at most",
  "regularise.identity": "each choice adds its input, fading to 0 (SurgeNAS)",
  "regularise.entropy": "of the logits, added to the controller's loss",
  "search.bilevel": "the controller steps on examples of its own",
  "search.warmup_steps": "the weights alone at first",
  "search.every": "weight steps a step of the controller",
  "search.epoch_steps": "weights and controller take turns of so many steps",
  "search.same_key": "both sides draw the same sample",
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
  lines += [f"config.{field}\n  {told}" for field, told in SWITCHES.items()]
  return "\n".join(lines)


def _summary(field: str, choice: Any) -> str:
  behind = _BEHIND.get(field, {}).get(choice)
  if isinstance(behind, str):
    return behind
  doc = inspect.getdoc(behind) if callable(behind) else None
  return doc.splitlines()[0] if doc else ""
