"""A family of networks for the embedded 8x8 digits, in minutes on 2 CPU cores.

python -m hwnas_jax.main --config=digits --workdir=runs/digits
python -m hwnas_jax.main --config=digits:smoke --workdir=/tmp/s

Three members of the family are trained, the fastest, the middle and the
slowest, and beside each the largest network that fits and a random one.

Means of three seeds on 2 cores (experiments/digits/run.py): a run takes 161 s;
the networks of eight scales take 0.32 to 0.68 ms for a batch of 32 (seed 0);
Spearman's correlation of scale and measured latency is -0.98. Test accuracy is
0.980 of the slowest network, 0.938 of the fastest, and that of the largest that
fit and of random ones of the same latencies within the noise; logistic
regression has 0.950.
"""

from ml_collections import ConfigDict

from hwnas_jax import config as base


def get_config(variant: str = "") -> ConfigDict:
  """Variants: "" and "smoke" (under 60 s on 2 cores)."""
  config = base.default()
  config.data.pad = 1
  config.space.update(ops="three", num_cells=3, channels=8)
  config.derive.update(rule="argmax", num_scales=8, num_trained=3, num_random=3)
  config.controller.update(num_pivots=8, reference_std=1.0)
  config.condition.update(low=0.003, high=100.0)
  config.search.update(
    num_steps=1500,
    warmup_steps=300,
    weights_lr=0.05,
    controller_lr=0.01,
    steps_per_dispatch=20,
    checkpoint_every=500,
  )
  config.latency.update(batch_size=32, repeats=50)
  config.train.update(
    num_steps=600, batch_size=64, lr=0.05, steps_per_dispatch=20
  )
  if variant == "smoke":
    config.space.update(num_nodes=2, channels=4)
    config.derive.update(num_scales=2, num_trained=1, num_random=1)
    config.search.update(num_steps=40, warmup_steps=0, checkpoint_every=20)
    config.latency.repeats = 3
    config.train.update(num_steps=20, checkpoint_every=20)
  elif variant:
    raise ValueError(f"digits.py has no variant {variant!r}; it has smoke")
  return config
