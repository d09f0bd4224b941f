"""DARTS-CC (Yakovlev et al., AIST 2021; docs/methods.md#darts-cc).

python -m hwnas_jax.main --config=methods/darts_cc --workdir=runs/cc
python -m hwnas_jax.main --config=methods/darts_cc:smoke --workdir=/tmp/s

The toy run on Fashion-MNIST. Exact: 3 cells of C=16, 8 operations, logits
piecewise linear in the log of the scale with 5 knots, one Gumbel-Softmax sample
an example, temperature 1 to 0.216, 50 epochs of batch 64, second order by
finite differences, expected parameters as the cost, argmax; 100 epochs of
retraining.
Changed: both evaluations of the difference have the same noise (independent
noise is 22 times the signal, docs/methods.md#common-noise); knots stay where
they start; the scale multiplies parameters as a fraction of the largest
architecture's, and its range equals the published 1e-8 to 1e-4 a parameter; the
controller's gradient is weighted by 1 / (1 + scale); the conditioned
classifier, which folds into an ordinary one, is trained with the weights; the
derived network's BN has scale and shift.
Result, on small networks for the digits (experiments/methods): 98.1 % at 1.42
ms for a budget of 1.72 and 98.1 % at 0.90 ms for 1.08, from one search. Random
architectures within these budgets have 98.0 % and 97.7 %.
"""

from ml_collections import ConfigDict

from hwnas_jax import config as base
from hwnas_jax.config import presets


def get_config(variant: str = "") -> ConfigDict:
  """Variants: "" and "smoke"."""
  config = base.default()
  config.data.update(name="fashion_mnist", pad=2)
  config.space.update(num_cells=3, channels=16)
  config.controller.update(name="piecewise", num_pivots=5, classifier=True)
  # 1e-8 to 1e-4 times the 235,200 parameters of the largest architecture.
  config.condition.update(name="scale", low=0.00235, high=23.5)
  config.cost.name = "params"
  config.temperature.update(start=1.0, end=0.216)
  config.search.update(
    num_steps=23_400,  # 50 epochs of 30,000 images
    bilevel=True,
    order="difference",
    controller_decay=1e-3,
    checkpoint_every=900,
  )
  config.derive.update(rule="argmax", num_scales=5)
  config.train.update(num_steps=62_500, batch_size=96, cutout=16, drop_path=0.2)
  return presets.vary(config, variant)
