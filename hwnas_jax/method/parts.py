"""`Parts`: the functions of a method, from which a step is compiled."""

from typing import NamedTuple, Protocol

import optax
from jax.sharding import Mesh

from hwnas_jax.core.types import Array
from hwnas_jax.data.augment import Augment
from hwnas_jax.method.conditioned import Fold, plain
from hwnas_jax.method.conditions import Conditions
from hwnas_jax.method.controllers import Controller
from hwnas_jax.method.penalty import Penalty, additive
from hwnas_jax.method.price import Price
from hwnas_jax.method.schedule import Schedule
from hwnas_jax.nets.supernet import Net


class Regulariser(Protocol):
  """A term of the controller's loss that does not depend on the batch."""

  def __call__(self, logits: Array, /) -> Array:
    """logits [E, O] -> []."""


class Parts(NamedTuple):
  """The functions of a method.

  identity: how much of its input each choice adds to its output, by the
    progress after the warm-up (docs/methods.md#identity-term); None is nothing.
  regulariser: added to the controller's loss.
  skip: the column of the operation whose mean probability is logged, as a sign
    of collapse; None where the space has no such operation.
  fold: gives the weights that `net` applies under a condition.
  """

  net: Net
  controller: Controller
  conditions: Conditions
  price: Price
  temperature: Schedule
  augment: Augment
  weights_optimiser: optax.GradientTransformation
  controller_optimiser: optax.GradientTransformation
  penalty: Penalty = additive()
  identity: Schedule | None = None
  regulariser: Regulariser | None = None
  skip: int | None = None
  fold: Fold = plain


class Settings(NamedTuple):
  """Numbers and switches of a step.

  num_steps: of the whole search.
  batch_size: examples a step, of the weights and of the controller each.
  warmup_steps: first steps, of the weights alone; meanwhile the temperature and
    the identity term stay at their start.
  price_sample: whether the cost reads the sample, not its expectation.
  conditions: how many a step draws.
  mesh: of the devices that several conditions are spread over; None is one.
  large: whether the step is compiled as a large program (`core.compile.jit`).
  """

  num_steps: int
  batch_size: int
  warmup_steps: int = 0
  price_sample: bool = False
  conditions: int = 1
  mesh: Mesh | None = None
  large: bool = False
