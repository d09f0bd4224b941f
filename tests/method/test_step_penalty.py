"""Penalties inside the search step: what is priced, kept, logged, resumed."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hwnas_jax.core import tree
from hwnas_jax.core.compile import repeat
from hwnas_jax.derive import reach
from hwnas_jax.io import checkpoint
from hwnas_jax.method import (
  conditions,
  controllers,
  penalty,
  phases,
  price,
  schedule,
)
from hwnas_jax.method.estimators import reparameterised
from hwnas_jax.method.losses import Static, draw_batch
from hwnas_jax.method.phases import Phase
from hwnas_jax.method.relaxed import gumbel_softmax, straight_through
from hwnas_jax.method.state import CostTable, SearchData
from hwnas_jax.method.step import Parts, Settings, init_state, make_step
from hwnas_jax.method.turns import move
from hwnas_jax.nets.supernet import Net
from hwnas_jax.spaces import darts, rules

SPACE = darts.make_space(darts.Darts(darts.EIGHT, 3, 2, 4, (8, 8, 1), 2))
NONE = darts.EIGHT.index("none")
COSTS = np.random.default_rng(0).gamma(1.0, 0.2, SPACE.shape).astype("f4")
COSTS[:, NONE] = 0.0
TABLE = CostTable(jnp.asarray(COSTS), jnp.asarray(1.5))
FIXED = conditions.fixed(7, 2.0)
CONE = conditions.cone(7, 0.1, 10.0)
COLUMNS = tuple(range(1, 8))
PRICES = {"cone": price.cone(COLUMNS), "paper": price.paper(COLUMNS, 5.0)}
COUNT = 64
DATA = SearchData(
  jnp.asarray(
    np.random.default_rng(1).integers(0, 256, (COUNT, 8, 8, 1)), "u1"
  ),
  jnp.ones(COUNT, jnp.int32),
  jnp.arange(COUNT // 2, dtype=jnp.int32),
  jnp.arange(COUNT // 2, COUNT, dtype=jnp.int32),
)
SETTINGS = Settings(num_steps=300, batch_size=8)
JOINT = Phase(reparameterised(gumbel_softmax), joint=True)


def toy_net():
  """Class 1 is likelier the slower the operations: it would have them all."""

  def apply(weights, mix, images):
    reference = jnp.broadcast_to(TABLE.reference, mix.shape)
    good = weights["w"] * 0.1 * (reference * mix).sum((-2, -1))
    good = jnp.broadcast_to(good, images.shape[:1])
    return jnp.stack([0.0 * good, good + 0.01 * images.mean((1, 2, 3))], -1)

  return Net(lambda key: {"w": jnp.ones(())}, apply)


def make_parts(**changes):
  plain = Parts(
    net=toy_net(),
    controller=controllers.pivots(SPACE, FIXED),
    conditions=FIXED,
    price=PRICES["cone"],
    temperature=schedule.linear(1.0, 0.3),
    augment=lambda key, images: images.astype(jnp.float32) / 255,
    weights_optimiser=optax.sgd(0.05, 0.9),
    controller_optimiser=optax.adam(0.02, b1=0.5),
  )
  return plain._replace(**changes)


def aimed(target_ms, rule="argmax", name="dual_ascent", **changes):
  made = penalty.PENALTIES[name].make(penalty.PenaltySettings(target_ms))
  derived = functools.partial(rules.MASKS[rule], SPACE)
  return make_parts(penalty=made._replace(derived=derived), **changes)


def start(parts, seed=0):
  return init_state(parts, phases.plan(JOINT, 300), jax.random.key(seed))


def run(steps, state, dispatches=1):
  rows = []
  for _ in range(dispatches):
    state, metrics = steps(state, DATA, TABLE)
    rows.append(jax.device_get(metrics))
  return state, rows


def derived_ms(parts, state, rule="argmax"):
  """The latency of the genotype that the state's controller gives."""
  features = FIXED.features(FIXED.draw(jax.random.key(0)))
  logits = np.asarray(parts.controller.apply(state.controller, features))
  genotype = rules.RULES[rule](SPACE, logits)
  return 1.5 + sum(COSTS[e, o] for e, o in enumerate(genotype) if o >= 0)


# The additive penalty is the formula that there was before it had a name.


def old_step(parts, state):
  """A one-level step with CE + sum of price * priced, written out."""
  key = jax.random.fold_in(jax.random.fold_in(state.key, 2), state.step)
  condition_key, weights_key, _ = jax.random.split(key, 3)
  condition = parts.conditions.draw(condition_key)
  temperature = parts.temperature(state.step / SETTINGS.num_steps)
  images, labels = draw_batch(Static(parts, SETTINGS, JOINT), state, DATA, 0)

  def loss(weights, controller):
    features = parts.conditions.features(condition)
    logits = parts.controller.apply(controller, features)
    mix = gumbel_softmax(weights_key, logits, temperature, None)
    outputs = parts.net.apply(weights, mix.weights, images)
    cross_entropy = optax.softmax_cross_entropy_with_integer_labels(
      outputs, labels
    ).mean()
    return (
      cross_entropy
      + (parts.price(TABLE.reference, condition) * mix.priced).sum()
    )

  grads = jax.grad(loss, (0, 1))(state.weights, state.controller)
  weight = parts.conditions.weight(condition)
  weighted = jax.tree.map(lambda g: weight * g, grads[1])
  weights = move(
    parts.weights_optimiser, grads[0], state.weights_optimiser, state.weights
  )
  controller = move(
    parts.controller_optimiser,
    weighted,
    state.controller_optimiser,
    state.controller,
  )
  return weights, controller


@pytest.mark.parametrize("name", PRICES)
def test_additive_is_the_old_formula_bit_for_bit(name):
  drawn = CONE if name == "cone" else conditions.simplex(7)
  parts = make_parts(
    conditions=drawn,
    controller=controllers.pivots(SPACE, drawn),
    price=PRICES[name],
  )
  # Neither is compiled as a whole: two programs need not round alike.
  step, state = make_step(parts, SETTINGS, JOINT), start(parts)
  before = tree.digest(state.controller)
  for _ in range(3):
    wanted = old_step(parts, state)
    state, _ = run(step, state)
    found = (
      (state.weights, state.weights_optimiser),
      (state.controller, state.controller_optimiser),
    )
    assert tree.digest(found) == tree.digest(wanted)
  assert tree.digest(state.controller) != before


def test_additive_carries_and_logs_nothing_more():
  parts = make_parts()
  state, rows = run(jax.jit(make_step(parts, SETTINGS, JOINT)), start(parts))
  assert state.penalty == {}
  assert set(rows[0]) == {
    *("loss", "cross_entropy", "penalty", "expected_cost", "accuracy"),
    *("temperature", "entropy"),
  }


# What is priced.


@pytest.mark.parametrize("per_example", [False, True])
@pytest.mark.parametrize("sample", [False, True])
def test_the_expected_or_the_sampled_mix_is_priced(sample, per_example):
  latencies = []

  def added(state, cross_entropy, costs):
    latencies.append(costs)
    return costs.latency_ms

  parts = make_parts(penalty=penalty.additive()._replace(added=added))
  settings = SETTINGS._replace(price_sample=sample)
  estimator = reparameterised(gumbel_softmax, 8 if per_example else None)
  step = make_step(parts, settings, Phase(estimator, joint=True))
  rows = [run(jax.jit(step), start(parts, seed))[1][0] for seed in range(4)]
  gaps = [abs(row["penalty"] - row["expected_cost"]) for row in rows]
  assert max(gaps) < 1e-5 or sample
  assert min(gaps) > 1e-3 or not sample
  assert all(c.priced.shape == c.latency_ms.shape == () for c in latencies)


def test_a_sample_is_priced_by_the_mean_of_its_batch():
  """Straight-through samples: the latency is a mean of vertices."""
  parts = make_parts(
    penalty=penalty.additive()._replace(
      added=lambda state, cross_entropy, costs: costs.latency_ms
    ),
  )
  settings, sampler = SETTINGS._replace(price_sample=True), straight_through
  state, phase = start(parts), Phase(reparameterised(sampler, 8), joint=True)
  row = run(jax.jit(make_step(parts, settings, phase)), start(parts))[1][0]
  key = jax.random.fold_in(jax.random.fold_in(state.key, 2), state.step)
  weights_key = jax.random.split(key, 3)[1]
  features = FIXED.features(FIXED.draw(jax.random.key(0)))
  logits = parts.controller.apply(state.controller, features)
  mix = sampler(weights_key, logits, jnp.ones(()), 8).weights
  wanted = 1.5 + np.mean([(COSTS * np.asarray(m)).sum() for m in mix])
  np.testing.assert_allclose(row["penalty"], wanted, rtol=1e-5)


# Dual ascent in the step.


@pytest.mark.parametrize("bilevel", [False, True])
@pytest.mark.parametrize("rule", rules.MASKS)
def test_the_multiplier_follows_the_derived_network(rule, bilevel):
  parts = aimed(3.0, rule)
  phase = JOINT._replace(joint=not bilevel)
  steps = jax.jit(make_step(parts, SETTINGS, phase))
  state, multiplier = start(parts), 0.0
  for _ in range(3):
    state, rows = run(steps, state)
    latency = derived_ms(parts, state, rule)
    np.testing.assert_allclose(rows[0]["derived_latency_ms"], latency, 1e-5)
    multiplier += 5.0 / penalty.SETTLE_STEPS * (latency / 3.0 - 1)
    np.testing.assert_allclose(state.penalty["multiplier"], multiplier, 1e-4)
    assert rows[0]["multiplier"] == state.penalty["multiplier"]


def test_the_multiplier_waits_for_the_warm_up():
  parts = aimed(3.0)
  ((phase, _),) = phases.plan(JOINT, 300, warmup_steps=3)
  steps = jax.jit(make_step(parts, SETTINGS, phase))
  warm, _ = run(steps, start(parts), 3)
  assert warm.penalty["multiplier"] == warm.penalty["gap"] == 0
  after, _ = run(steps, warm)
  assert after.penalty["multiplier"] != 0


def test_the_pace_scales_the_steps_of_the_controller_alone():
  parts = aimed(3.0)
  halved = parts._replace(
    penalty=parts.penalty._replace(pace=lambda state, progress: 0.25)
  )
  first = start(parts)
  found = [
    run(jax.jit(make_step(p, SETTINGS, JOINT)), start(p))[0]
    for p in (parts, halved)
  ]
  moved = [
    jax.tree.map(lambda a, b: a - b, s.controller, first.controller)
    for s in found
  ]
  quarter = jax.tree.map(lambda m: 0.25 * m, moved[0])
  chex.assert_trees_all_close(moved[1], quarter, rtol=1e-3, atol=1e-7)
  assert tree.digest(found[0].weights) == tree.digest(found[1].weights)


def test_a_resumed_search_keeps_its_multiplier(tmp_path):
  parts = aimed(3.0)
  steps = jax.jit(repeat(make_step(parts, SETTINGS, JOINT), 3))
  whole, _ = run(steps, start(parts), 2)
  half, _ = run(steps, start(parts))
  checkpoint.save(tmp_path, 3, half, {})
  like = jax.eval_shape(lambda: start(parts))
  _, restored, _ = checkpoint.restore_latest(tmp_path, like)
  assert restored.penalty["multiplier"] == half.penalty["multiplier"] != 0
  resumed, _ = run(steps, restored)
  assert tree.digest(resumed) == tree.digest(whole)
  # It counts: a multiplier that was forgotten leads elsewhere.
  forgot = jax.tree.map(jnp.zeros_like, restored.penalty)
  forgot |= {k: restored.penalty[k] for k in ("target_ms", "strength")}
  restored = checkpoint.restore_latest(tmp_path, like)[1]
  astray, _ = run(steps, _with_penalty(restored, forgot))
  assert tree.digest(astray.controller) != tree.digest(whole.controller)


def _with_penalty(state, found):
  return dataclasses.replace(state, penalty=found)


def test_another_target_is_no_other_compile():
  traces = []
  step = make_step(aimed(3.0), SETTINGS, JOINT)

  @jax.jit
  def steps(*arguments):
    traces.append(1)
    return step(*arguments)

  ends = [run(steps, start(aimed(t)))[0].penalty for t in (3.0, 5.0)]
  assert [float(end["target_ms"]) for end in ends] == [3.0, 5.0]
  assert ends[0]["multiplier"] > ends[1]["multiplier"] and len(traces) == 1


@pytest.fixture(scope="module")
def searches():
  """By rule: a compiled dispatch of 25 steps, whatever the target."""
  return {
    rule: jax.jit(repeat(make_step(aimed(3.0, rule), SETTINGS, JOINT), 25))
    for rule in rules.MASKS
  }


@pytest.mark.parametrize("rule", rules.MASKS)
@pytest.mark.parametrize("part", [0.2, 0.5, 0.8])
def test_dual_ascent_hits_the_target(searches, rule, part):
  """At the end within a few per cent, and on the mean before it parks."""
  low, high = reach.bounds_ms(SPACE, COSTS, 1.5, rule)
  target = low + part * (high - low)
  parts = aimed(target, rule)
  state, rows = run(searches[rule], start(parts), 12)
  mean = np.mean([row["derived_latency_ms"] for row in rows[6:9]])
  np.testing.assert_allclose(mean, target, rtol=0.05)
  np.testing.assert_allclose(derived_ms(parts, state, rule), target, rtol=0.1)
