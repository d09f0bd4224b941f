"""Estimators: gradients of E[loss(weights, mix)], the mix drawn from logits.

A sampler draws a mix; an estimator differentiates the loss of it. The
estimators that run sampled paths are in `path_estimators`, the registry is
`samplers.SAMPLERS`, the equations are in docs/methods.md#samplers.
"""

from typing import Any, NamedTuple, Protocol

import jax

from hwnas_jax.core.types import Array, Mix, Params

Metrics = dict[str, Array]  # scalars by name
State = dict[str, Array]  # scalars by name, kept from step to step

# Positions in Variables and Grads, as `wrt` names them.
WEIGHTS, LOGITS = 0, 1
BOTH = (WEIGHTS, LOGITS)


class Variables(NamedTuple):
  """The two variables that a loss is differentiated by.

  weights: a pytree. logits: [E, O].
  """

  weights: Params
  logits: Array


class Grads(NamedTuple):
  """Gradients in the shapes of the Variables; None for one not in `wrt`."""

  weights: Any
  logits: Any


class Sampling(NamedTuple):
  """How a step's mix is drawn.

  key: a typed key, used once. temperature: [], above 0.
  """

  key: Array
  temperature: Array


class LossOfMix(Protocol):
  """The loss of a mix on a batch that is already chosen."""

  def __call__(self, weights: Params, mix: Mix, /) -> tuple[Array, Metrics]:
    """(weights, mix) -> (loss [], what there is to log)."""


class Draw(Protocol):
  """A sampler's draw."""

  def __call__(
    self, key: Array, logits: Array, temperature: Array, rows: int | None, /
  ) -> Mix:
    """Draws a mix from logits.

    Args:
      key: a typed key.
      logits: [E, O].
      temperature: [], above 0.
      rows: the number of mixes, one for each example: weights are [rows, E, O].
        None is one mix for the whole batch: weights are [E, O]. A sampler of
        paths always gets None.
    """


class MixGradients(Protocol):
  """Gradients of the expected loss, estimated from samples."""

  def __call__(
    self,
    loss: LossOfMix,
    wrt: tuple[int, ...],
    variables: Variables,
    sampling: Sampling,
    state: State,
    /,
  ) -> tuple[Grads, Metrics, State]:
    """(gradients by the variables in `wrt`, metrics of the loss, next state).

    Args:
      loss: of a mix.
      wrt: (WEIGHTS,), (LOGITS,) or BOTH; the others are not computed.
      variables: where the gradients are taken.
      sampling: key and temperature of the draw.
      state: what `init` gave, or the last call.
    """


class BatchGradients(Protocol):
  """Gradients on one batch; every call draws the same sample."""

  def __call__(
    self, wrt: tuple[int, ...], variables: Variables, /
  ) -> tuple[Grads, Metrics, State]:
    """(wrt, variables) -> as MixGradients."""


class InitState(Protocol):
  """The state before the first step."""

  def __call__(self) -> State:
    """Scalars by name; {} where nothing is kept."""


class Project(Protocol):
  """Changes the logits after the optimiser's step."""

  def __call__(self, key: Array, old: Array, new: Array, /) -> Array:
    """(the key of `grads`, logits [E, O] before, after) -> logits [E, O]."""


class Estimator(NamedTuple):
  """An estimator as pure functions.

  grads: the gradients of the expected loss.
  init: the estimator's state before the first step.
  project: changes the logits after the optimiser's step; None changes nothing.
  """

  grads: MixGradients
  init: InitState = dict
  project: Project | None = None


def as_grads(gradients: tuple[Any, ...], wrt: tuple[int, ...]) -> Grads:
  """What `jax.grad(loss, wrt)` gave, as Grads."""
  by_position = dict(zip(wrt, gradients, strict=True))
  return Grads(by_position.get(WEIGHTS), by_position.get(LOGITS))


def reparameterised(draw: Draw, rows: int | None = None) -> Estimator:
  """The gradient through a sample, relaxed or straight-through.

  Args:
    draw: differentiable by the logits.
    rows: samples, one an example; None is one for the whole batch.
  """

  def grads(
    loss: LossOfMix,
    wrt: tuple[int, ...],
    variables: Variables,
    sampling: Sampling,
    state: State,
  ) -> tuple[Grads, Metrics, State]:
    def loss_of_sample(weights: Params, logits: Array) -> tuple[Array, Metrics]:
      return loss(
        weights, draw(sampling.key, logits, sampling.temperature, rows)
      )

    gradients, metrics = jax.grad(loss_of_sample, wrt, has_aux=True)(*variables)
    return as_grads(gradients, wrt), metrics, state

  return Estimator(grads)
