"""The search step: what it reads, what it moves, what it repeats."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hwnas_jax.core import tree
from hwnas_jax.core.compile import repeat
from hwnas_jax.core.types import Condition
from hwnas_jax.derive import sweep
from hwnas_jax.io import checkpoint
from hwnas_jax.method import conditions, controllers, phases, price, schedule
from hwnas_jax.method.entropy import entropy
from hwnas_jax.method.estimators import reparameterised
from hwnas_jax.method.phases import Phase
from hwnas_jax.method.relaxed import gumbel_softmax
from hwnas_jax.method.state import CostTable, SearchData
from hwnas_jax.method.step import Parts, Settings, init_state, make_step
from hwnas_jax.nets.darts import make_supernet
from hwnas_jax.nets.supernet import Net
from hwnas_jax.spaces import darts

NET = darts.Darts(darts.THREE, 3, 1, 4, (8, 8, 1), 2)
SPACE = darts.make_space(NET)
LOW, HIGH = 0.01, 10.0
CONE = conditions.cone(3, LOW, HIGH)
PER_DISPATCH = 3


def sgd(lr):
  return optax.chain(
    optax.clip_by_global_norm(5.0),
    optax.add_decayed_weights(3e-4),
    optax.sgd(lr, 0.9),
  )


def pixels(key, images):
  del key
  return images.astype(jnp.float32) / 255 - 0.5


def make_parts(**changes):
  parts = Parts(
    net=make_supernet(NET),
    controller=controllers.pivots(SPACE, CONE),
    conditions=CONE,
    price=price.cone((0, 1, 2)),
    temperature=schedule.linear(1.0, 0.3),
    augment=pixels,
    weights_optimiser=sgd(0.05),
    controller_optimiser=optax.adam(0.02, b1=0.5),
  )
  return parts._replace(**changes)


def make_data(count=64):
  """Bright images and dark ones: learnable by the stem alone."""
  rng = np.random.default_rng(0)
  labels = np.arange(count) % 2
  images = rng.integers(0, 128, (count, 8, 8, 1)) + 127 * labels.reshape(
    -1, 1, 1, 1
  )
  return SearchData(
    jnp.asarray(images, jnp.uint8),
    jnp.asarray(labels, jnp.int32),
    jnp.arange(0, count // 2, dtype=jnp.int32),
    jnp.arange(count // 2, count, dtype=jnp.int32),
  )


DATA = make_data()
TABLE = CostTable(
  jnp.asarray(np.random.default_rng(1).uniform(0.5, 2.0, SPACE.shape), "f4"),
  jnp.asarray(1.5),
)


def constant_net(weights=None):
  """Ignores mix and images: a step without a network compiles in no time."""
  return Net(
    lambda key: {"w": jnp.zeros(2) if weights is None else weights},
    lambda w, mix, images: jnp.broadcast_to(w["w"], (images.shape[0], 2)),
  )


SETTINGS = Settings(num_steps=300, batch_size=16)
PER_EXAMPLE = reparameterised(gumbel_softmax, 16)


def step_of(parts, bilevel=False, estimator=PER_EXAMPLE):
  return make_step(parts, SETTINGS, Phase(estimator, joint=not bilevel))


def run(steps, state, table=TABLE, data=DATA, dispatches=1):
  rows = []
  for _ in range(dispatches):
    state, metrics = steps(state, data, table)
    rows.append(jax.device_get(metrics))
  return state, rows


def start(parts, seed=0):
  spans = phases.plan(Phase(PER_EXAMPLE), SETTINGS.num_steps)
  return init_state(parts, spans, jax.random.key(seed))


# The step reads the table.


@pytest.fixture(scope="module")
def penalty_search():
  """(parts, 100 jitted steps in which the penalty is the only force)."""
  parts = make_parts(net=constant_net())
  return parts, jax.jit(repeat(step_of(parts), 100))


def swept_shares(parts, state):
  points = sweep.scale_grid(3, LOW, HIGH, 5)
  at = functools.partial(sweep.logits_of, parts.controller, CONE)
  logits = at(state.controller, points)
  return [
    sweep.shares(point, rows, SPACE.ops).shares
    for point, rows in zip(points, logits, strict=True)
  ]


@pytest.mark.parametrize("column", range(3))
def test_a_more_expensive_operation_is_chosen_less_at_every_scale(
  penalty_search, column
):
  parts, steps = penalty_search
  changed = TABLE._replace(
    reference=TABLE.reference * jnp.ones((1, 3)).at[0, column].set(10.0)
  )
  before, after = (
    swept_shares(parts, run(steps, start(parts), table)[0])
    for table in (TABLE, changed)
  )
  op = SPACE.ops[column]
  falls = [b[op] - a[op] for b, a in zip(before, after, strict=True)]
  assert len(falls) == 5 and min(falls) > 0.02


def test_the_table_is_an_argument_and_no_constant():
  parts = make_parts(net=constant_net())
  step = step_of(parts)
  shape = "x".join(map(str, SPACE.shape))

  def num_tables(function, *arguments):
    text = jax.jit(function).lower(*arguments).as_text()
    signature = text[text.index("@main(") : text.index(") -> ")]
    return signature.count(f"tensor<{shape}xf32>")

  assert num_tables(step, start(parts), DATA, TABLE) == 1
  # The count sees the difference: a closure leaves no parameter.
  closed = lambda state, data: step(state, data, TABLE)  # noqa: E731
  assert num_tables(closed, start(parts), DATA) == 0


def counted(step):
  """(step, a list that grows with each of its traces)."""
  traces = []

  def traced(*arguments):
    traces.append(arguments)
    return step(*arguments)

  return traced, traces


def test_another_table_changes_the_step_without_another_trace():
  parts = make_parts(net=constant_net())
  step, traces = counted(step_of(parts))
  steps = jax.jit(step)
  other = CostTable(TABLE.reference[:, ::-1], TABLE.base + 2.0)
  found = [
    run(steps, start(parts), table)[0].controller for table in (TABLE, other)
  ]
  assert tree.digest(found[0]) != tree.digest(found[1])
  costs = [
    run(steps, start(parts), table)[1][0]["expected_cost"]
    for table in (TABLE, TABLE._replace(base=TABLE.base + 2.0))
  ]
  np.testing.assert_allclose(costs[1] - costs[0], 2.0, rtol=1e-5)
  run(steps, start(parts, 1), other, DATA._replace(labels=1 - DATA.labels), 2)
  assert len(traces) == 1


def test_metrics_add_up():
  parts = make_parts(net=constant_net(jnp.array([0.3, -0.2])))
  steps = jax.jit(step_of(parts))
  row = run(steps, start(parts))[1][0]
  np.testing.assert_allclose(
    row["loss"], row["cross_entropy"] + row["penalty"], rtol=1e-6
  )
  bounds = TABLE.reference.min(1).sum(), TABLE.reference.max(1).sum()
  assert bounds[0] < row["expected_cost"] - TABLE.base < bounds[1]
  assert row["temperature"] == 1.0
  # The stub always says class 0: half of the examples are.
  np.testing.assert_allclose(row["accuracy"], 0.5, atol=0.3)


# What moves what.


def test_a_controller_that_does_not_learn_stays_bit_identical():
  """Neither decay nor clipping of the weights reaches the controller."""
  parts = make_parts(
    net=constant_net(jnp.ones(2)),
    controller_optimiser=optax.adam(0.0, b1=0.5),
    weights_optimiser=optax.chain(
      optax.clip_by_global_norm(1e-3), optax.add_decayed_weights(1.0), sgd(0.1)
    ),
  )
  state = start(parts)
  kept = tree.digest(state.controller)
  for bilevel in (False, True):
    steps = jax.jit(repeat(step_of(parts, bilevel), 5))
    found, _ = run(steps, start(parts))
    assert tree.digest(found.controller) == kept
    assert tree.digest(found.weights) != tree.digest(state.weights)


@pytest.mark.parametrize("joint", [False, True])
def test_the_controller_waits_for_the_warm_up(joint):
  parts = make_parts(net=constant_net(jnp.ones(2)))
  phase = Phase(PER_EXAMPLE, joint=joint)
  ((phase, _),) = phases.plan(phase, 300, warmup_steps=3)
  state = start(parts)
  steps = jax.jit(make_step(parts, SETTINGS, phase))
  warmed, _ = run(steps, start(parts), dispatches=3)
  for name in ("controller", "controller_optimiser"):
    now, then = getattr(warmed, name), getattr(state, name)
    assert tree.digest(now) == tree.digest(then)
  assert tree.digest(warmed.weights) != tree.digest(state.weights)
  after, _ = run(steps, warmed)
  assert tree.digest(after.controller) != tree.digest(state.controller)


@pytest.mark.parametrize("bilevel", [False, True])
def test_the_regulariser_is_the_controllers_alone(bilevel):
  plain = make_parts(net=constant_net(jnp.ones(2)))
  sharp = plain._replace(regulariser=lambda logits: 100.0 * entropy(logits))
  (free, before), (pulled, after) = (
    run(jax.jit(repeat(step_of(p, bilevel), 50)), start(p))
    for p in (plain, sharp)
  )
  assert after[0]["entropy"] < before[0]["entropy"] - 0.01
  assert tree.digest(pulled.weights) == tree.digest(free.weights)


def test_the_weights_optimiser_holds_nothing_of_the_controller():
  state = start(make_parts())
  of_weights = tree.flatten(state.weights_optimiser)
  names = set(tree.flatten(state.controller))
  assert names == {"pivots", "references"}
  assert not [n for n in of_weights if set(n.split("/")) & names]
  trace = [leaf for leaf in of_weights.values() if leaf.ndim]
  assert tree.count(trace) == tree.count(state.weights)


def test_prices_do_not_reach_the_clipping_of_the_weights():
  """One gradient serves both, but its norm is taken over weights alone."""
  parts = make_parts(
    net=constant_net(jnp.array([3.0, 0.0])),
    weights_optimiser=optax.chain(
      optax.clip_by_global_norm(1e-3), optax.sgd(1.0)
    ),
    price=price.paper((0, 1, 2), 1.0),
  )
  steps = jax.jit(step_of(parts))
  expensive = TABLE._replace(reference=1e4 * TABLE.reference)
  found = [run(steps, start(parts), t)[0] for t in (TABLE, expensive)]
  assert tree.digest(found[0].weights) == tree.digest(found[1].weights)
  assert found[0].weights["w"][0] != 3.0


# The real supernet.


@pytest.fixture(scope="module")
def searches():
  """{bilevel: (parts, PER_DISPATCH jitted steps)}, each traced once."""
  parts = make_parts()
  traced = {
    bilevel: counted(repeat(step_of(parts, bilevel), PER_DISPATCH))
    for bilevel in (False, True)
  }
  yield {b: (parts, jax.jit(step)) for b, (step, _) in traced.items()}
  assert max(len(traces) for _, traces in traced.values()) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("bilevel", [False, True])
def test_a_search_learns(searches, bilevel):
  parts, steps = searches[bilevel]
  _, rows = run(steps, start(parts), dispatches=10)
  assert rows[0]["cross_entropy"] > 0.5
  assert rows[-1]["cross_entropy"] < 0.5 * rows[0]["cross_entropy"]
  assert rows[-1]["accuracy"] > 0.9


@pytest.mark.parametrize("bilevel", [False, True])
def test_six_steps_are_three_a_checkpoint_and_three(
  searches, bilevel, tmp_path
):
  parts, steps = searches[bilevel]
  whole, _ = run(steps, start(parts), dispatches=2)
  half, _ = run(steps, start(parts))
  checkpoint.save(tmp_path, 3, half, {"seed": 0})
  like = jax.eval_shape(lambda: start(parts))
  number, restored, metadata = checkpoint.restore_latest(tmp_path, like)
  assert (number, metadata) == (3, {"seed": 0})
  resumed, _ = run(steps, restored)
  assert int(resumed.step) == int(whole.step) == 6
  assert tree.digest(resumed) == tree.digest(whole)
  assert tree.digest(half) != tree.digest(whole)


def test_a_search_is_its_seed(searches):
  parts, steps = searches[False]
  digests = [
    tree.digest(run(steps, start(parts, seed))[0].controller)
    for seed in (0, 0, 1)
  ]
  assert digests[0] == digests[1] != digests[2]


def test_randomness_changes_from_step_to_step(searches):
  """The key is never advanced: the step's number is what is folded in."""
  parts, steps = searches[False]
  state = start(parts)
  key = jax.random.key_data(state.key)
  after, _ = run(steps, start(parts))
  np.testing.assert_array_equal(jax.random.key_data(after.key), key)
  parts = make_parts(
    net=constant_net(),
    price=lambda reference, condition: condition.scale + 0.0 * reference,
  )
  one = jax.jit(step_of(parts))
  _, rows = run(one, start(parts), dispatches=4)
  drawn = [float(row["penalty"]) for row in rows]
  assert len(set(drawn)) == 4


def test_a_dispatch_is_its_steps():
  parts = make_parts(net=constant_net(jnp.array([0.3, -0.2])))
  step = step_of(parts)
  single, rows = run(jax.jit(step), start(parts), dispatches=4)
  at_once, means = run(jax.jit(repeat(step, 4)), start(parts))
  chex.assert_trees_all_close(
    *((s.weights, s.controller) for s in (single, at_once)), rtol=1e-5
  )
  assert int(at_once.step) == 4
  for name, mean in means[0].items():
    wanted = np.mean([row[name] for row in rows])
    np.testing.assert_allclose(mean, wanted, rtol=1e-5)


def test_conditions_reach_controller_and_price():
  """At one fixed condition the penalty is that of its prices."""
  condition = Condition(jnp.array([0.5, 0.2, 0.3]), jnp.asarray(2.0))
  parts = make_parts(
    net=constant_net(), conditions=CONE._replace(draw=lambda key: condition)
  )
  state = start(parts)
  _, rows = run(jax.jit(step_of(parts)), start(parts))
  logits = parts.controller.apply(state.controller, CONE.features(condition))
  prices = price.cone((0, 1, 2))(TABLE.reference, condition)
  wanted = (prices * jax.nn.softmax(logits)).sum()
  np.testing.assert_allclose(rows[0]["penalty"], wanted, rtol=1e-5)
