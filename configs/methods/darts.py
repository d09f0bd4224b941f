"""DARTS (Liu, Simonyan, Yang; ICLR 2019; docs/methods.md#darts).

python -m hwnas_jax.main --config=methods/darts --workdir=runs/m
python -m hwnas_jax.main --config=methods/darts:smoke --workdir=/tmp/s

Exact: 8 operations, 8 cells of C=16, a table of logits, softmax, bilevel, 50
epochs on halves of CIFAR-10, batch 64, SGD 0.025 to 0.001, Adam 3e-4 with b1
0.5 and decay 1e-3; top-2 of 20 cells of C=36, trained for 600 epochs. Second
order by finite differences; `--config.search.order=first` is the first-order
method.
Changed: both evaluations of the difference have the same noise (only the crops
are random here); the look-ahead's gradient is clipped as the weights' is; one
random architecture is trained beside the derived one; operations carry a
latency that nothing reads.
Result, on small networks for the digits (experiments/methods): 98.0 %
(standard deviation 0.7) at 2.30 ms, without a budget. Random architectures
within 1.72 ms have 98.0 %, within 1.08 ms 97.7 %.
"""

from ml_collections import ConfigDict

from hwnas_jax import config as base
from hwnas_jax.config import presets


def get_config(variant: str = "") -> ConfigDict:
  """Variants: "" and "smoke"."""
  config = base.default()
  config.data.update(name="cifar10", pad=4, flip=True)
  config.controller.name = "table"
  config.condition.name = "fixed"
  config.penalty.name = "none"
  config.sampler.update(name="softmax", per_example=False)
  config.temperature.update(start=1.0, end=1.0)
  config.search.update(
    num_steps=19_500,
    bilevel=True,
    order="difference",
    controller_lr=3e-4,
    controller_decay=1e-3,
  )
  presets.darts_retraining(config)
  return presets.vary(config, variant)
