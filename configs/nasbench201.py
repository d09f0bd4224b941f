"""A family for CIFAR-10 in the space of NAS-Bench-201, priced by measurement.

python -m hwnas_jax.profile --config=nasbench201
python -m hwnas_jax.main --config=nasbench201 --workdir=runs/nb201
python -m hwnas_jax.main --config=nasbench201:smoke --workdir=/tmp/s

The data set has to be prepared first: `python -m hwnas_jax.data cifar10`.
Networks are trained by the benchmark's recipe (200 epochs, batch 256, rate 0.1,
decay 5e-4), but on all 50,000 images, with clipped gradients and without
Nesterov's momentum. The config is meant for one accelerator; it has not been
run at full size yet (experiments/gpu has its latency table on an H200).
"""

from ml_collections import ConfigDict

from hwnas_jax import config as base


def get_config(variant: str = "") -> ConfigDict:
  """Variants: "" and "smoke" (digits, under 60 s on 2 cores)."""
  config = base.default()
  config.data.update(name="cifar10", pad=4, flip=True)
  config.space.update(name="nasbench201", num_cells=5, channels=16)
  config.derive.update(rule="argmax", num_trained=3, num_random=3)
  config.search.update(num_steps=19_500, batch_size=64, bilevel=True)
  config.latency.update(batch_size=64, repeats=30, calibration_networks=20)
  config.train.update(
    num_steps=39_000, batch_size=256, lr=0.1, weight_decay=5e-4
  )
  if variant == "smoke":
    config.data.update(name="digits", pad=0, flip=False)
    config.space.update(num_cells=1, channels=4)
    config.derive.update(num_scales=2, num_trained=1, num_random=1)
    config.search.update(
      num_steps=10, batch_size=16, checkpoint_every=10, bilevel=False
    )
    config.latency.update(batch_size=8, repeats=3, calibration_networks=0)
    config.train.update(num_steps=10, batch_size=16, checkpoint_every=10)
  elif variant:
    raise ValueError(f"no variant {variant!r}; there is smoke")
  return config
