"""A family for CIFAR-10 in the full DARTS space, priced by the device's table.

  python -m hwnas_jax.profile --backend=gpu --config=cifar
  python -m hwnas_jax.main --config=cifar --workdir=runs/cifar
  python -m hwnas_jax.main --config=cifar:smoke --workdir=/tmp/s

The data set has to be prepared first: `python -m hwnas_jax.data cifar10`. The
config is meant for one accelerator; it has not been run at full size yet.
"""

from ml_collections import ConfigDict

from hwnas_jax import config as base


def get_config(variant: str = "") -> ConfigDict:
  """Variants: "" and "smoke" (mock data, under 60 s on 2 cores)."""
  config = base.default()
  config.data.update(name="cifar10", pad=4, flip=True)
  config.space.update(ops="eight", num_cells=8, channels=16)
  config.derive.update(rule="top_k", num_cells=20, channels=36)
  config.derive.update(num_trained=3, num_random=3)
  config.search.update(num_steps=19_500, batch_size=64, bilevel=True)
  config.latency.update(batch_size=64, repeats=30, calibration_networks=20)
  config.train.update(
    num_steps=52_000,  # 100 epochs
    batch_size=96,
    cutout=16,
    drop_path=0.2,
    auxiliary_weight=0.4,
  )
  if variant == "smoke":
    config.data.name = "mock_cifar10"
    config.space.update(ops="three", num_cells=1, num_nodes=2, channels=4)
    config.derive.update(num_cells=1, channels=4, num_scales=1, num_random=1)
    config.search.update(num_steps=10, batch_size=16, checkpoint_every=10)
    config.latency.update(batch_size=8, repeats=3, calibration_networks=0)
    config.train.update(num_steps=10, batch_size=16, checkpoint_every=10)
    config.train.auxiliary_weight = 0.0  # its head needs three cells
  elif variant:
    raise ValueError(f"no variant {variant!r}; there is smoke")
  return config
