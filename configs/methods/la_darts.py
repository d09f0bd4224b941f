"""LA-DARTS (Xu et al. 2020, arXiv 2001.06392; docs/methods.md#la-darts).

python -m hwnas_jax.main --config=methods/la_darts --workdir=runs/la
python -m hwnas_jax.main --config=methods/la_darts:smoke --workdir=/tmp/s

Exact: DARTS's space and its first-order bilevel search, plus a differentiable
latency that a multi-layer regressor predicts from the architecture, times a
constant.
Reconstructed, because only the abstract could be read: the regressor's layers
(128 and 64 units over a table), its 200 networks (published: 100,000), and the
constant. The regressor was trained on one-hot samples and reads only such. So
the sampler is Gumbel straight-through in place of DARTS's softmax, and every
edge keeps its most likely operation in place of the top two of a node.
The smoke run prices by the table: it measures no networks.
Result, on small networks for the digits (experiments/methods): 98.4 % at 1.35
ms with a constant of 0.3 and 98.4 % (standard deviation 1.0) at 0.87 ms with 3.
Random architectures within 1.72 ms have 98.0 %, within 1.08 ms 97.7 %.
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
  config.cost.predictor = "mlp"
  config.penalty.on = "sampled"
  config.sampler.update(name="straight_through", per_example=False)
  config.temperature.update(start=1.0, end=0.3)
  config.search.update(
    num_steps=19_500,
    bilevel=True,
    controller_lr=3e-4,
    controller_decay=1e-3,
  )
  config.latency.calibration_networks = 200
  presets.darts_retraining(config)
  config.derive.rule = "argmax"
  return presets.vary(config, variant)
