"""A search of the model in `net.py`, on the embedded digits.

python -m hwnas_jax.main --config=experiments/custom_space/config.py
python -m hwnas_jax.main --config=experiments/custom_space/config.py:smoke
"""

import pathlib

from ml_collections import ConfigDict

from hwnas_jax import config as base


def get_config(variant: str = "") -> ConfigDict:
  """Variants: "" and "smoke" (under 60 s on 2 cores)."""
  config = base.default()
  model = pathlib.Path(__file__).with_name("net.py")
  config.space.update(name="custom", model=f"{model}:Net")
  config.data.pad = 1
  config.derive.update(rule="argmax", num_scales=6, num_trained=3, num_random=3)
  config.controller.update(num_pivots=8, reference_std=1.0)
  config.condition.update(low=0.003, high=100.0)
  config.search.update(
    num_steps=1500,
    warmup_steps=300,
    weights_lr=0.05,
    controller_lr=0.01,
    steps_per_dispatch=1,  # XLA's CPU convolutions are slow inside a loop
  )
  config.latency.update(batch_size=64, repeats=50)
  config.train.update(
    num_steps=600, batch_size=64, lr=0.05, steps_per_dispatch=1
  )
  if variant == "smoke":
    config.derive.update(num_scales=2, num_trained=1, num_random=1)
    config.search.update(num_steps=20, warmup_steps=10, checkpoint_every=10)
    config.latency.repeats = 3
    config.train.update(num_steps=10, checkpoint_every=10)
    config.search.batch_size = config.train.batch_size = 16
  elif variant:
    raise ValueError(f"config.py has no variant {variant!r}; it has smoke")
  return config
