"""The config of the search, and the recipes of the trainings."""

from typing import Any, NamedTuple

import hwnas_jax as hw
from hwnas_jax.config.fields import Train

SEED = 0
CHOSEN = ("family", "finalists", "largest", "random")  # of each budget
SEEDS = 3  # trainings of each network


class Size(NamedTuple):
  """Of a data set: augmentation and trainings.

  pad: pixels. steps, short_steps: of a full and of a finalist's training.
  """

  pad: int
  steps: int = 1420
  short_steps: int = 220
  batch_size: int = 256


SIZES = {
  "fashion_mnist": Size(2),
  "cifar10": Size(4),
  "cifar10_reduced": Size(2, 400, 80, 128),  # see reduce.py
}


def make_config(args: Any) -> Any:
  """NAS-Bench-201's cells, one a stage; see configs/nasbench201.py."""
  config = hw.load_config("nasbench201")
  config.seed = SEED
  config.data.update(name=args.data, pad=SIZES[args.name].pad, flip=True)
  config.space.update(num_cells=1, channels=16)
  config.derive.update(num_scales=2, num_random=0)
  config.condition.update(low=0.3, high=100.0)
  config.latency.update(batch_size=32, repeats=30, calibration_networks=10)
  # The supernet is trained by fair paths; then the controller alone, against a
  # fit to what the committee says of random architectures.
  config.quality.update(name="surrogate", architectures=200)
  config.sampler.update(name="softmax", warmup="ordered", per_example=False)
  config.temperature.update(start=1.0, end=1.0)
  config.regularise.entropy = -0.2
  config.controller.update(name="mlp")
  config.search.update(
    num_steps=3600,
    warmup_steps=600,
    batch_size=64,
    bilevel=False,
    weights_fraction=0.9,
    weights_lr=0.05,
    controller_lr=0.01,
    steps_per_dispatch=100,
    checkpoint_every=100,
  )
  config.train.num_steps = 0  # only what is chosen is trained
  if args.smoke:
    config.space.channels = 4
    config.latency.update(batch_size=8, repeats=3, calibration_networks=0)
    config.search.update(num_steps=200, warmup_steps=100)
  return config


def recipe(args: Any, short: bool) -> Train:
  """How networks are trained; a short training has a cosine of its own."""
  size = SIZES[args.name]
  steps = size.short_steps if short else size.steps
  if args.smoke:
    steps = 20
  return Train(
    num_steps=steps,
    batch_size=32 if args.smoke else size.batch_size,
    lr=0.1,
    weight_decay=5e-4,
    num_seeds=1 if short else SEEDS,
    steps_per_dispatch=20,
    checkpoint_every=steps,
  )
