"""Every component that a config may name, with the first line of its docs."""

import inspect
from collections.abc import Mapping
from typing import Any

from hwnas_jax.config.checks import choices
from hwnas_jax.costs.predict.nets import NETWORKS
from hwnas_jax.method import price
from hwnas_jax.method.conditions import CONDITIONS
from hwnas_jax.method.controllers import CONTROLLERS
from hwnas_jax.method.penalty import PENALTIES
from hwnas_jax.method.samplers import SAMPLERS
from hwnas_jax.method.schedule import SCHEDULES
from hwnas_jax.nets.models import SPACES
from hwnas_jax.spaces import rules

# Fields that switch something on by a number or a text, with what they do.
SWITCHES = {
  "data.name": "digits, cifar10, fashion_mnist, mock_*, tfds:NAME, folder:PATH,"
  " npz:PATH, records:PATH",
  "data.in_memory_gib": "larger data are streamed from their files",
  "data.crop_area": "streamed images are random crops, resized",
  "data.jitter": "streamed images change in brightness, contrast, saturation",
  "controller.classifier": "also generates the supernet's classifier",
  "derive.num_trained": "trains so many members, from fastest to slowest",
  "derive.references": "trains the space's reference, scaled in width, too",
  "derive.num_samples": "trains so many samples and keeps the best (FBNet)",
  "derive.max_skips": "derives the most likely network with so many skips",
  "regularise.identity": "each choice adds its input, falling to 0 (SurgeNAS)",
  "quality.architectures": "so many are judged for quality.name=surrogate",
  "regularise.entropy": "adds the logits' entropy to the controller's loss",
  "train.parts": "divides a batch that does not fit; gradients are averaged",
  "train.side_by_side": "one network on each of `devices` at the same time",
  "search.conditions_per_step": "draws so many, each for a part of the batch",
  "search.bilevel": "the controller steps on its own examples",
  "search.warmup_steps": "so many first steps of the weights alone",
  "search.every": "so many weight steps for each step of the controller",
  "search.epoch_steps": "weights and controller take turns of so many steps",
  "search.same_key": "weights and controller draw the same sample",
}


def _behind() -> dict[str, Mapping[Any, Any]]:
  """{field: {value: code whose docstring describes it, or a sentence}}."""
  samplers = {name: s.draw or s.estimator for name, s in SAMPLERS.items()}
  return {
    "space.name": {name: kind.spec for name, kind in SPACES.items()},
    "controller.name": {n: kind.make for n, kind in CONTROLLERS.items()},
    "condition.name": {n: kind.make for n, kind in CONDITIONS.items()},
    "cost.name": {
      "latency": price.cone,
      "paper": price.paper,
      "params": "Parameters of operations, priced like latency.",
      "macs": "Multiply-accumulates, priced like latency.",
    },
    "quality.name": {
      "supernet": "The cross-entropy with shared weights.",
      "surrogate": "A fit to judgements of random architectures.",
    },
    "penalty.name": {name: kind.make for name, kind in PENALTIES.items()},
    "penalty.on": {
      "expected": "The mean of the sampler's distribution is priced.",
      "sampled": "The sample itself is priced.",
    },
    "sampler.name": samplers,
    "sampler.warmup": {"": "The same as sampler.name.", **samplers},
    "search.order": {
      "first": "The controller's gradient at the weights as they are.",
      "exact": "Through the weights' next step, reverse over reverse.",
      "difference": "The same by a finite difference, same noise (DARTS).",
    },
    "precision": {
      "float32": "Everything in float32.",
      "bfloat16": "Networks compute in it; weights and statistics are float32.",
    },
    "controller.sign": {
      -1: "Near pivots count, as the paper's text has it.",
      1: "Far pivots count, as its code has it.",
    },
    "cost.predictor": NETWORKS,
    "temperature.name": SCHEDULES,
    "derive.rule": rules.MASKS,
    **_space_choices(),
  }


def _space_choices() -> dict[str, Mapping[str, str]]:
  """{field of config.space with few values: {value: what it means}}."""
  return {
    f"space.{field}": meanings
    for kind in SPACES.values()
    for field, meanings in kind.choices.items()
  }


def listing() -> str:
  """The text of --list: each field, then a line for each of its values."""
  lines, behind = [], _behind()
  fields = choices() | {"cost.predictor": tuple(NETWORKS)}
  fields |= {name: tuple(values) for name, values in _space_choices().items()}
  for field, values in fields.items():
    lines.append(f"config.{field}")
    for value in values:
      name = '""' if value == "" else str(value)
      meaning = _summary(behind.get(field, {}).get(value))
      lines.append(f"  {name:18}{meaning}".rstrip())
  lines += [f"config.{field}\n  {text}" for field, text in SWITCHES.items()]
  return "\n".join(lines)


def _summary(behind: Any) -> str:
  """A sentence, or the first line of a docstring."""
  if isinstance(behind, str):
    return behind
  doc = inspect.getdoc(behind) if callable(behind) else None
  return doc.splitlines()[0] if doc else ""
