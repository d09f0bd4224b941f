"""Phases: who moves when, for how long, and what waits for the warm-up."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from toy_config import config

from hwnas_jax.config import method
from hwnas_jax.method import (
  conditions,
  controllers,
  phases,
  schedule,
)
from hwnas_jax.method.estimators import reparameterised
from hwnas_jax.method.path_estimators import ordered, reinforce
from hwnas_jax.method.phases import Phase, Span
from hwnas_jax.method.relaxed import softmax
from hwnas_jax.method.state import CostTable, SearchData
from hwnas_jax.method.step import Parts, Settings
from hwnas_jax.nets.supernet import Net

MAIN = Phase(reparameterised(softmax))
ORDERED = ordered()


def sides(spans):
  """(end, weights are updated, the controller is) of each span."""
  return [(s.end, s.phase.weights, s.phase.controller) for s in spans]


def test_weights_and_controller_alternate_by_the_epoch():
  spans = phases.plan(MAIN, 50, warmup_steps=10, warmup=ORDERED, epoch_steps=15)
  assert sides(spans) == [
    (10, True, False),
    (25, True, False),
    (40, False, True),
    (50, True, False),
  ]
  assert spans[0].phase.estimator is ORDERED
  assert len(phases.different(spans)) == 3
  found = [phases.current(spans, step) for step in (0, 9, 10, 39, 40, 49)]
  assert found == [spans[i].phase for i in (0, 0, 1, 2, 3, 3)]
  assert phases.weights_steps(spans) == 10 + 15 + 10


def test_the_controllers_epochs_may_be_of_another_length():
  spans = phases.plan(
    MAIN, 50, warmup_steps=10, epoch_steps=15, controller_epoch_steps=4
  )
  assert sides(spans) == [
    (10, True, False),
    (25, True, False),
    (29, False, True),
    (44, True, False),
    (48, False, True),
    (50, True, False),
  ]
  assert len(phases.different(spans)) == 2
  assert phases.weights_steps(spans) == 50 - 2 * 4


def test_without_a_warm_up_there_is_one_phase():
  assert phases.plan(MAIN, 50) == [Span(MAIN, 50)]


def test_a_warm_up_is_no_step_of_its_own():
  spans = phases.plan(MAIN, 50, warmup_steps=5)
  assert spans == [Span(MAIN._replace(start=5), 50)]
  assert phases.weights_steps(spans) == 50


def test_a_warm_up_by_another_estimator_looks_nowhere_ahead():
  main = MAIN._replace(order="exact", every=4)
  warm, then = phases.plan(main, 50, warmup_steps=5, warmup=ORDERED)
  assert warm.phase == Phase(ORDERED, controller=False)
  assert then == Span(main, 50)


def test_a_surrogate_trains_the_controller_alone_after_the_weights():
  main = Phase(ORDERED, weights=False, surrogate=True)
  warm, then = phases.plan(main, 50, warmup_steps=20)
  assert warm == Span(Phase(ORDERED, controller=False), 20)
  assert then == Span(main, 50)
  assert phases.weights_steps([warm, then]) == 20
  assert phases.plan(main, 50) == [Span(main, 50)]


def test_the_state_is_that_of_all_estimators():
  spans = phases.plan(MAIN, 9, warmup_steps=3, warmup=reinforce(10))
  assert set(phases.init(spans)) == {"baseline", "updates"}


# In a search.

ROWS = controllers.Rows((2, 3), (0, 1))
DATA = SearchData(
  jnp.ones((8, 1, 1, 1), jnp.uint8),
  jnp.arange(8, dtype=jnp.int32) % 2,
  jnp.arange(4, dtype=jnp.int32),
  jnp.arange(4, 8, dtype=jnp.int32),
)
TABLE = CostTable(jnp.ones(ROWS.shape), jnp.zeros(()))
WARM = 2


def make_search(**changes):
  """(fresh state, dispatch of one step, what grows as a step is traced)."""
  made = config(
    sampler__name="softmax",
    sampler__per_example=False,
    search__bilevel=True,
    search__num_steps=12,
    search__warmup_steps=WARM,
    search__steps_per_dispatch=1,
    **changes,
  )
  traces = []

  def apply(weights, mix, images):
    traces.append(mix)
    x = images.mean((1, 2, 3)) * (weights["w"] * mix).sum()
    return jnp.stack([x, -x], -1)

  drawn = conditions.fixed(3, 1.0)
  parts = Parts(
    net=Net(lambda key: {"w": jnp.arange(6.0).reshape(2, 3)}, apply),
    controller=controllers.table(ROWS),
    conditions=drawn,
    price=lambda reference, condition: 0.0 * reference,
    temperature=schedule.linear(1.0, 0.5),
    augment=lambda key, images: images.astype(jnp.float32),
    weights_optimiser=optax.sgd(0.1),
    controller_optimiser=optax.sgd(0.1),
    identity=None,
  )
  init, dispatch = method.make_search(made, parts, Settings(12, 2, WARM))
  return init(jax.random.key(0)), dispatch, traces


def test_a_phase_that_comes_again_is_not_compiled_again():
  state, dispatch, traces = make_search(search__epoch_steps=2)
  counts = []
  for _ in range(12):
    state, _ = dispatch(state, DATA, TABLE)
    counts.append(len(traces))
  # Weights from 0, the controller from 4; then both again.
  assert 0 < counts[0] == counts[3] < counts[4] == counts[11]


def test_the_temperature_waits_for_the_warm_up():
  state, dispatch, _ = make_search()
  found = []
  for _ in range(12):
    state, metrics = dispatch(state, DATA, TABLE)
    found.append(float(metrics["temperature"]))
  wanted = [1.0] * WARM + [1.0 - 0.5 * k / 10 for k in range(10)]
  np.testing.assert_allclose(found, wanted, rtol=1e-6)
