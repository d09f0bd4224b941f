"""FBNet's search for ImageNet, at 224x224, from files.

  python -m hwnas_jax.main --config=imagenet --workdir=runs/imagenet
  python -m hwnas_jax.main --config=imagenet:gpu8 --workdir=runs/imagenet
  python -m hwnas_jax.main --config=imagenet:smoke --workdir=/tmp/s

The data are TFDS's imagenet2012, prepared as array_record, by TFDS_DATA_DIR;
folders (`--config.data.name=folder:PATH`) and ArrayRecord files
(`records:PATH`) do as well: docs/data.md. Images are random crops of at least 8
% of a photo, with changed colours, made on the host. The test images are the
centre 224 of 256 pixels.
Exact (Wu et al. 2019): the chain of 22 layers of 9 operations, 80 % of the
examples for the weights, temperature from 5, SGD of 0.1 with a cosine.
Changed: all 1000 classes and not 100 of them; the price cone's family in place
of one target; weights and controller step by step. The recipe that trains
networks is the library's; both compute in bfloat16. Not run at full size yet.
"""

from ml_collections import ConfigDict

from hwnas_jax import config as base

_IMAGES, _TO_WEIGHTS = 1_281_167, 0.8


def get_config(variant: str = "") -> ConfigDict:
  """Variants: "" (one GPU), "gpu8", "tpu" (eight chips) and "smoke"."""
  config = base.default()
  config.data.update(name="tfds:imagenet2012", resize="224x224", flip=True)
  config.data.update(crop_area=0.08, jitter=0.4, in_memory_gib=0.0)
  config.space.update(name="mobile", skeleton="fbnet")
  config.sampler.update(name="gumbel_softmax", per_example=False)
  config.temperature.update(name="exponential", start=5.0, end=0.137)
  config.derive.update(rule="argmax", num_trained=3, num_random=3)
  config.search.update(bilevel=True, weights_fraction=_TO_WEIGHTS)
  config.latency.update(batch_size=32, repeats=30, calibration_networks=20)
  config.train.update(label_smoothing=0.1, weight_decay=4e-5)
  config.precision = "bfloat16"
  _for_devices(config, 8 if variant in ("gpu8", "tpu") else 1)
  if variant == "tpu":
    config.data.workers = 64
  elif variant == "smoke":
    config.data.update(name="mock_imagenet", resize="32x32", workers=0)
    config.space.skeleton = "tiny"
    config.derive.update(num_scales=2, num_trained=1, num_random=1)
    steps = {"num_steps": 10, "checkpoint_every": 10, "batch_size": 16}
    config.search.update(warmup_steps=0, steps_per_dispatch=5, **steps)
    config.latency.update(batch_size=8, repeats=3, calibration_networks=0)
    config.train.update(steps_per_dispatch=5, **steps)
  elif variant not in ("", "gpu8"):
    raise ValueError(f"no variant {variant!r}; there are gpu8, tpu and smoke")
  return config


def _for_devices(config: ConfigDict, count: int) -> None:
  """Batches of 192 and 128 images a device, and steps for so many epochs.

  A dispatch has four steps: more would need more memory for images.
  """
  config.devices = count
  batch_size = 192 * count
  epoch = _whole(_IMAGES * _TO_WEIGHTS / batch_size)
  config.search.update(
    num_steps=90 * epoch,
    warmup_steps=10 * epoch,
    batch_size=batch_size,
    weights_lr=0.1 * count,
    weights_decay=4e-5,
    controller_lr=1e-2,
    controller_decay=5e-4,
    steps_per_dispatch=4,
    checkpoint_every=epoch,
  )
  batch_size = 128 * count
  epoch = _whole(_IMAGES / batch_size)
  config.train.update(
    num_steps=120 * epoch,
    batch_size=batch_size,
    lr=0.05 * count,
    steps_per_dispatch=4,
    checkpoint_every=epoch,
  )
  config.data.workers = 12 * count


def _whole(steps: float) -> int:
  """The nearest number of steps that is a number of whole dispatches."""
  return 4 * round(steps / 4)
