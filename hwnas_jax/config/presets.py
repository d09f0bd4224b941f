"""Changes that several configs share."""

from ml_collections import ConfigDict

from hwnas_jax.nets.models import SPACES


def smoke(config: ConfigDict) -> None:
  """Reduces a config to seconds on 2 cores: digits, few steps, no training.

  The parts of the method stay, except those that take minutes: predictors (they
  need measured networks) and sampled networks (they need training).
  """
  config.data.update(name="digits", pad=0, flip=False)
  config.derive.update(
    num_cells=0, channels=0, num_scales=2, num_samples=0, num_random=1
  )
  config.space.update(SPACES[config.space.name].smoke)
  part = config.search
  part.update(num_steps=12, batch_size=8, checkpoint_every=12)
  part.update(
    steps_per_dispatch=4,
    warmup_steps=4 * bool(part.warmup_steps),
    epoch_steps=4 * bool(part.epoch_steps),
    controller_epoch_steps=0,
  )
  config.latency.update(batch_size=8, repeats=3, calibration_networks=0)
  config.cost.predictor = ""
  config.train.update(num_steps=0, auxiliary_weight=0.0, drop_path=0.0)
  config.train.update(teacher=False, inherit=False)


def vary(config: ConfigDict, variant: str) -> ConfigDict:
  """The config as it is, or reduced by `smoke` for the variant "smoke".

  Raises:
    ValueError: the variant is another one.
  """
  if variant == "smoke":
    smoke(config)
  elif variant:
    raise ValueError(f"no variant {variant!r}; there is only smoke")
  return config


def darts_retraining(config: ConfigDict) -> None:
  """DARTS's second stage on CIFAR-10: 20 cells, C=36.

  See docs/methods.md#training-a-derived-network. The largest network that fits
  and a random one are trained beside the derived one, which takes as long each.
  """
  config.derive.update(rule="top_k", num_cells=20, channels=36, num_random=1)
  config.train.update(
    num_steps=312_000,  # 600 epochs
    batch_size=96,
    cutout=16,
    drop_path=0.2,
    auxiliary_weight=0.4,
  )
