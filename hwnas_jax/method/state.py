"""The state of a search, and the other arguments of its steps."""

import dataclasses
from typing import NamedTuple

import jax
import optax

from hwnas_jax.core.types import Array, Params
from hwnas_jax.costs.predict import predictor as predictors
from hwnas_jax.costs.predict.predictor import Predictor
from hwnas_jax.data.arrays import Window
from hwnas_jax.method.surrogate import Surrogate


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SearchState:
  """The state of a search; from a checkpoint of it a search resumes exactly.

  penalty, estimator: scalars by name, such as the multiplier of dual ascent
    and the baseline of REINFORCE.
  step: int32[], finished steps.
  key: the run's typed key. It never changes: the randomness of a step is a
    function of (key, step).
  """

  weights: Params
  controller: Params
  weights_optimiser: optax.OptState
  controller_optimiser: optax.OptState
  penalty: dict[str, Array]
  estimator: dict[str, Array]
  step: Array
  key: Array


class SearchData(NamedTuple):
  """Arguments of the compiled step, on the device.

  images: uint8[N, H, W, C]. labels: int32[N].
  weights_index, controller_index: int32[.], the rows that each is trained on;
    a one-level search does not read the second.
  surrogate: takes the cross-entropy's place where the phase says so.
  windows: of streamed data: the examples of this dispatch, of weights and of
    controller, in place of all images; one that a phase does not read may be
    any.
  """

  images: Array
  labels: Array
  weights_index: Array
  controller_index: Array
  surrogate: Surrogate | None = None
  windows: tuple[Window, Window] | None = None


class CostTable(NamedTuple):
  """The reference prices, in the cost's unit (ms for latency, else counts).

  reference: float32[E, O], the price of each operation at each choice.
  base: [], the cost that every network has.
  predictor: replaces the sum of prices; it reads one-hot mixes.
  """

  reference: Array
  base: Array
  predictor: Predictor | None = None

  def cost(self, mix: Array) -> Array:
    """The cost [] of a mix [E, O], base included."""
    if self.predictor is not None:
      return predictors.cost(self.predictor, mix)
    return self.base + (self.reference * mix).sum()
