"""Penalties: what a search adds to the cross-entropy for what a mix costs.

    loss = CE + added(state, CE, costs)

L is the latency of the mix in ms, T the target, both with the base that all
networks pay; strengths are numbers without a unit. Adam forgets a constant
factor of the whole loss, so the published alphas are left out: the forms that
multiply have the factor 1 at L = T, where they leave the weights alone, and
elsewhere scale the weights' learning rate too, as FBNet's one loss does.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from hwnas_jax.core.types import Array

State = dict[str, Array]  # scalars by name; they are saved, and logged


class Costs(NamedTuple):
  """What a mix costs.

  priced: [] sum of price[E, O] * mix[E, O] under the step's condition.
  latency_ms: [] base + sum of reference[E, O] * mix[E, O].
  """

  priced: Array
  latency_ms: Array


class Penalty(NamedTuple):
  """Three pure functions.

  init() -> state. added(state, cross_entropy, costs) -> [].
  update(state, latency_ms) -> state, given the latency of the network that
  the controller gives after its step.
  """

  init: Callable[[], State]
  added: Callable[[State, Array, Costs], Array]
  update: Callable[[State, Array], State]


def _stateless(added: Callable[[Array, Costs], Array]) -> Penalty:
  return Penalty(
    dict,
    lambda state, cross_entropy, costs: added(cross_entropy, costs),
    lambda state, latency_ms: state,
  )


def additive() -> Penalty:
  """CE + sum of price * mix (DARTS-CC, the simplex method; research 10.3).

  Its pull on the logits is the price whatever the latency: it has no target.
  """
  return _stateless(lambda cross_entropy, costs: costs.priced)


def hinge(target_ms: float, strength: float = 1.0) -> Penalty:
  """CE + strength * max(0, L / T - 1) (NNI's form, research 9.3).

  No pull below T, a constant one of strength / T above it.
  """
  return _stateless(
    lambda cross_entropy, costs: (
      strength * jnp.maximum(costs.latency_ms / target_ms - 1.0, 0.0)
    )
  )


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
  log_target = math.log(target_ms)
  return _stateless(
    lambda cross_entropy, costs: (
      cross_entropy
      * ((jnp.log(costs.latency_ms) / log_target) ** strength - 1.0)
    )
  )


def power(target_ms: float, strength: float = 0.1) -> Penalty:
  """CE * (L / T)^strength.

  The reward accuracy * (T / L)^0.1 of ProxylessNAS (Cai et al. 2019, section
  3.3.2; research 5.3) as a loss. The pull is strength * factor * CE / L: it
  fades as the network learns and does not stop at T.
  """
  return _stateless(
    lambda cross_entropy, costs: (
      cross_entropy * ((costs.latency_ms / target_ms) ** strength - 1.0)
    )
  )


def dual_ascent(target_ms: float, strength: float = 0.05) -> Penalty:
  """CE + m * (L / T - 1), m <- m + strength * (L_derived / T - 1).

  LightNAS (Luo et al. 2022; research 7.2): gradient descent by the logits,
  ascent by the multiplier m, which starts at 0, grows while the derived
  network is too slow and turns negative to spend what is left over.
  """

  def added(state: State, cross_entropy: Array, costs: Costs) -> Array:
    del cross_entropy
    return state["multiplier"] * (costs.latency_ms / target_ms - 1.0)

  def update(state: State, latency_ms: Array) -> State:
    gap = latency_ms / target_ms - 1.0
    return {"multiplier": state["multiplier"] + strength * gap}

  return Penalty(lambda: {"multiplier": jnp.zeros(())}, added, update)


# Those that hit or use a target: (target_ms, strength) -> Penalty.
TARGETED: dict[str, Callable[..., Penalty]] = {
  "hinge": hinge,
  "log_product": log_product,
  "power": power,
  "dual_ascent": dual_ascent,
}
PENALTIES: dict[str, Callable[..., Penalty]] = {
  "additive": additive,
  **TARGETED,
}
