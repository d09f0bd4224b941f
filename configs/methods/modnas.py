"""MODNAS (Sukthanker et al., ICLR 2025; docs/methods.md#modnas).

python -m hwnas_jax.main --config=methods/modnas --workdir=runs/m
python -m hwnas_jax.main --config=methods/modnas:smoke --workdir=/tmp/s

Exact: NAS-Bench-201's space, a mixture of pseudo-devices' tables conditioned
on preference and device, ReinMax at temperature 1 on one path, the controller's
unit gradients of all devices combined at the point of least norm in their hull,
then the weights; batch 256, 100 epochs on halves of CIFAR-10; 50 experts.
Changed: devices are prices on the simplex, drawn once, and the first is the
device of the run (published: 13 measured devices); a preference is a scale; an
expert's rows along the scale are interpolated, 11 in place of 101; latency is
the table's in place of a predictor's, of the sample as published; cross-entropy
and latency are not rescaled to [0, 1], and latency counts below a constraint
too; the weights see one device a step, not all, at a rate of 0.025 in place of
0.325; nothing is pretrained, and operations share no kernel; the cosine term,
which had no gradient, is left out. The smoke run's space is a cell of DARTS,
which compiles in half the time.
Result, on small networks for the digits (experiments/methods): 98.5 % at 1.52
ms for a budget of 1.72 and 97.2 % at 0.86 ms for 1.08, from one search. Random
architectures within these budgets have 98.0 % and 97.7 %.
"""

from ml_collections import ConfigDict

from hwnas_jax import config as base
from hwnas_jax.config import presets


def get_config(variant: str = "") -> ConfigDict:
  """Variants: "" and "smoke"."""
  config = base.default()
  config.data.update(name="cifar10", pad=4, flip=True)
  config.space.update(name="nasbench201", num_cells=5, channels=16)
  config.controller.update(name="mixture", num_experts=50)
  config.condition.update(name="devices", num_devices=13)
  config.sampler.update(name="reinmax", per_example=False)
  config.penalty.on = "sampled"
  config.temperature.update(start=1.0, end=1.0)
  config.search.update(
    num_steps=9_700,  # 100 epochs of 97 steps
    batch_size=256,
    bilevel=True,
    weights_decay=2.7e-3,
    controller_lr=4e-3,
    controller_decay=0.09,
    checkpoint_every=970,
  )
  config.derive.update(rule="argmax", num_scales=24)
  config.train.update(
    num_steps=39_000, batch_size=256, lr=0.1, weight_decay=5e-4
  )
  presets.vary(config, variant)
  if variant:
    config.condition.num_devices = 2
    config.space.update(name="darts", ops="three", num_nodes=2)
  return config
