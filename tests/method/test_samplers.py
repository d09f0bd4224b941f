"""The registries: traits that hold, and entries that are added at run time."""

import doctest
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hwnas_jax import method
from hwnas_jax.method import conditions, controllers, price, samplers, schedule
from hwnas_jax.method.phases import Phase, plan
from hwnas_jax.method.state import CostTable, SearchData
from hwnas_jax.method.step import Parts, Settings, init_state, make_step
from hwnas_jax.nets.supernet import Net

ROWS = controllers.Rows((2, 3), (0, 0))
LOGITS = jnp.array([[0.5, -0.2, 0.1], [0.0, 0.7, -0.4]])
DRAWN = {n: s for n, s in method.SAMPLERS.items() if s.draw is not None}


def toy(key, logits, temperature, rows):
  """The operation of the largest noisy logit, uniform noise."""
  assert rows is None
  noise = jax.random.uniform(key, logits.shape)
  hard = jax.nn.one_hot((logits + noise).argmax(-1), logits.shape[-1])
  soft = jax.nn.softmax(logits / temperature)
  return method.Mix(hard + soft - jax.lax.stop_gradient(soft), soft)


def move(estimator):
  """The state of a search before and after one joint step."""
  w = jnp.arange(6.0).reshape(2, 3) / 6

  def apply(weights, mix, images):
    x = images.mean((1, 2, 3)) * (weights["w"] * mix).sum()
    return jnp.stack([x, -x], -1)

  parts = Parts(
    net=Net(lambda key: {"w": w}, apply),
    controller=controllers.table(ROWS),
    conditions=conditions.fixed(3, 1.0),
    price=price.cone((0, 1, 2)),
    temperature=schedule.linear(1.0, 0.5),
    augment=lambda key, images: images.astype(jnp.float32),
    weights_optimiser=optax.sgd(0.1),
    controller_optimiser=optax.sgd(0.1),
  )
  data = SearchData(
    jnp.ones((8, 1, 1, 1), jnp.uint8),
    jnp.arange(8, dtype=jnp.int32) % 2,
    jnp.arange(4, dtype=jnp.int32),
    jnp.arange(4, 8, dtype=jnp.int32),
  )
  phase = Phase(estimator, joint=True)
  before = init_state(parts, plan(phase, 10), jax.random.key(0))
  step = jax.jit(make_step(parts, Settings(10, 4), phase))
  table = CostTable(jnp.array([[1.0, 2.0, 3.0]] * 2), jnp.zeros(()))
  return before, *step(before, data, table)


def test_a_sampler_of_your_own_goes_through_a_step(monkeypatch):
  mine = method.Sampler(draw=toy, one_hot=True)
  monkeypatch.setitem(method.SAMPLERS, "mine", mine)
  estimator = method.make_estimator(method.SAMPLERS["mine"], None, 1)
  before, after, metrics = move(estimator)
  for name in ("weights", "controller"):
    moved = jax.tree.map(
      lambda a, b: bool((a != b).any()),
      getattr(before, name),
      getattr(after, name),
    )
    assert all(jax.tree.leaves(moved))
  assert all(np.isfinite(v) for v in jax.device_get(metrics).values())


def test_without_a_draw_or_an_estimator_there_is_no_sampler():
  with pytest.raises(ValueError, match="a draw or an estimator"):
    method.make_estimator(method.Sampler(), None, 1)


def test_equal_samplers_are_equal_estimators():
  """So that equal phases are compiled once."""
  ordered = method.SAMPLERS["ordered"]
  first, again = (method.make_estimator(ordered, None, 1) for _ in range(2))
  assert first == again


@pytest.mark.parametrize("name", DRAWN)
def test_traits_say_what_is_drawn(name):
  sampler = DRAWN[name]
  draw = jax.jit(sampler.draw, static_argnums=3)
  mixes = [draw(jax.random.key(i), LOGITS, 1.0, None) for i in range(20)]
  weights = np.stack([mix.weights for mix in mixes])
  assert (set(np.unique(weights)) == {0.0, 1.0}) == sampler.one_hot
  assert (np.ptp(weights, axis=0).max() > 0) == sampler.noisy
  assert all((mix.paths is not None) == sampler.path for mix in mixes)


@pytest.mark.parametrize("name", method.SAMPLERS)
def test_an_estimator_of_a_sampler_projects_where_it_moves_logits(name):
  sampler = method.SAMPLERS[name]
  estimator = method.make_estimator(sampler, None, 2)
  assert (estimator.project is not None) == sampler.moves_logits


@pytest.mark.parametrize("name", method.CONTROLLERS)
def test_controllers_are_made_of_the_same_settings(name):
  kind = method.CONTROLLERS[name]
  cone = conditions.cone(3, 0.1, 10.0)
  controller = kind.make(method.ControllerSettings(ROWS, cone))
  params = controller.init(jax.random.key(0))
  at = [
    controller.apply(params, cone.features(method.Condition(simplex, scale)))
    for simplex, scale in [
      (jnp.array([0.2, 0.3, 0.5]), jnp.asarray(0.1)),
      (jnp.array([0.5, 0.3, 0.2]), jnp.asarray(10.0)),
    ]
  ]
  assert at[0].shape == ROWS.shape
  assert bool((at[0] != at[1]).any()) == kind.conditioned


def test_a_line_needs_two_knots():
  cone = conditions.cone(3, 0.1, 10.0)
  kind = method.CONTROLLERS["piecewise"]
  assert kind.least_pivots == 2
  with pytest.raises(ValueError, match="num_pivots must be 2 or more"):
    kind.make(method.ControllerSettings(ROWS, cone, num_pivots=1))


@pytest.mark.parametrize("name", method.CONDITIONS)
def test_traits_say_what_conditions_vary(name):
  kind = method.CONDITIONS[name]
  made = kind.make(method.ConditionSettings(3, 0.1, 10.0, 2, jax.random.key(7)))
  drawn = jax.vmap(made.draw)(jax.random.split(jax.random.key(0), 50))
  assert (len(np.unique(drawn.scale)) > 1) == kind.scaled
  several = len(np.unique(np.asarray(drawn.simplex), axis=0)) > 1
  assert (not several and not kind.scaled) == kind.single
  assert (made.each is not None) == kind.several_devices


@pytest.mark.parametrize("name", method.PENALTIES)
def test_traits_say_what_a_penalty_reads(name):
  kind = method.PENALTIES[name]
  made = kind.make(method.PenaltySettings(4.0, 0.25))
  assert ("target_ms" in made.init()) == kind.targeted
  if kind.targeted:
    assert made.init()["strength"] == 0.25
    assert kind.make(method.PenaltySettings(4.0)).init()["strength"] != 0.25
  if kind.above_ms:
    with pytest.raises(ValueError, match="above 1 ms"):
      kind.make(method.PenaltySettings(kind.above_ms))


@pytest.mark.parametrize(
  "registry", [method.CONTROLLERS, method.CONDITIONS, method.PENALTIES]
)
def test_every_kind_says_what_it_is(registry):
  assert all(inspect.getdoc(kind.make) for kind in registry.values())
  for sampler in method.SAMPLERS.values():
    assert inspect.getdoc(sampler.draw or sampler.estimator)


@pytest.mark.parametrize(
  ("module", "registry", "name"),
  [
    (samplers, method.SAMPLERS, "noisy_argmax"),
    (method, method.CONTROLLERS, "flat"),
  ],
)
def test_the_examples_run(module, registry, name, monkeypatch):
  monkeypatch.setitem(registry, name, None)  # taken out again afterwards
  ran = doctest.testmod(module)
  assert ran.attempted > 0 and ran.failed == 0
  assert registry[name] is not None
