"""LightNAS (Luo et al., DAC 2022; docs/methods.md#lightnas).

python -m hwnas_jax.main --config=methods/lightnas --workdir=runs/l
python -m hwnas_jax.main --config=methods/lightnas:smoke --workdir=/tmp/s

On CIFAR-10, in a 32x32 form of its space that is ours. Exact: 21 layers of 7
operations, 10 epochs of weights alone by ordered sampling, then 80 of weights
and of logits in turns; Gumbel straight-through on one path, temperature 5 times
e^-0.1 an epoch after the tenth; Adam 1e-3 with decay 1e-3; a regressor predicts
the latency of the one-hot sample; the multiplier follows the derived network's
gap to the target by gradient ascent, slowed near the target at the end.
Changed: the ascent is damped and faster (docs/methods.md#dual-ascent), and the
network is derived so that it takes its target; the regressor corrects a table
and has 200 networks; the logits' rate is not halved every 20 epochs, and is
slowed in the last fifth of the search, not the last ninth; labels are not
smoothed in the search, and nothing is dropped before the classifier; operations
that do not run give no gradient of a constant
(docs/methods.md#zero-valued-constants); the architecture set is half of the
training data, not the test data; retraining takes 200 epochs, not 360. The
smoke run prices by the table: it measures no networks.
Result, on small networks for the digits (experiments/methods): 97.5 % at 1.57
ms for a target of 1.72 and 97.2 % at 0.96 ms for 1.08. Random architectures
within these budgets have 98.0 % and 97.7 %.
"""

from ml_collections import ConfigDict

from hwnas_jax import config as base
from hwnas_jax.config import presets


def get_config(variant: str = "") -> ConfigDict:
  """Variants: "" and "smoke"."""
  config = base.default()
  config.data.update(name="cifar10", pad=4, flip=True)
  config.space.update(name="mobile", skeleton="lightnas_32")
  config.controller.name = "table"
  config.condition.name = "fixed"
  config.cost.predictor = "mlp"
  config.penalty.update(name="dual_ascent", on="sampled", target="50%")
  config.sampler.update(name="gdas", warmup="ordered", per_example=False)
  # 5 e^(-0.1 (epoch - 10)), of 90.
  config.temperature.update(name="exponential", start=5.0, end=1.68e-3)
  config.search.update(
    num_steps=32_980,  # 10 epochs of 194 steps, 80 of twice as many
    batch_size=128,
    warmup_steps=1_940,
    epoch_steps=194,
    bilevel=True,
    weights_lr=0.1,
    weights_decay=3e-5,
    controller_lr=1e-3,
    controller_decay=1e-3,
    steps_per_dispatch=2,
    checkpoint_every=1_940,
  )
  config.latency.calibration_networks = 200
  config.derive.rule = "argmax"
  config.train.update(
    num_steps=39_000, batch_size=256, lr=0.1, label_smoothing=0.1
  )
  return presets.vary(config, variant)
