"""Estimators of sampled paths: one operation of each choice runs at a time."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from hwnas_jax.core.types import Array, Mix, Params, Paths
from hwnas_jax.method import discrete
from hwnas_jax.method.estimators import (
  LOGITS,
  WEIGHTS,
  Draw,
  Estimator,
  Grads,
  LossOfMix,
  Metrics,
  Sampling,
  State,
  Variables,
  as_grads,
  reparameterised,
)


def on_a_path(draw: Draw) -> Estimator:
  """One path for the whole batch; only operations that run get gradients.

  Args:
    draw: gives a mix with paths, such as those of `discrete`.
  """

  def grads(
    loss: LossOfMix,
    wrt: tuple[int, ...],
    variables: Variables,
    sampling: Sampling,
    state: State,
  ) -> tuple[Grads, Metrics, State]:
    def draw_path(
      key: Array, logits: Array, temperature: Array, rows: int | None
    ) -> Mix:
      mix = draw(key, logits, temperature, rows)
      if LOGITS in wrt or mix.paths is None:
        return mix
      # Scored operations would run backward for a gradient nobody asked for.
      return mix._replace(paths=Paths(mix.paths.active))

    one_path = reparameterised(draw_path)
    return one_path.grads(loss, wrt, variables, sampling, state)

  return Estimator(grads)


def two_gates() -> Estimator:
  """ProxylessNAS's gates over a sampled pair of operations.

  After the optimiser's step the operations outside the pair have the
  probabilities that they had before it (docs/methods.md#proxylessnas-gates).
  """

  def project(key: Array, old: Array, new: Array) -> Array:
    pair = discrete.draw_pair(jax.random.split(key)[0], old)
    return discrete.keep_the_others(pair, old, new)

  return on_a_path(discrete.two_gates)._replace(project=project)


def ordered() -> Estimator:
  """SurgeNAS's ordered sampling: every operation is trained once a step.

  The O paths of `discrete.ordered` run one after another, each with a backward
  pass of its own; gradients are summed, metrics are means.
  """

  def grads(
    loss: LossOfMix,
    wrt: tuple[int, ...],
    variables: Variables,
    sampling: Sampling,
    state: State,
  ) -> tuple[Grads, Metrics, State]:
    weights, logits = variables

    def draw(logits: Array) -> tuple[Array, Array]:
      mix = discrete.ordered(sampling.key, logits, sampling.temperature)
      assert mix.paths is not None
      return mix.weights, mix.paths.active

    rows, pull_back, active = jax.vjp(draw, logits, has_aux=True)

    def run_path(total: Params, path: tuple[Array, Array]) -> Any:
      row, active = path

      def loss_of_row(weights: Params, row: Array) -> tuple[Array, Metrics]:
        return loss(weights, Mix(row, row, Paths(active)))

      gradients, metrics = jax.grad(loss_of_row, wrt, has_aux=True)(
        weights, row
      )
      one = as_grads(gradients, wrt)
      total = jax.tree.map(jnp.add, total, one.weights)
      return total, (one.logits, metrics)

    start = jax.tree.map(jnp.zeros_like, weights) if WEIGHTS in wrt else None
    total, (d_rows, metrics) = lax.scan(run_path, start, (rows, active))
    d_logits = pull_back(d_rows)[0] if LOGITS in wrt else None
    means = jax.tree.map(lambda m: m.mean(0), metrics)
    return Grads(total, d_logits), means, state

  return Estimator(grads)


# The published code calls it a decay; it is the rate at which the baseline
# moves to the mean loss of the step (docs/methods.md#reinforce).
BASELINE_RATE = 0.99


def reinforce(num_samples: int) -> Estimator:
  """Score-function gradient of `num_samples` paths (Williams 1992).

  d_logits = mean (loss - baseline) (one-hot - softmax(logits)), as Cai et al.
  2019, section 3.3.2, with the step's own loss, its cost included, in place of
  their reward. The gradient of the weights is the mean over the paths.

  The baseline is updated before it is subtracted, as in the published code. So
  a path's loss is in its own baseline with weight 0.99 / n, for n samples, and
  the expectation is the true gradient times 1 - 0.99 / n (1 - 1 / n at the
  first step, whose baseline is its mean loss). The direction is right; with
  one sample nearly nothing is left, and at the first step nothing.

  Args:
    num_samples: paths a step, one after another.
  """

  def init() -> State:
    return {"baseline": jnp.zeros(()), "updates": jnp.zeros(())}

  def grads(
    loss: LossOfMix,
    wrt: tuple[int, ...],
    variables: Variables,
    sampling: Sampling,
    state: State,
  ) -> tuple[Grads, Metrics, State]:
    weights, logits = variables
    shape = num_samples, logits.shape[0]
    drawn = jax.random.categorical(sampling.key, logits, shape=shape)

    def run_path(total: Params, ops: Array) -> Any:
      row = jax.nn.one_hot(ops, logits.shape[1], dtype=logits.dtype)
      mix = Mix(row, row, Paths(ops[:, None]))
      if WEIGHTS not in wrt:
        return total, loss(weights, mix)
      value_and_grad = jax.value_and_grad(loss, has_aux=True)
      (value, metrics), gradient = value_and_grad(weights, mix)
      return jax.tree.map(jnp.add, total, gradient), (value, metrics)

    start = jax.tree.map(jnp.zeros_like, weights) if WEIGHTS in wrt else None
    total, (losses, metrics) = lax.scan(run_path, start, drawn)
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
