"""A family for CIFAR-10 in the space of FBNet, priced by measurement.

  python -m hwnas_jax.profile --config=mobile
  python -m hwnas_jax.main --config=mobile --workdir=runs/mobile
  python -m hwnas_jax.main --config=mobile:smoke --workdir=/tmp/s

The other chains are `--config.space.skeleton=lightnas_32` and `proxyless_32`;
the names without `_32` are for images of 224x224. The data set has to be
prepared first: `python -m hwnas_jax.data cifar10`. The config is meant for one
accelerator; it has not been run at full size yet.
"""

from ml_collections import ConfigDict

from hwnas_jax import config as base


def get_config(variant: str = "") -> ConfigDict:
  """Variants: "" and "smoke" (digits, under 60 s on 2 cores)."""
  config = base.default()
  config.data.update(name="cifar10", pad=4, flip=True)
  config.space.update(name="mobile", skeleton="fbnet_32")
  config.derive.update(rule="argmax", num_trained=3, num_random=3)
  config.search.update(num_steps=19_500, batch_size=64, bilevel=True)
  config.latency.update(batch_size=64, repeats=30, calibration_networks=20)
  config.train.update(
    num_steps=39_000,  # 200 epochs
    batch_size=256,
    lr=0.1,
    weight_decay=5e-4,
    cutout=16,
  )
  if variant == "smoke":
    config.data.update(name="digits", pad=0, flip=False)
    config.space.skeleton = "tiny"
    config.derive.update(num_scales=2, num_trained=1, num_random=1)
    config.search.update(
      num_steps=10, batch_size=16, checkpoint_every=10, bilevel=False
    )
    config.latency.update(batch_size=8, repeats=3, calibration_networks=0)
    config.train.update(num_steps=10, batch_size=16, checkpoint_every=10)
    config.train.cutout = 0  # its square is larger than an image
  elif variant:
    raise ValueError(f"no variant {variant!r}; there is smoke")
  return config
