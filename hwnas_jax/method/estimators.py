"""Estimators: the gradients of E[loss(weights, mix)], mix ~ logits.

grads(loss, wrt, weights, logits, key, temperature, state) -> (gradients of
weights and of logits, metrics, state). What is not in `wrt` is not computed,
and is None. loss(weights, mix) -> (scalar, metrics).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from hwnas_jax.core.types import Array, Mix, Params, Paths
from hwnas_jax.method import discrete
from hwnas_jax.method.relaxed import Sampler

Metrics = dict[str, Array]
LossOfMix = Callable[[Params, Mix], tuple[Array, Metrics]]
State = dict[str, Array]
WEIGHTS, LOGITS = 0, 1
BOTH = (WEIGHTS, LOGITS)


class Grads(NamedTuple):
  """Of the weights, a pytree, and of the logits, [E, O]; None: not asked."""

  weights: Any
  logits: Any


class Estimator(NamedTuple):
  """Pure functions.

  init() -> state. project(key, old logits, new logits) -> logits: what has to
  hold after the optimiser's step, given the key of `grads`; None is nothing.
  """

  grads: Callable[..., tuple[Grads, Metrics, State]]
  init: Callable[[], State] = dict
  project: Callable[[Array, Array, Array], Array] | None = None


def _grads(found: tuple[Any, ...], wrt: tuple[int, ...]) -> Grads:
  by = dict(zip(wrt, found, strict=True))
  return Grads(by.get(WEIGHTS), by.get(LOGITS))


def reparameterised(sampler: Sampler, rows: int | None = None) -> Estimator:
  """The gradient through a sample (relaxed or straight-through).

  Args:
    sampler: of `samplers.relaxed`, or of `samplers.discrete` by `on_a_path`.
    rows: samples, one an example; None is one for the batch.
  """

  def grads(
    loss: LossOfMix,
    wrt: tuple[int, ...],
    weights: Params,
    logits: Array,
    key: Array,
    temperature: Array,
    state: State,
  ) -> tuple[Grads, Metrics, State]:
    def of(weights: Params, logits: Array) -> tuple[Array, Metrics]:
      return loss(weights, sampler(key, logits, temperature, rows))

    found, metrics = jax.grad(of, wrt, has_aux=True)(weights, logits)
    return _grads(found, wrt), metrics, state

  return Estimator(grads)


def on_a_path(sampler: discrete.DiscreteSampler) -> Estimator:
  """One path of a discrete sampler: what runs is what has gradients."""

  def grads(
    loss: LossOfMix, wrt: tuple[int, ...], *given: Any
  ) -> tuple[Grads, Metrics, State]:
    def drawn(
      key: Array, logits: Array, temperature: Array, rows: int | None
    ) -> Mix:
      del rows
      mix = sampler(key, logits, temperature)
      if LOGITS in wrt or mix.paths is None:
        return mix
      # The scored would run backward for a gradient that nobody asked for.
      return mix._replace(paths=Paths(mix.paths.active))

    return reparameterised(drawn).grads(loss, wrt, *given)

  return Estimator(grads)


def two_gates() -> Estimator:
  """ProxylessNAS's two-path gates; the other operations keep their shares."""

  def project(key: Array, old: Array, new: Array) -> Array:
    pair = discrete.drawn_pair(jax.random.split(key)[0], old)
    return discrete.keep_the_others(pair, old, new)

  return on_a_path(discrete.two_gates)._replace(project=project)


def ordered() -> Estimator:
  """SurgeNAS's ordered sampling: one step on all operations (research 7.1).

  The paths of `samplers.discrete.ordered` run one after another, each with a
  backward pass of its own; gradients add up, metrics are means.
  """

  def grads(
    loss: LossOfMix,
    wrt: tuple[int, ...],
    weights: Params,
    logits: Array,
    key: Array,
    temperature: Array,
    state: State,
  ) -> tuple[Grads, Metrics, State]:
    def draw(logits: Array) -> tuple[Array, Array]:
      mix = discrete.ordered(key, logits, temperature)
      assert mix.paths is not None
      return mix.weights, mix.paths.active

    rows, pull, active = jax.vjp(draw, logits, has_aux=True)

    def path(total: Params, given: tuple[Array, Array]) -> Any:
      row, own = given

      def of(weights: Params, row: Array) -> tuple[Array, Metrics]:
        return loss(weights, Mix(row, row, Paths(own)))

      found, metrics = jax.grad(of, wrt, has_aux=True)(weights, row)
      one = _grads(found, wrt)
      total = jax.tree.map(jnp.add, total, one.weights)
      return total, (one.logits, metrics)

    start = jax.tree.map(jnp.zeros_like, weights) if WEIGHTS in wrt else None
    total, (of_rows, metrics) = lax.scan(path, start, (rows, active))
    of_logits = pull(of_rows)[0] if LOGITS in wrt else None
    means = jax.tree.map(lambda m: m.mean(0), metrics)
    return Grads(total, of_logits), means, state

  return Estimator(grads)


BASELINE_RATE = 0.99  # ProxylessNAS's: nearly this step's mean (research 5.3)


def reinforce(num_samples: int) -> Estimator:
  """Score-function gradient of `num_samples` paths (research 5.3).

  d_logits = mean (loss - baseline) (one-hot - softmax(logits)), the loss being
  that of the step, cost of the sampled architecture included; ProxylessNAS's
  reward is accuracy * (T / L)^0.1. The weights' is the mean over the paths.

  The baseline follows the mean before it is taken off, as published. So a
  path's loss is in its own baseline, by 0.99 / n of n samples, and the
  expectation is the true gradient times 1 - 0.99 / n (1 - 1 / n at the first
  step, which starts from the mean): the direction is right. Of one sample
  hardly anything is left, and the first step has none.
  """

  def init() -> State:
    return {"baseline": jnp.zeros(()), "updates": jnp.zeros(())}

  def grads(
    loss: LossOfMix,
    wrt: tuple[int, ...],
    weights: Params,
    logits: Array,
    key: Array,
    temperature: Array,
    state: State,
  ) -> tuple[Grads, Metrics, State]:
    del temperature
    shape = num_samples, logits.shape[0]
    drawn = jax.random.categorical(key, logits, shape=shape)

    def path(total: Params, ops: Array) -> Any:
      row = jax.nn.one_hot(ops, logits.shape[1], dtype=logits.dtype)
      mix = Mix(row, row, Paths(ops[:, None]))
      if WEIGHTS not in wrt:
        return total, loss(weights, mix)
      found = jax.value_and_grad(loss, has_aux=True)(weights, mix)
      (value, metrics), grad = found
      return jax.tree.map(jnp.add, total, grad), (value, metrics)

    start = jax.tree.map(jnp.zeros_like, weights) if WEIGHTS in wrt else None
    total, (losses, metrics) = lax.scan(path, start, drawn)
    total = jax.tree.map(lambda g: g / num_samples, total)
    mean = losses.mean()
    means = jax.tree.map(lambda m: m.mean(0), metrics)
    if LOGITS not in wrt:
      return Grads(total, None), means, state
    baseline = jnp.where(state["updates"] > 0, state["baseline"], mean)
    chosen = jax.nn.one_hot(drawn, logits.shape[1])
    score = chosen - jax.nn.softmax(logits)[None]
    baseline = baseline + BASELINE_RATE * (mean - baseline)
    advantage = (losses - baseline)[:, None, None]
    state = {"baseline": baseline, "updates": state["updates"] + 1}
    return Grads(total, (advantage * score).mean(0)), means, state

  return Estimator(grads, init)


# Estimators of one path, by the name of their sampler.
ON_A_PATH: dict[str, Estimator] = {
  **{name: on_a_path(sampler) for name, sampler in discrete.DISCRETE.items()},
  "two_gates": two_gates(),
  "ordered": ordered(),
}
