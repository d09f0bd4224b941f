"""Every field of a config with its type, default and unit.

`Config` is frozen and typed: what everything below `config` reads. People
write a `ConfigDict` of the same fields: see `hwnas_jax.config.files`.
"""

import msgspec

Value = str | int | float | bool


# Not io.records.Record: a command's --help should not wait for JAX.
class _Part(
  msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True
):
  """Fields that cannot be changed; an unknown one is an error."""


class Data(_Part, frozen=True, kw_only=True):
  """What the networks learn from."""

  name: str = "digits"  # see `hwnas_jax.data.load`
  data_dir: str = ""  # of TFDS; "" is TFDS's own default
  pad: int = 0  # pixels of the random crop
  flip: bool = False  # mirrors images at random


class Derive(_Part, frozen=True, kw_only=True):
  """From the search's logits to networks.

  A derived network may be deeper and wider than the supernet. Its shapes are
  the ones that are measured and priced.
  """

  rule: str = "top_k"  # see `hwnas_jax.spaces.rules`
  num_cells: int = 0  # 0: as space.num_cells
  channels: int = 0  # 0: as space.channels
  num_scales: int = 8  # members at the uniform simplex, cone only
  # Architectures sampled from the logits in place of the rule, and trained on
  # 90 % of the training split; the best on the rest is kept (FBNet).
  num_samples: int = 0
  num_random: int = 4  # random architectures trained beside the family
  max_skips: int = 0  # skip connections in a derived network; 0: no limit
  # name -> prices, one for each priced operation (cost.name=paper)
  vectors: dict[str, list[float]] = {}


class Controller(_Part, frozen=True, kw_only=True):
  """What maps a condition to logits."""

  name: str = "pivots"  # see `hwnas_jax.method.controllers`
  num_pivots: int = 5  # of each group of choices; knots of piecewise
  num_experts: int = 10  # of mixture
  sign: int = -1  # of the pivots' distances
  reference_std: float = 1e-3  # of the pivots' logits at initialisation
  train_pivots: bool = False
  classifier: bool = False  # also generates the supernet's classifier


class Condition(_Part, frozen=True, kw_only=True):
  """What the search draws each step: prices on the simplex, and a scale."""

  name: str = "cone"  # see `hwnas_jax.method.conditions`
  low: float = 0.001  # smallest scale
  high: float = 10.0  # largest scale, and the only one of fixed
  num_devices: int = 4  # of devices: drawn prices, the first this device's


class Cost(_Part, frozen=True, kw_only=True):
  """What the search pays for."""

  name: str = "latency"
  kappa: float = 50.0  # cost.name=paper only
  # Predicts the sampled network in place of the table: `mlp` or `graph`,
  # trained on latency.calibration_networks, or the path of a predictor that
  # `profile --predictor` wrote for latency.table.
  predictor: str = ""


class Penalty(_Part, frozen=True, kw_only=True):
  """How the cost enters the loss."""

  name: str = "additive"  # see `hwnas_jax.method.penalty`
  on: str = "expected"  # expected or sampled: which mix is priced
  target: str = ""  # 5ms, or 0.4x or 60% of the largest architecture's
  strength: float = 0.0  # 0: the penalty's own default


class Sampler(_Part, frozen=True, kw_only=True):
  """How an architecture is sampled from the logits."""

  name: str = "gumbel_softmax"  # see `hwnas_jax.method.samplers`
  per_example: bool = True  # one sample an example; a path has one a batch
  num_samples: int = 10  # paths a step of reinforce
  warmup: str = ""  # sampler of the warm-up steps; "": the same


class Regularise(_Part, frozen=True, kw_only=True):
  """What is added to the search beside its loss and cost."""

  # Each choice adds this share of its input (SurgeNAS); fades to 0.
  identity: float = 0.0
  entropy: float = 0.0  # weight of the logits' entropy in the loss


class Temperature(_Part, frozen=True, kw_only=True):
  """Of the relaxed samples, over the search."""

  name: str = "linear"
  start: float = 1.0
  end: float = 0.2


class Search(_Part, frozen=True, kw_only=True):
  """The search's steps and optimisers."""

  num_steps: int = 1000
  warmup_steps: int = 0  # of the weights alone, before the controller moves
  batch_size: int = 64
  # Weights and controller each have their own examples, the controller first.
  bilevel: bool = False
  order: str = "first"  # of its gradient: exact and difference look ahead
  every: int = 1  # weight steps for each step of the controller
  epoch_steps: int = 0  # the two take turns of so many steps; 0: every step
  controller_epoch_steps: int = 0  # of the controller's turns; 0: as many
  same_key: bool = False  # both sides draw the same sample
  weights_fraction: float = 0.5  # of the training split; rest: controller
  weights_lr: float = 0.025
  weights_lr_end: float = 0.001
  weights_momentum: float = 0.9
  weights_decay: float = 3e-4
  weights_clip: float = 5.0
  controller_lr: float = 1e-3
  controller_b1: float = 0.5
  controller_decay: float = 0.0  # of its parameters, added to the gradient
  steps_per_dispatch: int = 10  # steps of one compiled call
  checkpoint_every: int = 500  # steps


class Latency(_Part, frozen=True, kw_only=True):
  """How the device is measured."""

  table: str = ""  # path; "" measures first, into the run folder
  batch_size: int = 64  # images a call
  repeats: int = 20  # samples of each operation and network
  # Whole networks measured to calibrate the table; 0: not calibrated.
  calibration_networks: int = 0


class Train(_Part, frozen=True, kw_only=True):
  """The recipe that trains each derived network."""

  num_steps: int = 1000  # 0 leaves the family untrained
  batch_size: int = 96
  lr: float = 0.025
  momentum: float = 0.9
  weight_decay: float = 3e-4
  clip: float = 5.0
  cutout: int = 0  # pixels
  drop_path: float = 0.0
  auxiliary_weight: float = 0.0
  label_smoothing: float = 0.0
  num_seeds: int = 1
  steps_per_dispatch: int = 10  # steps of one compiled call
  checkpoint_every: int = 1000  # steps


class Config(_Part, frozen=True, kw_only=True):
  """A whole config; `space` has `name` and the fields of every space.

  Which fields a space has is said by its `nets.models.SpaceKind`.
  """

  seed: int = 0
  tensorboard: bool = False  # also writes TensorBoard events of the search
  space: dict[str, Value] = {}
  data: Data = Data()
  # Not shared: its vectors are a dict.
  derive: Derive = msgspec.field(default_factory=Derive)
  controller: Controller = Controller()
  condition: Condition = Condition()
  cost: Cost = Cost()
  penalty: Penalty = Penalty()
  sampler: Sampler = Sampler()
  regularise: Regularise = Regularise()
  temperature: Temperature = Temperature()
  search: Search = Search()
  latency: Latency = Latency()
  train: Train = Train()
