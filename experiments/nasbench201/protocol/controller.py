"""The controller alone: trained against a surrogate, asked for any prices.

The step and its parts are the package's, as quality.name=surrogate has them:
`controllers.mlp` reads a point of the simplex S and a log scale drawn by
`conditions.cone`, `price.cone` prices the expected architecture,
`SAMPLERS["straight_through"]` draws some. There is no supernet:

  loss = -quality(draw) + sum(price * softmax(logits)) - entropy * H(logits)

Without the last term the logits decide for one cell at each condition, and say
nothing about which other cell is the next best.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.nasbench201.protocol.pickers import ABSENT
from experiments.nasbench201.protocol.score import Problem
from hwnas_jax.core.compile import repeat
from hwnas_jax.core.rng import stream
from hwnas_jax.core.types import Array, Condition, Params
from hwnas_jax.method import conditions, controllers, price, samplers, schedule
from hwnas_jax.method.controllers import Controller
from hwnas_jax.method.entropy import entropies
from hwnas_jax.method.parts import Parts
from hwnas_jax.method.parts import Settings as StepSettings
from hwnas_jax.method.phases import Phase, Span
from hwnas_jax.method.state import CostTable, SearchData
from hwnas_jax.method.step import init_state, make_step
from hwnas_jax.method.surrogate import Surrogate
from hwnas_jax.nets.supernet import Net
from hwnas_jax.spaces.nasbench201 import OPS, NasBench201

SPACE = NasBench201(5, 16, (32, 32, 3), 10).space()
REFERENCE = np.ones(SPACE.shape)  # one price for each operation
LOW, HIGH = 0.3, 100.0  # of the scale
CONE = conditions.cone(len(OPS), LOW, HIGH)
MAKE = {
  "mlp": controllers.mlp,
  "pivots": controllers.pivots,
  "piecewise": lambda space, cone: controllers.piecewise(space),
  "mixture": controllers.mixture,
}
PRICE = price.cone(range(len(OPS)))
NUM_SCALES = 33  # that a query asks for
STEPS, LEARNING_RATE = 20_000, 0.01
LOGGED = 20  # times
TEMPERATURE = schedule.exponential(1.0, 0.3)


@dataclasses.dataclass(frozen=True)
class Settings:
  """What is chosen on the first half of the cells.

  entropy: weight of the entropy, in units of the labels' deviation a nat.
  band: candidates take at least (1 - band) of the budget.
  spread: "scales" takes the likeliest of each scale in turn, "mixture" the
    likeliest under all scales together.
  """

  entropy: float
  band: float
  spread: str


class Form(NamedTuple):
  """What is trained, and how its gradient is estimated.

  kind: a name in MAKE.
  conditions: of which a step's gradient is the mean.
  draws: architectures for each condition.
  sampler: of these.
  """

  kind: str = "mlp"
  conditions: int = 1
  draws: int = 16
  sampler: str = "straight_through"


FROZEN = Form()  # that every report has


class Trained(NamedTuple):
  """A controller with its parameters, and the loss [LOGGED] that led there."""

  controller: Controller
  params: Params
  losses: np.ndarray


def one_hot(genotypes: np.ndarray) -> np.ndarray:
  """Genotypes [N, E] -> [N, E, O]."""
  return np.eye(len(OPS))[genotypes]


def device_prices(genotypes: np.ndarray, latency_ms: np.ndarray) -> np.ndarray:
  """A setting's five prices as a point of the simplex: [K].

  Least squares of latency_ms [n] on how often each operation is in a cell
  [n, E]. Every cell has six operations, so the same amount off all prices
  changes no order: the cheapest operation costs nothing.
  """
  counts = (genotypes[:, :, None] == np.arange(len(OPS))).sum(1)
  fitted = np.linalg.lstsq(counts, latency_ms, rcond=None)[0]
  prices = fitted - fitted.min()
  return prices / prices.sum()


def train(
  surrogate: Surrogate, entropy: float, seed: int, form: Form = FROZEN
) -> Trained:
  """Trains a controller against a surrogate, for conditions of the whole cone.

  There are STEPS draws of a condition, whatever the form.
  """
  dispatch, parts, spans = _program(entropy, form)
  state = init_state(parts, spans, stream(seed, "training"))
  nothing = jnp.zeros((1,), jnp.int32)
  data = SearchData(nothing, nothing, nothing, nothing, surrogate)
  table = CostTable(jnp.asarray(REFERENCE, jnp.float32), jnp.zeros(()))
  losses = []
  for _ in range(LOGGED):
    state, metrics = dispatch(state, data, table)
    losses.append(float(metrics["loss"]))
  return Trained(parts.controller, state.controller, np.asarray(losses))


def gradient(
  surrogate: Surrogate, entropy: float, form: Form
) -> Callable[[Array, Array], Params]:
  """(key of a condition, key of its draws) -> a gradient at the start."""
  made = MAKE[form.kind](SPACE, CONE)
  draw = samplers.SAMPLERS[form.sampler].draw
  assert draw is not None
  params = made.init(stream(0, "noise"))

  def loss(params: Params, condition: Condition, key: Array) -> Array:
    logits = made.apply(params, CONE.features(condition))
    mix = draw(key, logits, TEMPERATURE(jnp.zeros(())), form.draws)
    prices = PRICE(jnp.asarray(REFERENCE, jnp.float32), condition)
    priced = (prices * jax.nn.softmax(logits)).sum()
    return (
      -surrogate.quality(mix.weights).mean()
      + priced
      - entropy * entropies(logits).sum()
    )

  def one(key: Array, draws: Array) -> Params:
    return jax.grad(loss)(params, CONE.draw(key), draws)

  return one


@functools.cache
def _program(entropy: float, form: Form) -> tuple[Any, Parts, list[Span]]:
  """(STEPS / LOGGED steps, compiled; their parts; their phase)."""
  updates = STEPS // form.conditions
  adam = optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, updates))
  if form.conditions > 1:
    adam = optax.MultiSteps(adam, form.conditions).gradient_transformation()
  parts = Parts(
    net=Net(lambda key: {}, lambda weights, mix, images: images),
    controller=MAKE[form.kind](SPACE, CONE),
    conditions=CONE,
    price=PRICE,
    temperature=TEMPERATURE,
    augment=lambda key, images: images,
    weights_optimiser=optax.identity(),
    controller_optimiser=adam,
    regulariser=lambda logits: -entropy * entropies(logits).sum(),
  )
  sampler = samplers.SAMPLERS[form.sampler]
  estimator = samplers.make_estimator(sampler, form.draws, 1)
  phase = Phase(estimator, weights=False, surrogate=True)
  step = make_step(parts, StepSettings(STEPS, form.draws), phase)
  spans = [Span(phase, STEPS)]
  return jax.jit(repeat(step, STEPS // LOGGED)), parts, spans


@functools.partial(jax.jit, static_argnums=0)
def logits_at(
  controller: Controller, params: Params, simplex: Array, scales: Array
) -> Array:
  """Of D devices' S [D, K] and T scales: [D, T, E, O]."""

  def at(simplex: Array, scale: Array) -> Array:
    return controller.apply(params, CONE.features(Condition(simplex, scale)))

  by_scale = jax.vmap(at, (None, 0))
  return jax.vmap(functools.partial(by_scale), (0, None))(simplex, scales)


def log_likelihoods(
  trained: Trained, simplex: np.ndarray, genotypes: np.ndarray
) -> np.ndarray:
  """Of cells [N, E] for D devices' S [D, K]: [D, NUM_SCALES, N]."""
  scales = np.geomspace(LOW, HIGH, NUM_SCALES)
  logits = logits_at(*trained[:2], jnp.asarray(simplex), jnp.asarray(scales))
  return of_cells(logits, genotypes)


def of_cells(logits: Array, genotypes: np.ndarray) -> np.ndarray:
  """Log-likelihoods of cells [N, E] under logits [D, T, E, O]: [D, T, N]."""
  log_p = np.asarray(jax.nn.log_softmax(logits))
  flat = one_hot(genotypes).reshape(len(genotypes), -1)
  return log_p.reshape(*log_p.shape[:2], -1) @ flat.T


def candidates(
  problem: Problem, likelihoods: np.ndarray, settings: Settings, k: int
) -> np.ndarray:
  """The likeliest cells that fill each budget: int[D, B, k].

  Where a band has fewer than k cells, the k slowest that fit stand for it.

  Args:
    problem: of D settings.
    likelihoods: [D, T, N], see `log_likelihoods`.
    settings: band and spread.
    k: candidates a budget.
  """
  found = np.full((*problem.budgets_ms.shape, k), ABSENT)
  for device, latency_ms in enumerate(problem.cells.latency_ms):
    slowest_first = latency_ms.argsort(kind="stable")[::-1]
    scores = likelihoods[device]
    if settings.spread == "mixture":
      scores = np.logaddexp.reduce(scores, 0, keepdims=True)
    sorted_ms = latency_ms[slowest_first]
    for place, budget_ms in enumerate(problem.budgets_ms[device]):
      start = np.searchsorted(-sorted_ms, -budget_ms)
      stop = np.searchsorted(-sorted_ms, -(1 - settings.band) * budget_ms)
      rows = slowest_first[start : max(stop, start + k)]
      order = (-scores[:, rows]).argsort(1, kind="stable")[:, :k]
      in_turn = rows[order.T.ravel()]  # best of each scale, second best, ...
      _, first = np.unique(in_turn, return_index=True)
      kept = in_turn[np.sort(first)][:k]
      found[device, place, : len(kept)] = kept
  return found
