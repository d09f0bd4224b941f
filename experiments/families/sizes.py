"""The config of the search, and the recipes of the trainings."""

from typing import Any

import hwnas_jax as hw
from hwnas_jax.config.fields import Train

SEED = 0
CHOSEN = ("family", "finalists", "largest", "random")  # of each budget
PADS = {"fashion_mnist": 2, "cifar10": 4}
SEEDS = 3  # trainings of each network
STEPS, SHORT_STEPS = 1420, 220  # of batches of 256


def make_config(args: Any) -> Any:
  """NAS-Bench-201's cells, one a stage; see configs/nasbench201.py."""
  config = hw.load_config("nasbench201")
  config.seed = SEED
  config.data.update(name=args.data, pad=PADS[args.name], flip=True)
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
  steps = SHORT_STEPS if short else STEPS
  if args.smoke:
    steps = 20
  return Train(
    num_steps=steps,
    batch_size=32 if args.smoke else 256,
    lr=0.1,
    weight_decay=5e-4,
    num_seeds=1 if short else SEEDS,
    steps_per_dispatch=20,
    checkpoint_every=steps,
  )
