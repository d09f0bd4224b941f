"""Penalties: values and pulls by hand, and dual ascent that hits its target."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hwnas_jax.method import penalty
from hwnas_jax.method.penalty import PENALTIES, Costs, PenaltySettings

T = 4.0
CE = 0.7
# By name: (strength, what is added at latency L, its slope by L).
BY_HAND = {
  "hinge": (
    3.0,
    lambda at: 3.0 * max(0.0, at / T - 1),
    lambda at: 3.0 / T if at > T else 0.0,
  ),
  "log_product": (
    0.5,
    lambda at: CE * ((np.log(at) / np.log(T)) ** 0.5 - 1),
    lambda at: 0.5 * CE * np.log(at) ** -0.5 / np.log(T) ** 0.5 / at,
  ),
  "power": (
    0.25,
    lambda at: CE * ((at / T) ** 0.25 - 1),
    lambda at: 0.25 * CE * at**-0.75 / T**0.25,
  ),
  "dual_ascent": (
    0.5,
    lambda at: (0.3 + 0.5 * -0.2) * (at / T - 1),
    lambda at: (0.3 + 0.5 * -0.2) / T,
  ),
}
STATES = {"dual_ascent": {"multiplier": 0.3, "gap": -0.2}}


def make(name, strength=None):
  return PENALTIES[name].make(PenaltySettings(T, strength))


def added(name, latency_ms, cross_entropy=CE):
  made = make(name, BY_HAND[name][0])
  fresh = {k: float(v) for k, v in made.init().items()}
  state = {k: jnp.asarray(v) for k, v in (fresh | STATES.get(name, {})).items()}
  costs = Costs(jnp.asarray(99.0), jnp.asarray(latency_ms))
  return made.added(state, jnp.asarray(cross_entropy), costs)


def test_all_that_have_a_target_are_tried():
  targeted = {name for name, kind in PENALTIES.items() if kind.targeted}
  assert set(BY_HAND) == targeted
  assert set(PENALTIES) == {*targeted, "additive", "none"}


@pytest.mark.parametrize("name", BY_HAND)
@pytest.mark.parametrize("latency_ms", [1.5, 3.9, 4.1, 20.0])
def test_value_and_pull_by_hand(name, latency_ms):
  _, value, slope = BY_HAND[name]
  with jax.enable_x64(True):
    at = functools.partial(added, name)
    found, pull = map(float, jax.value_and_grad(at)(latency_ms))
    eps = 1e-6
    above, below = float(at(latency_ms + eps)), float(at(latency_ms - eps))
  np.testing.assert_allclose(found, value(latency_ms), rtol=1e-9, atol=1e-12)
  np.testing.assert_allclose(pull, slope(latency_ms), rtol=1e-9, atol=1e-12)
  difference = (above - below) / (2 * eps)
  np.testing.assert_allclose(pull, difference, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", BY_HAND)
def test_nothing_is_added_at_the_target(name):
  np.testing.assert_allclose(added(name, T), 0.0, atol=1e-6)


@pytest.mark.parametrize(
  ("name", "multiplies"),
  [
    ("hinge", False),
    ("log_product", True),
    ("power", True),
    ("dual_ascent", False),
  ],
)
def test_what_multiplies_follows_the_cross_entropy(name, multiplies):
  at = [float(added(name, 6.0, cross_entropy)) for cross_entropy in (0.5, 1.0)]
  assert at[0] != 0
  np.testing.assert_allclose(at[1] / at[0], 2 if multiplies else 1, rtol=1e-4)


def test_additive_is_the_priced_mix_alone():
  costs = Costs(jnp.asarray(0.25), jnp.asarray(9.0))
  made = penalty.additive()
  assert made.init() == {} == made.update({}, jnp.asarray(1.0))
  assert made.added({}, jnp.asarray(CE), costs) == 0.25
  assert made.pace({}, jnp.asarray(1.0)) == 1.0


def test_fbnet_is_the_target_e():
  """CE * log(LAT)^0.6 (Wu et al. 2019); the factor 0.2 of it is left out."""
  costs = Costs(jnp.asarray(0.0), jnp.asarray(25.0))
  made = penalty.log_product(float(np.e))
  loss = CE + made.added(made.init(), jnp.asarray(CE), costs)
  np.testing.assert_allclose(loss, CE * np.log(25.0) ** 0.6, rtol=1e-6)


@pytest.mark.parametrize("target_ms", [0.5, 1.0])
def test_a_logarithm_of_less_than_1_ms_is_refused(target_ms):
  with pytest.raises(ValueError, match=r"log_product .*above 1 ms.*target"):
    penalty.log_product(target_ms)


# Dual ascent.


def test_the_multiplier_by_hand():
  made = penalty.dual_ascent(T, 0.5)
  state = made.init()
  assert state["multiplier"] == state["gap"] == 0
  for latency_ms, gap in ((6.0, 0.5), (6.0, 0.5), (2.0, -0.5), (2.0, -0.5)):
    state = made.update(state, jnp.asarray(latency_ms))
    assert state["gap"] == gap
  # Up twice and down twice: it is 0 again, and goes on below it.
  np.testing.assert_allclose(state["multiplier"], 0.0, atol=1e-9)
  state = made.update(state, jnp.asarray(2.0))
  np.testing.assert_allclose(state["multiplier"], -0.5 * 0.5 / 100, rtol=1e-5)


@pytest.mark.parametrize(
  ("progress", "gap", "pace"),
  [
    (0.0, 0.0, 1.0),
    (0.79, 0.0, 1.0),
    (0.9, 0.5, 0.5),
    (0.9, -0.1, 0.1),
    (0.9, 0.06, 0.06),  # the tolerance is 0.05 by now
    (0.9, 0.04, 0.0),
    (1.0, -0.19, 0.0),
    (0.9, 7.0, 1.0),
  ],
)
def test_it_parks_at_the_target(progress, gap, pace):
  state = {"multiplier": jnp.asarray(2.0), "gap": jnp.asarray(gap)}
  found = penalty.dual_ascent(T).pace(state, jnp.asarray(progress))
  np.testing.assert_allclose(found, pace, rtol=1e-5)


def descend(made, cross_entropy_of, steps=3000):
  """(latencies on the way, last state): the unknown is the latency itself."""
  optimiser = optax.adam(0.02, b1=0.5)

  def loss(x, state):
    cross_entropy = cross_entropy_of(x)
    return cross_entropy + made.added(state, cross_entropy, Costs(x, x))

  def step(carry, _):
    x, moments, state = carry
    updates, moments = optimiser.update(jax.grad(loss)(x, state), moments)
    x = optax.apply_updates(x, updates)
    return (x, moments, made.update(state, x)), x

  x = jnp.asarray(3.0)
  start = x, optimiser.init(x), made.init()
  (_, _, state), path = jax.lax.scan(step, start, None, steps)
  return np.asarray(path), state


def bowl(wanted_ms):
  """A network that would like `wanted_ms`."""
  return lambda x: 1.0 + 0.5 * (x - wanted_ms) ** 2


@pytest.mark.parametrize("wanted_ms", [4.6, 3.4])
def test_dual_ascent_converges_from_above_and_from_below(wanted_ms):
  path, state = descend(penalty.dual_ascent(T, 10.0), bowl(wanted_ms))
  np.testing.assert_allclose(path[-300:], T, rtol=2e-3)
  # The multiplier is the price that balances the cross-entropy at T.
  balance = (wanted_ms - T) * T
  np.testing.assert_allclose(state["multiplier"], balance, rtol=0.05)


@pytest.mark.parametrize("slope", [-0.1, 0.1])
def test_the_damping_ends_the_circles(slope):
  """LightNAS's rule as published goes round T where nothing is curved."""

  def undamped(state, cross_entropy, costs):
    del cross_entropy
    return state["multiplier"] * (costs.latency_ms / T - 1)

  made = penalty.dual_ascent(T)
  rounds, _ = descend(made._replace(added=undamped), lambda x: slope * x)
  path, _ = descend(made, lambda x: slope * x)
  assert np.ptp(rounds[-500:]) > 0.2 * T
  np.testing.assert_allclose(path[-500:], T, rtol=0.01)


@pytest.mark.parametrize("name", ["hinge", "power", "log_product"])
def test_the_others_rest_elsewhere(name):
  """Their constant says where: T alone does not."""
  weak = 0.1
  path, _ = descend(make(name, weak), bowl(4.6))
  assert 1.02 * T < path[-1] < 4.6
