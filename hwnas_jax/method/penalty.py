"""Penalties: the term that a search's loss has for the cost of a mix.

    loss = CE + added(state, CE, costs)

L is the latency of the mix in ms and T the target, both with the base that
every network pays; strengths are numbers without a unit. Under Adam a constant
factor of the whole loss does nothing, so the published alphas are left out:
the forms that multiply have the factor 1 at L = T, where the weights train as
without a penalty, and elsewhere scale the weights' learning rate too, as
FBNet's one loss does. The equations are in docs/methods.md#penalties.

L counts every choice of the mix. Where the derived network keeps only some of
a node's choices (`top_k`) it is faster than L, and only dual ascent, which
reads the derived network's latency, can hit T.
"""

import dataclasses
import functools
from typing import NamedTuple, Protocol

import jax.numpy as jnp

from hwnas_jax.core.types import Array

SETTLE_STEPS = 100  # of dual ascent: a controller's steps across its logits
PARKING = 0.2  # of the search: its last part, where dual ascent may stop
NEAR = 0.2  # |gap| at which it stops at the very end

State = dict[str, Array]  # scalars by name; they are saved, and logged


class Costs(NamedTuple):
  """The costs of a mix.

  priced: [] sum of price[E, O] * mix[E, O] under the step's condition.
  latency_ms: [] base + sum of reference[E, O] * mix[E, O].
  """

  priced: Array
  latency_ms: Array


class InitPenalty(Protocol):
  """The penalty's state before the first step."""

  def __call__(self) -> State:
    """The state, with target and strength: other values need no new compile."""


class Added(Protocol):
  """What is added to the cross-entropy."""

  def __call__(
    self, state: State, cross_entropy: Array, costs: Costs, /
  ) -> Array:
    """(state, cross-entropy [], costs of the mix) -> []."""


class UpdatePenalty(Protocol):
  """The penalty's own step, after the controller's."""

  def __call__(self, state: State, latency_ms: Array, /) -> State:
    """(state, latency [] of the network derived now) -> state."""


class Pace(Protocol):
  """A factor of the controller's steps."""

  def __call__(self, state: State, progress: Array, /) -> Array | float:
    """(state, progress of the search in [0, 1]) -> []."""


class Derived(Protocol):
  """The network that would be derived from logits, as a mask."""

  def __call__(self, logits: Array, /) -> Array:
    """logits [E, O] -> mask [E, O], one-hot in the kept rows."""


def _unchanged(state: State, latency_ms: Array) -> State:
  del latency_ms
  return state


def _full_pace(state: State, progress: Array) -> Array | float:
  del state, progress
  return 1.0


class Penalty(NamedTuple):
  """Pure functions.

  derived: of the space and its rule, for a penalty with a target: `update` is
  called with that network's latency, and it is logged with the state. None:
  `update` is not called.
  """

  init: InitPenalty
  added: Added
  update: UpdatePenalty = _unchanged
  pace: Pace = _full_pace
  derived: Derived | None = None


def _state(target_ms: float, strength: float, *zeros: str) -> State:
  values = {"target_ms": target_ms, "strength": strength}
  values |= dict.fromkeys(zeros, 0.0)
  return {name: jnp.asarray(v, jnp.float32) for name, v in values.items()}


def additive() -> Penalty:
  """CE + sum of price * mix (DARTS-CC, the simplex method).

  Its pull on the logits is the price, whatever the latency: it has no target.
  """
  return Penalty(dict, lambda state, cross_entropy, costs: costs.priced)


def none() -> Penalty:
  """CE alone (DARTS)."""
  return Penalty(dict, lambda state, cross_entropy, costs: jnp.zeros(()))


def hinge(target_ms: float, strength: float = 1.0) -> Penalty:
  """CE + strength * max(0, L / T - 1), one of the forms in NNI.

  No pull below T, a constant one of strength / T above it.
  """

  def added(state: State, cross_entropy: Array, costs: Costs) -> Array:
    del cross_entropy
    excess = jnp.maximum(costs.latency_ms / state["target_ms"] - 1.0, 0.0)
    return state["strength"] * excess

  return Penalty(lambda: _state(target_ms, strength), added)


def log_product(target_ms: float, strength: float = 0.6) -> Penalty:
  """CE * (log L / log T)^strength, L and T in ms.

  FBNet (Wu et al. 2019, section 3.2) with T = e ms and strength 0.6;
  ProxylessNAS's published code, `mul#log`, with strength 0.3. The pull is
  strength * factor * CE / (L log L): it fades as the network learns and is
  there below T too, so the search does not stop at T.

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

  The reward accuracy * (T / L)^0.1 of ProxylessNAS (Cai et al. 2019, section
  3.3.2) as a loss. The pull is strength * factor * CE / L: it fades as the
  network learns and does not stop at T.
  """

  def added(state: State, cross_entropy: Array, costs: Costs) -> Array:
    ratio = costs.latency_ms / state["target_ms"]
    return cross_entropy * (ratio ** state["strength"] - 1.0)

  return Penalty(lambda: _state(target_ms, strength), added)


def dual_ascent(target_ms: float, strength: float = 5.0) -> Penalty:
  """CE + (m + strength * gap) * (L / T - 1), gap = L_derived / T - 1.

  LightNAS (Luo et al. 2022): descent by the logits, ascent by the multiplier
  m, which starts at 0 and follows m <- m + strength / SETTLE_STEPS * gap. It
  grows while the derived network is too slow and turns negative to spend what
  is left of the target. The term in `gap` is ours: without it m and the
  latency circle about T, as gradient steps at a saddle point do; it damps them
  as the PID Lagrangian of Stooke et al. 2020 does. The published code also
  resets m at T, which makes it chatter; that is left out.

  The pull is (m + strength * gap) / T, in either direction, until the derived
  network takes T. In the last fifth of the search the controller's steps are
  scaled by |gap|, as LightNAS's are, and are 0 once |gap| is within a
  tolerance that grows from 0 to NEAR. Choices are discrete, so the derived
  network jumps over T; a growing tolerance catches the jump that comes
  nearest.
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


@dataclasses.dataclass(frozen=True)
class PenaltySettings:
  """The numbers that a penalty may read.

  target_ms: with the base; only for penalties that are targeted.
  strength: None is the penalty's own default.
  """

  target_ms: float = 0.0
  strength: float | None = None


class MakePenalty(Protocol):
  """Makes a penalty."""

  def __call__(self, settings: PenaltySettings, /) -> Penalty:
    """Its numbers -> the penalty."""


class PenaltyKind(NamedTuple):
  """How a penalty is made, and the traits that a config is checked by.

  targeted: it reads a target; the search is then for one network.
  hits_target: the search ends at its target, so a network is derived that
    takes it.
  above_ms: every latency has to be above this.
  multiplies: it multiplies the cross-entropy, which a surrogate's quality, of
    either sign, cannot replace.
  """

  make: MakePenalty
  targeted: bool = False
  hits_target: bool = False
  above_ms: float = 0.0
  multiplies: bool = False


class _Targeted(Protocol):
  def __call__(self, target_ms: float, strength: float = ...) -> Penalty: ...


class _Untargeted(Protocol):
  def __call__(self) -> Penalty: ...


def _by_target(penalty: _Targeted) -> MakePenalty:
  """Makes a penalty with a target; without a strength it has its default."""

  @functools.wraps(penalty)
  def make(settings: PenaltySettings) -> Penalty:
    if settings.strength is None:
      return penalty(settings.target_ms)
    return penalty(settings.target_ms, settings.strength)

  return make


def _without_target(penalty: _Untargeted) -> MakePenalty:
  """Makes a penalty that reads no numbers."""

  @functools.wraps(penalty)
  def make(settings: PenaltySettings) -> Penalty:
    del settings
    return penalty()

  return make


# Read when it is used: an entry that is added at run time counts.
PENALTIES: dict[str, PenaltyKind] = {
  "none": PenaltyKind(_without_target(none)),
  "additive": PenaltyKind(_without_target(additive)),
  "hinge": PenaltyKind(_by_target(hinge), targeted=True),
  "log_product": PenaltyKind(
    _by_target(log_product), targeted=True, above_ms=1.0, multiplies=True
  ),
  "power": PenaltyKind(_by_target(power), targeted=True, multiplies=True),
  "dual_ascent": PenaltyKind(
    _by_target(dual_ascent), targeted=True, hits_target=True
  ),
}
