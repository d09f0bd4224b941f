"""SurgeNAS (Luo et al., IEEE TC 2023; docs/methods.md#surgenas).

python -m hwnas_jax.main --config=methods/surgenas --workdir=runs/s
python -m hwnas_jax.main --config=methods/surgenas:smoke --workdir=/tmp/s

Exact, as far as its abstract and the code of LightNAS say: one-level, ordered
sampling (every operation of every layer once a step, one path live), the
identity beside every layer decaying linearly to 0, a graph network that
predicts latency, on straight-through samples.
Reconstructed, because the paper could not be read: the space (FBNet's, on
CIFAR-10 in 32x32), the graph network's layers, its 200 networks, the identity's
start at 0.1, the constant of the latency, all schedules. The identity has no
weights where shapes change. Its Comfort Zone is `python -m hwnas_jax.scale`, on
the run that this config gives. The smoke run prices by the table: it measures
no networks.
Result, on small networks for the digits (experiments/methods): 98.1 % at 1.20
ms with a constant of 0.3; with 3 only skips and pools are left, 92.7 % at 0.56
ms. Random architectures within 1.72 ms have 98.0 %, within 1.08 ms 97.7 %.
"""

from ml_collections import ConfigDict

from hwnas_jax import config as base
from hwnas_jax.config import presets


def get_config(variant: str = "") -> ConfigDict:
  """Variants: "" and "smoke"."""
  config = base.default()
  config.data.update(name="cifar10", pad=4, flip=True)
  config.space.update(name="mobile", skeleton="fbnet_32")
  config.controller.name = "table"
  config.condition.update(name="fixed", high=1.0)
  config.cost.predictor = "graph"
  config.penalty.on = "sampled"
  config.sampler.update(name="ordered", per_example=False)
  config.temperature.update(start=1.0, end=1.0)
  config.regularise.identity = 0.1
  config.search.update(num_steps=19_500, weights_fraction=1.0, weights_lr=0.025)
  config.latency.calibration_networks = 200
  config.derive.rule = "argmax"
  config.train.update(num_steps=39_000, batch_size=256, lr=0.1)
  return presets.vary(config, variant)
