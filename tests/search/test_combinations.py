"""Samplers, schedules, conditions and controllers, two by two, on a toy net."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hwnas_jax.core import conditions, schedule
from hwnas_jax.costs import price
from hwnas_jax.nets import controllers
from hwnas_jax.nets.supernet import Net
from hwnas_jax.samplers.relaxed import SAMPLERS
from hwnas_jax.search import estimators, phases
from hwnas_jax.search.phases import Phase
from hwnas_jax.search.state import CostTable, SearchData
from hwnas_jax.search.step import Parts, Settings, init_state, make_step
from hwnas_jax.spaces import darts

SPACE = darts.make_space(darts.Darts(darts.THREE, 1, 1, 4, (8, 8, 1), 2))
ESTIMATORS = {
  **{n: estimators.reparameterised(s) for n, s in SAMPLERS.items()},
  **estimators.ON_A_PATH,
  "reinforce": estimators.reinforce(3),
}
SCHEDULES = {
  "joint": {"joint": True},
  "bilevel": {},
  "every second": {"every": 2},
  "same key": {"same_key": True},
  "exact": {"order": "exact"},
  "difference": {"order": "difference"},
}
CONE = conditions.cone(3, 0.1, 10.0)
LAWS = {
  "cone": CONE,
  "scale": conditions.scale(3, 0.1, 10.0),
  "devices": conditions.devices(
    conditions.draw_devices(jax.random.key(0), 2, 3), 0.1, 10.0
  ),
}
CONTROLLERS = {
  "pivots": lambda: controllers.pivots(SPACE, CONE),
  "piecewise": lambda: controllers.piecewise(SPACE, 3),
  "mlp": lambda: controllers.mlp(SPACE, CONE, (8,)),
  "mixture": lambda: controllers.mixture(SPACE, CONE, 2, 3),
}
SETTINGS = Settings(num_steps=10, batch_size=4)
DATA = SearchData(
  jnp.asarray(np.random.default_rng(0).integers(0, 256, (16, 8, 8, 1)), "u1"),
  jnp.arange(16, dtype=jnp.int32) % 2,
  jnp.arange(8, dtype=jnp.int32),
  jnp.arange(8, 16, dtype=jnp.int32),
)
TABLE = CostTable(jnp.ones(SPACE.shape), jnp.asarray(1.0))


def apply(weights, mix, images, paths=None, identity=None):
  """Each operation of each choice adds its weight times the mean pixel."""
  seen = mix if paths is None else mix * 1.0
  strength = (seen * weights["w"]).sum()
  if paths is not None and paths.scored is not None:
    strength += 0.0 * paths.scored.sum()
  if identity is not None:
    strength += identity
  x = images.mean((1, 2, 3))
  return jnp.stack([strength * x, -strength * x], -1)


NET = Net(lambda key: {"w": jnp.linspace(0.1, 1.0, 6).reshape(2, 3)}, apply)


def run(estimator, law, emits, **changes):
  """Two steps: (state before, state after, metrics)."""
  parts = Parts(
    net=NET,
    controller=emits,
    conditions=law,
    price=price.cone((0, 1, 2)),
    temperature=schedule.linear(1.0, 1.0),
    augment=lambda key, images: images.astype(jnp.float32) / 255,
    weights_optimiser=optax.sgd(0.1, 0.9),
    controller_optimiser=optax.adam(0.05),
    identity=lambda progress: 0.1 * (1.0 - progress),
    skip=0,
  )
  phase = Phase(estimator, **changes)
  before = init_state(parts, phases.plan(phase, 10), jax.random.key(0))
  step, state = jax.jit(make_step(parts, SETTINGS, phase)), before
  for _ in range(2):
    state, metrics = step(state, DATA, TABLE)
  return before, state, jax.device_get(metrics)


def moved(before, after):
  changed = [
    bool(jnp.any(a != b))
    for a, b in zip(
      jax.tree.leaves(before), jax.tree.leaves(after), strict=True
    )
  ]
  return any(changed)


def pairs():
  """Every estimator and every schedule that goes with it, at least twice."""
  for index, name in enumerate(ESTIMATORS):
    fitting = [
      s
      for s in SCHEDULES
      if name in SAMPLERS or s not in ("exact", "difference")
    ]
    for shift in (0, 2):
      yield name, fitting[(index + shift) % len(fitting)]


@pytest.mark.parametrize(("name", "turn"), list(pairs()))
def test_a_sampler_under_a_schedule(name, turn):
  fixed, table = conditions.fixed(3, 1.0), controllers.table(SPACE)
  before, after, metrics = run(
    ESTIMATORS[name], fixed, table, **SCHEDULES[turn]
  )
  assert all(np.isfinite(v).all() for v in metrics.values())
  assert moved(before.weights, after.weights)
  assert moved(before.controller, after.controller)
  assert {"loss", "entropy", "skip_share", "temperature"} <= set(metrics)
  assert int(after.step) == 2


@pytest.mark.parametrize(
  ("law", "controller"), list(itertools.product(LAWS, CONTROLLERS))
)
def test_a_controller_under_a_condition(law, controller):
  before, after, metrics = run(
    ESTIMATORS["gumbel_softmax"], LAWS[law], CONTROLLERS[controller]()
  )
  assert all(np.isfinite(v).all() for v in metrics.values())
  assert moved(before.controller, after.controller)


def test_every_second_step_leaves_the_controller_alone():
  parts = {"joint": False, "every": 2}
  fixed, table = conditions.fixed(3, 1.0), controllers.table(SPACE)
  before, after, _ = run(ESTIMATORS["softmax"], fixed, table, **parts)
  counts = [
    int(leaf)
    for leaf in jax.tree.leaves(after.controller_optimiser)
    if leaf.dtype == jnp.int32
  ]
  assert counts == [1] and moved(before.controller, after.controller)


@pytest.mark.parametrize("alone", ["weights", "controller"])
def test_a_phase_of_one_side_leaves_the_other_alone(alone):
  fixed, table = conditions.fixed(3, 1.0), controllers.table(SPACE)
  sides = dict.fromkeys(("weights", "controller"), False) | {alone: True}
  before, after, metrics = run(ESTIMATORS["gdas"], fixed, table, **sides)
  assert moved(before.weights, after.weights) == (alone == "weights")
  assert moved(before.controller, after.controller) == (alone == "controller")
  assert np.isfinite(metrics["loss"])
