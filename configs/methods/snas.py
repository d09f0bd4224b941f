"""SNAS (Xie, Zheng, Liu, Lin; ICLR 2019; docs/methods.md#snas).

python -m hwnas_jax.main --config=methods/snas --workdir=runs/snas
python -m hwnas_jax.main --config=methods/snas:smoke --workdir=/tmp/s

DARTS's space and network. Exact: one-level, a table of logits, one
Gumbel-Softmax sample a batch, temperature 1 to 0.33 in a straight line.
Changed: SNAS has three resource constraints; this is the expectation, priced by
the measured table with the constant 1. Schedules and retraining are DARTS's.
It is not among the nine methods that were compared.
"""

from ml_collections import ConfigDict

from hwnas_jax import config as base
from hwnas_jax.config import presets


def get_config(variant: str = "") -> ConfigDict:
  """Variants: "" and "smoke"."""
  config = base.default()
  config.data.update(name="cifar10", pad=4, flip=True)
  config.controller.name = "table"
  config.condition.update(name="fixed", high=1.0)
  config.sampler.update(name="gumbel_softmax", per_example=False)
  config.temperature.update(start=1.0, end=0.33)
  config.search.update(
    num_steps=39_000,  # 50 epochs of 50,000 images
    weights_fraction=1.0,
    controller_lr=3e-4,
    controller_decay=1e-3,
  )
  presets.darts_retraining(config)
  return presets.vary(config, variant)
