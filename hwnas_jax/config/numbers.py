"""The range of every number of a config.

Upper limits are far above what anyone trains: what exceeds them is a slip of
the finger, and would fill the memory or never end.
"""

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

from hwnas_jax.config.fields import Config
from hwnas_jax.nets.models import MOST, MOST_CHANNELS


class Range(NamedTuple):
  """An interval; `inf` as an end means that any finite number is allowed."""

  low: float
  high: float
  open_low: bool = False
  open_high: bool = False

  def fault(self, number: float) -> str | None:
    """What a number must be, if it is not that."""
    if not math.isfinite(number):
      return "must be a finite number"
    below = number < self.low or (self.open_low and number == self.low)
    above = number > self.high or (self.open_high and number == self.high)
    if (below or above) and self.high <= 1:
      return f"must be in {self}"
    if below:
      return f"must be {'>' if self.open_low else '>='} {self.low:.12g}"
    if above:
      return f"must be {'<' if self.open_high else '<='} {self.high:.12g}"
    return None

  def __str__(self) -> str:
    start, end = "[("[self.open_low], "])"[self.open_high]
    return f"{start}{self.low:.12g}, {self.high:.12g}{end}"


FINITE = Range(-math.inf, math.inf)
POSITIVE = Range(0, math.inf, open_low=True)
NOT_NEGATIVE = Range(0, math.inf)
SHARE = Range(0, 1, open_high=True)
STEPS = Range(0, 1e9, open_low=True)
STEPS_OR_NONE = Range(0, 1e9)
COUNT = Range(0, 10_000, open_low=True)
COUNT_OR_NONE = Range(0, 10_000)
IMAGES = Range(0, 1_000_000, open_low=True)

RANGES: Mapping[str, Range] = {
  "seed": Range(0, 2**32 - 1),  # a PRNG key has 32 bits of it
  "devices": COUNT,
  "data.pad": COUNT_OR_NONE,
  "data.in_memory_gib": NOT_NEGATIVE,
  "data.workers": Range(0, 256),
  "data.crop_area": Range(0, 1, open_low=True),
  "data.jitter": Range(0, 1),
  "derive.num_cells": Range(0, MOST),
  "derive.channels": Range(0, MOST_CHANNELS),
  "derive.num_scales": COUNT,
  "derive.num_samples": COUNT_OR_NONE,
  "derive.num_trained": COUNT_OR_NONE,
  "derive.num_random": COUNT_OR_NONE,
  "derive.max_skips": COUNT_OR_NONE,
  "controller.num_pivots": COUNT,
  "controller.num_experts": COUNT,
  "controller.sign": FINITE,  # one of two: `checks.choices`
  "controller.reference_std": POSITIVE,
  "condition.low": FINITE,  # 0 < low < high: `checks`
  "condition.high": FINITE,
  "condition.num_devices": COUNT,
  "cost.kappa": NOT_NEGATIVE,
  "penalty.strength": NOT_NEGATIVE,
  "quality.architectures": Range(0, 100_000, open_low=True),
  "sampler.num_samples": COUNT,
  "regularise.identity": NOT_NEGATIVE,
  "regularise.entropy": FINITE,
  "temperature.start": POSITIVE,
  "temperature.end": POSITIVE,
  "search.num_steps": STEPS,
  "search.warmup_steps": FINITE,  # against num_steps: `checks`
  "search.batch_size": IMAGES,
  "search.conditions_per_step": COUNT,
  "search.every": STEPS,
  "search.epoch_steps": STEPS_OR_NONE,
  "search.controller_epoch_steps": STEPS_OR_NONE,
  "search.weights_fraction": FINITE,  # against bilevel: `checks`
  "search.weights_lr": POSITIVE,
  "search.weights_lr_end": NOT_NEGATIVE,
  "search.weights_momentum": SHARE,
  "search.weights_decay": NOT_NEGATIVE,
  "search.weights_clip": POSITIVE,
  "search.controller_lr": POSITIVE,
  "search.controller_b1": SHARE,
  "search.controller_decay": NOT_NEGATIVE,
  "search.steps_per_dispatch": STEPS,
  "search.checkpoint_every": STEPS,
  "latency.batch_size": IMAGES,
  "latency.repeats": Range(3, 100_000),  # fewer have no interquartile range
  "latency.calibration_networks": Range(0, 100_000),
  "train.num_steps": STEPS_OR_NONE,
  "train.batch_size": IMAGES,
  "train.parts": COUNT,
  "train.lr": POSITIVE,
  "train.momentum": SHARE,
  "train.weight_decay": NOT_NEGATIVE,
  "train.clip": POSITIVE,
  "train.cutout": COUNT_OR_NONE,
  "train.drop_path": SHARE,
  "train.auxiliary_weight": NOT_NEGATIVE,
  "train.label_smoothing": SHARE,
  "train.teacher_weight": POSITIVE,
  "train.teacher_temperature": POSITIVE,
  "train.num_seeds": COUNT,
  "train.steps_per_dispatch": STEPS,
  "train.checkpoint_every": STEPS,
}


def numbers(config: Config) -> Iterator[tuple[str, float]]:
  """(path, value) of every number, those of config.space left out."""
  for part, whole in msgspec.structs.asdict(config).items():
    fields = (
      {f"{part}.{name}": v for name, v in msgspec.structs.asdict(whole).items()}
      if isinstance(whole, msgspec.Struct)
      else {part: whole}
    )
    for path, number in fields.items():
      if isinstance(number, int | float) and not isinstance(number, bool):
        yield path, number


def faults(config: Config) -> list[str]:
  """Numbers out of their range."""
  found = [
    (path, RANGES[path].fault(number), number)
    for path, number in numbers(config)
  ]
  vectors = config.derive.vectors.values()
  found += [
    ("derive.vectors", FINITE.fault(price), price)
    for vector in vectors
    for price in vector
  ]
  return [
    f"{path} {must}, got {number}" for path, must, number in found if must
  ]
