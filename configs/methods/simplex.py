r"""The simplex hypernetwork method (Firsov and Bakhteev 2025; research 3).

python -m hwnas_jax.main --config=configs/methods/simplex.py --workdir=runs/m
python -m hwnas_jax.main --config=configs/methods/simplex.py:smoke \
    --workdir=/tmp/s

Experiment 1 on Fashion-MNIST: what is exact, what is changed and what came of
it stands in configs/fashion_mnist.py, which this is.
"""

import pathlib

from ml_collections import ConfigDict

from hwnas_jax import config as base
from hwnas_jax import presets

_EXPERIMENT_1 = pathlib.Path(__file__).parents[1] / "fashion_mnist.py"


def get_config(variant: str = "") -> ConfigDict:
  """Variants: "" and "smoke"."""
  config = base.load(f"{_EXPERIMENT_1}")
  return presets.vary(config, variant)
