"""Penalties: what a search adds to the cross-entropy for what a mix costs.

    loss = CE + added(state, CE, costs)

L is the latency of the mix in ms, T the target, both with the base that all
networks pay; strengths are numbers without a unit. Adam forgets a constant
factor of the whole loss, so the published alphas are left out: the forms that
multiply have the factor 1 at L = T, where they leave the weights alone, and
elsewhere scale the weights' learning rate too, as FBNet's one loss does.

L counts every choice of the mix. Where the derived network keeps a few a node
(`top_k`) it is smaller, and only dual ascent, which looks at that network,
can hit T.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from hwnas_jax.core.types import Array

SETTLE_STEPS = 100  # of dual ascent: a controller's steps across its logits
PARKING = 0.2  # of the search: its last part, where dual ascent may stop
NEAR = 0.2  # |gap| at which it stops at the very end

State = dict[str, Array]  # scalars by name; they are saved, and logged


class Costs(NamedTuple):
  """What a mix costs.

  priced: [] sum of price[E, O] * mix[E, O] under the step's condition.
  latency_ms: [] base + sum of reference[E, O] * mix[E, O].
  """

  priced: Array
  latency_ms: Array


def _unchanged(state: State, latency_ms: Array) -> State:
  del latency_ms
  return state


def _full_pace(state: State, progress: Array) -> Array | float:
  del state, progress
  return 1.0


class Penalty(NamedTuple):
  """Pure functions.

  init() -> state. Target and strength are in it: with other ones the compiled
  step is the same. added(state, cross_entropy, costs) -> []. update(state,
  latency_ms) -> state, given the latency of the network that the controller
  gives after its step. pace(state, progress) -> [], a factor of the
  controller's steps.
  """

  init: Callable[[], State]
  added: Callable[[State, Array, Costs], Array]
  update: Callable[[State, Array], State] = _unchanged
  pace: Callable[[State, Array], Array | float] = _full_pace


def _state(target_ms: float, strength: float, *zeros: str) -> State:
  given = {"target_ms": target_ms, "strength": strength}
  given |= dict.fromkeys(zeros, 0.0)
  return {name: jnp.asarray(v, jnp.float32) for name, v in given.items()}


def additive() -> Penalty:
  """CE + sum of price * mix (DARTS-CC, the simplex method; research 10.3).

  Its pull on the logits is the price whatever the latency: it has no target.
  """
  return Penalty(dict, lambda state, cross_entropy, costs: costs.priced)


def none() -> Penalty:
  """CE alone (DARTS)."""
  return Penalty(dict, lambda state, cross_entropy, costs: jnp.zeros(()))


def hinge(target_ms: float, strength: float = 1.0) -> Penalty:
  """CE + strength * max(0, L / T - 1) (NNI's form, research 9.3).

  No pull below T, a constant one of strength / T above it.
  """

  def added(state: State, cross_entropy: Array, costs: Costs) -> Array:
    del cross_entropy
    excess = jnp.maximum(costs.latency_ms / state["target_ms"] - 1.0, 0.0)
    return state["strength"] * excess

  return Penalty(lambda: _state(target_ms, strength), added)


def log_product(target_ms: float, strength: float = 0.6) -> Penalty:
  """CE * (log L / log T)^strength, L and T in ms.

  FBNet (Wu et al. 2019, section 3; research 4.1) with T = e and strength 0.6;
  ProxylessNAS's `mul#log` (research 5.2) with 0.3. The pull is
  strength * factor * CE / (L log L): it fades as the network learns, and is
  there below T too, so that T is no target that it stops at.

  Raises:
    ValueError: T <= 1 ms, where the logarithm changes its sign. The L of
      every mix has to be above 1 ms too.
  """
  if target_ms <= 1:
    raise ValueError(
      "penalty.name=log_product needs latencies above 1 ms, penalty.target is"
      f" {target_ms:g} ms: use another penalty or a larger latency.batch_size"
    )

  def added(state: State, cross_entropy: Array, costs: Costs) -> Array:
    ratio = jnp.log(costs.latency_ms) / jnp.log(state["target_ms"])
    return cross_entropy * (ratio ** state["strength"] - 1.0)

  return Penalty(lambda: _state(target_ms, strength), added)


def power(target_ms: float, strength: float = 0.1) -> Penalty:
  """CE * (L / T)^strength.

  The reward accuracy * (T / L)^0.1 of ProxylessNAS (Cai et al. 2019; research
  5.3) as a loss. The pull is strength * factor * CE / L: it
  fades as the network learns and does not stop at T.
  """

  def added(state: State, cross_entropy: Array, costs: Costs) -> Array:
    ratio = costs.latency_ms / state["target_ms"]
    return cross_entropy * (ratio ** state["strength"] - 1.0)

  return Penalty(lambda: _state(target_ms, strength), added)


def dual_ascent(target_ms: float, strength: float = 5.0) -> Penalty:
  """CE + (m + strength * gap) * (L / T - 1), gap = L_derived / T - 1.

  m <- m + strength / SETTLE_STEPS * gap, from 0. LightNAS (Luo et al. 2022;
  research 7.2): descent by the logits, ascent by the multiplier m, which
  grows while the derived network is too slow and turns negative to spend
  what is left over. Without the term in `gap`, which is ours, the two circle
  about T, as gradient steps at a saddle do; it damps them like the PID
  Lagrangian of Stooke et al. 2020. LightNAS's reset of m at T, which makes
  it chatter (research 7.3), is left out.

  The pull is (m + strength * gap) / T, either way, until the derived network
  takes T. In the last fifth of the search the controller's steps are scaled
  by |gap|, as LightNAS's are, and are none once |gap| is within a tolerance
  that grows from 0 to NEAR. Choices are discrete, so that the derived network
  jumps to and fro over T: growing, it catches the jump that comes nearest.
  """

  def added(state: State, cross_entropy: Array, costs: Costs) -> Array:
    del cross_entropy
    multiplier = state["multiplier"] + state["strength"] * state["gap"]
    return multiplier * (costs.latency_ms / state["target_ms"] - 1.0)

  def update(state: State, latency_ms: Array) -> State:
    gap = latency_ms / state["target_ms"] - 1.0
    multiplier = state["multiplier"] + state["strength"] / SETTLE_STEPS * gap
    return {**state, "multiplier": multiplier, "gap": gap}

  def pace(state: State, progress: Array) -> Array:
    parked = 1.0 - (1.0 - progress) / PARKING  # of the parking, < 0 before it
    gap = jnp.abs(state["gap"])
    near = jnp.where(gap <= NEAR * parked**2, 0.0, jnp.minimum(gap, 1.0))
    return jnp.where(parked < 0, 1.0, near)

  init = lambda: _state(target_ms, strength, "multiplier", "gap")  # noqa: E731
  return Penalty(init, added, update, pace)


# Those that hit or use a target: (target_ms, strength) -> Penalty.
TARGETED: dict[str, Callable[..., Penalty]] = {
  "hinge": hinge,
  "log_product": log_product,
  "power": power,
  "dual_ascent": dual_ascent,
}
PENALTIES: dict[str, Callable[..., Penalty]] = {
  "none": none,
  "additive": additive,
  **TARGETED,
}
