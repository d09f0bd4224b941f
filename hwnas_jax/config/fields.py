"""Every field of a config with its type, default and unit.

`Config` is frozen and typed; the rest of the package reads it. A config file
makes a `ConfigDict` of the same fields, which `config.files.typed` converts.
"""

from typing import Any

import msgspec

Value = str | int | float | bool


# Not io.records.Record: a command's --help should not wait for JAX.
class _Part(
  msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True
):
  """Fields that cannot be changed; an unknown one is an error."""


class Data(_Part, frozen=True, kw_only=True):
  """The data set and its augmentation."""

  name: str = "digits"  # digits, cifar10, ...: see `hwnas_jax.data.load`
  data_dir: str = ""  # folder of prepared TFDS data; "": TFDS's default
  # HxW: converts images of folder:, records: and tfds: to this size and to
  # 8-bit greyscale or RGB; "": they have to be alike.
  resize: str = ""
  pad: int = 0  # pixels added at each side, then cropped away at random
  flip: bool = False  # mirrors images left to right at random
  # GiB, decoded, up to which images of folder:, records: and tfds: are kept on
  # the device; larger data are streamed from files (docs/data.md).
  in_memory_gib: float = 4.0
  workers: int = 2  # processes that read streamed data; 0: the main one reads
  # Smallest share of an image that a random crop covers, which is then resized;
  # 1: no crop. Of streamed data alone, as jitter.
  crop_area: float = 1.0
  jitter: float = 0.0  # largest change of brightness, contrast and saturation


class Derive(_Part, frozen=True, kw_only=True):
  """How networks are derived from the logits, and which.

  A derived network may be deeper and wider than the supernet. Its shapes are
  the ones that are measured and priced.
  """

  rule: str = "top_k"  # logits to architecture: `hwnas_jax.spaces.rules`
  num_cells: int = 0  # cells of a derived network; 0: space.num_cells
  channels: int = 0  # channels of a derived network; 0: space.channels
  num_scales: int = 8  # scales at which members are derived, uniform prices
  # Architectures drawn from the logits instead of derived by the rule, and
  # trained on 90 % of the training split; the one of best accuracy on the rest
  # is kept (FBNet). 0: the rule.
  num_samples: int = 0
  # Different members that are trained, evenly spread from the fastest to the
  # slowest; 0: all. The others are measured.
  num_trained: int = 0
  # Random architectures beside the trained members, each of its member's cost.
  num_random: int = 4
  # Also the space's reference architecture beside each trained member, scaled
  # in width to its latency.
  references: bool = False
  max_skips: int = 0  # most skip connections in a derived network; 0: any
  # {member's name: prices, one for each priced operation}; cost.name=paper.
  vectors: dict[str, list[float]] = {}


class Controller(_Part, frozen=True, kw_only=True):
  """The controller: what maps a condition to logits."""

  name: str = "pivots"  # see `hwnas_jax.method.controllers`
  num_pivots: int = 5  # for each group of choices; `piecewise`: knots
  num_experts: int = 10  # `mixture` only
  sign: int = -1  # of the distance to a pivot; -1: near pivots count
  reference_std: float = 1e-3  # standard deviation of the first pivot logits
  train_pivots: bool = False  # False: pivots stay where they start
  classifier: bool = False  # also generates the supernet's classifier


class Condition(_Part, frozen=True, kw_only=True):
  """The condition drawn at each step: prices on the simplex, and a scale."""

  name: str = "cone"  # see `hwnas_jax.method.conditions`
  low: float = 0.001  # smallest scale
  high: float = 10.0  # largest scale; the only scale of `fixed`
  num_devices: int = 4  # `devices` only: points drawn once, the first uniform


class Cost(_Part, frozen=True, kw_only=True):
  """The cost of a mix."""

  name: str = "latency"  # latency, params, macs, or paper (the simplex paper)
  kappa: float = 50.0  # factor of the prices; `paper` only
  # "": the latency table. `mlp` or `graph`: a predictor of the sampled network,
  # trained on latency.calibration_networks. Or the path of a predictor that
  # `profile --predictor` wrote for latency.table.
  predictor: str = ""


class Penalty(_Part, frozen=True, kw_only=True):
  """The penalty: how the cost enters the loss."""

  name: str = "additive"  # see `hwnas_jax.method.penalty`
  on: str = "expected"  # the mix that is priced: expected or sampled
  target: str = ""  # latency: 5ms, or 0.4x or 60% of the largest architecture's
  strength: float = 0.0  # factor or exponent; 0: the penalty's default


class Quality(_Part, frozen=True, kw_only=True):
  """What says how good an architecture is, beside its cost."""

  # supernet: the cross-entropy with shared weights. surrogate: a fit to
  # judgements of random architectures (docs/methods.md#surrogate). The warm-up
  # trains a supernet first; without one there are no shared weights.
  name: str = "supernet"
  architectures: int = 600  # judged; `surrogate` only


class Sampler(_Part, frozen=True, kw_only=True):
  """The sampler: how a mix is drawn from the logits."""

  name: str = "gumbel_softmax"  # see `hwnas_jax.method.samplers`
  per_example: bool = True  # a sample for each example; False: one a batch
  num_samples: int = 10  # sampled paths a step; `reinforce` only
  warmup: str = ""  # sampler of the warm-up steps; "": sampler.name


class Regularise(_Part, frozen=True, kw_only=True):
  """Regularisation of the search."""

  # Each choice adds this share of its input to its output; it falls to 0
  # (SurgeNAS).
  identity: float = 0.0
  # Weight of the logits' entropy in the controller's loss; below 0 undecided
  # logits are rewarded.
  entropy: float = 0.0


class Temperature(_Part, frozen=True, kw_only=True):
  """The sampler's temperature over the search."""

  name: str = "linear"  # linear or exponential
  start: float = 1.0  # during the warm-up and at its end
  end: float = 0.2  # at the last step


class Search(_Part, frozen=True, kw_only=True):
  """Steps and optimisers of the search.

  The weights' optimiser is SGD with a cosine, the controller's is Adam.
  """

  num_steps: int = 1000
  warmup_steps: int = 0  # first steps, of the weights alone
  batch_size: int = 64
  conditions_per_step: int = 1  # drawn at a step, each for a part of the batch
  # False: one gradient for both. True: the controller steps on its own
  # examples, then the weights on theirs.
  bilevel: bool = False
  order: str = "first"  # of the controller's gradient: first, exact, difference
  every: int = 1  # weight steps for each step of the controller
  epoch_steps: int = 0  # steps of a turn, if the two alternate; 0: they do not
  controller_epoch_steps: int = 0  # of the controller's turn; 0: epoch_steps
  same_key: bool = False  # weights and controller draw the same sample
  weights_fraction: float = 0.5  # of the training split; rest: controller
  weights_lr: float = 0.025  # at the start
  weights_lr_end: float = 0.001  # at the last step
  weights_momentum: float = 0.9
  weights_decay: float = 3e-4  # times the weights, added to the gradient
  weights_clip: float = 5.0  # largest norm of the gradient
  controller_lr: float = 1e-3
  controller_b1: float = 0.5  # of Adam
  controller_decay: float = 0.0  # times its parameters, added to the gradient
  steps_per_dispatch: int = 10  # steps in one compiled call
  checkpoint_every: int = 500  # steps


class Latency(_Part, frozen=True, kw_only=True):
  """The latency table and how it is measured."""

  table: str = ""  # path of a table; "": the run measures one
  batch_size: int = 64  # images a call
  repeats: int = 20  # samples of each operation and network
  # Whole networks measured to calibrate a table that the run measures, 0 or at
  # least 3; 0: it is not calibrated.
  calibration_networks: int = 0


class Train(_Part, frozen=True, kw_only=True):
  """The recipe that trains each derived network: SGD with a cosine to 0."""

  num_steps: int = 1000  # 0: networks are not trained
  batch_size: int = 96
  parts: int = 1  # of a batch, one after another; their gradients are averaged
  lr: float = 0.025  # at the start
  momentum: float = 0.9
  weight_decay: float = 3e-4  # times the weights, added to the gradient
  clip: float = 5.0  # largest norm of the gradient
  cutout: int = 0  # side of the blanked square in pixels; 0: none
  drop_path: float = 0.0  # probability at the last step; grows from 0
  auxiliary_weight: float = 0.0  # of the auxiliary head's loss; 0: no head
  label_smoothing: float = 0.0
  # The member of most multiply-accumulates is trained first and teaches every
  # other network: their loss also has the distance to its softened outputs.
  teacher: bool = False
  teacher_weight: float = 1.0  # of that distance, beside the cross-entropy
  teacher_temperature: float = 4.0  # that softens outputs; 1: as they are
  inherit: bool = False  # start from the supernet's weights, not random ones
  num_seeds: int = 1  # trainings of each network; accuracy is their mean
  # Networks are trained at the same time, on one of `devices` each, in place of
  # one after another with each batch split over all of them.
  side_by_side: bool = False
  steps_per_dispatch: int = 10  # steps in one compiled call
  checkpoint_every: int = 1000  # steps


class Config(_Part, frozen=True, kw_only=True):
  """A whole config.

  space: `name` and the fields of all spaces; `SpaceKind.fields` of
    `nets.models.SPACES[name]` are those that this space reads.
  """

  seed: int = 0
  # What networks compute in, as they are searched, trained and measured:
  # float32, or bfloat16 with parameters and statistics in float32.
  precision: str = "float32"
  devices: int = 1  # that each batch of a search or training is split over
  tensorboard: bool = False  # also writes TensorBoard events of the search
  space: dict[str, Value] = {}
  data: Data = Data()
  # A factory, because its default has a dict, which must not be shared.
  derive: Derive = msgspec.field(default_factory=Derive)
  controller: Controller = Controller()
  condition: Condition = Condition()
  cost: Cost = Cost()
  penalty: Penalty = Penalty()
  quality: Quality = Quality()
  sampler: Sampler = Sampler()
  regularise: Regularise = Regularise()
  temperature: Temperature = Temperature()
  search: Search = Search()
  latency: Latency = Latency()
  train: Train = Train()


def value(config: Config, path: str) -> Any:
  """The value of a field by its path, such as `seed` or `search.num_steps`."""
  part, _, field = path.partition(".")
  whole = getattr(config, part)
  if not field:
    return whole
  return whole[field] if part == "space" else getattr(whole, field)
