"""The simplex method (Firsov and Bakhteev 2025; docs/methods.md#simplex).

python -m hwnas_jax.main --config=methods/simplex --workdir=runs/m
python -m hwnas_jax.main --config=methods/simplex:smoke --workdir=/tmp/s

Experiment 1 on Fashion-MNIST: configs/fashion_mnist.py says what is exact, what
is changed and what came out. This config adds the published decay of 1e-3 and
the published classifier, which pivots generate. The classifier starts small
here (standard deviation 1 / sqrt(fan-in)) and is trained with the weights; it
folds into an ordinary one.
Result, on small networks for the digits (experiments/methods): 98.4 % at 1.35
ms for a budget of 1.72 and 97.7 % at 0.90 ms for 1.08, from one search over the
price cone. Random architectures within these budgets have 98.0 % and 97.7 %.
"""

import pathlib

from ml_collections import ConfigDict

from hwnas_jax import config as base
from hwnas_jax.config import presets

_EXPERIMENT_1 = pathlib.Path(__file__).parents[1] / "fashion_mnist.py"


def get_config(variant: str = "") -> ConfigDict:
  """Variants: "" and "smoke"."""
  config = base.load(f"{_EXPERIMENT_1}")
  config.controller.classifier = True
  config.search.controller_decay = 1e-3
  return presets.vary(config, variant)
