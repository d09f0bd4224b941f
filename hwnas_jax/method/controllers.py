"""Controllers: (params, condition features) -> logits[E, O].

Features are what `Conditions.features` makes of a condition: the point of the
simplex and, where the scale varies, the normalised log scale after it. The
equations are in docs/methods.md#controller.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.core.types import FORBIDDEN, Array, Params
from hwnas_jax.method.conditions import Conditions, progress
from hwnas_jax.spaces.spec import Space


class Rows(NamedTuple):
  """The shape of a controller's output that is not the logits of a Space.

  shape: (E, O). group: [E]; rows of one group share pivots.
  """

  shape: tuple[int, int]
  group: tuple[int, ...]


class InitController(Protocol):
  """Fresh parameters."""

  def __call__(self, key: Array, /) -> Params:
    """A typed key -> a pytree."""


class ApplyController(Protocol):
  """The logits under a condition."""

  def __call__(self, params: Params, features: Array, /) -> Array:
    """(params, features [num_features]) -> logits [E, O]."""


class Controller(NamedTuple):
  """A controller as two pure functions.

  init: key -> parameters.
  apply: (parameters, features) -> logits [E, O].
  """

  init: InitController
  apply: ApplyController


def masked(controller: Controller, space: Space) -> Controller:
  """The controller, with FORBIDDEN logits where a choice lacks an operation."""
  allowed = space.allowed()
  if allowed.all():
    return controller

  def apply(params: Params, features: Array) -> Array:
    logits = controller.apply(params, features)
    return jnp.where(allowed, logits, FORBIDDEN)

  return Controller(controller.init, apply)


def table(space: Space | Rows) -> Controller:
  """Free logits that ignore the condition (DARTS): 1e-3 * N(0, 1) at first."""

  def init(key: Array) -> Params:
    return {"logits": 1e-3 * jax.random.normal(key, space.shape)}

  def apply(params: Params, features: Array) -> Array:
    del features
    return params["logits"]

  return Controller(init, apply)


def pivots(
  space: Space | Rows,
  conditions: Conditions,
  num_pivots: int = 5,
  sign: int = -1,
  reference_std: float = 1e-3,
  train_pivots: bool = False,
) -> Controller:
  """Gated references, with one set of pivots a group (the simplex method).

  logits[e] = sum_r gate_r reference[e, r],
  gate = softmax_r(sign * |features - pivot_r|^2).

  Args:
    space: gives E, O and the groups.
    conditions: what the features will be, and their distribution.
    num_pivots: references a choice, pivots a group.
    sign: -1, as the thesis has it: near pivots count. They start spread over
      the conditions; drawn from N(0, 1), the pivot of least norm would win the
      softmax everywhere. +1, as its published code has it: far pivots count,
      drawn from N(0, 1).
    reference_std: standard deviation of the references at first. The published
      code has 1; 1e-3, as in `table`, lets a short search forget its start.
    train_pivots: whether pivots move, as in the published code. Those at the
      ends of a scale then leave it within a search, and the logits there come
      from references that were never trained for them.

  Raises:
    ValueError: sign is neither.
  """
  if sign not in (-1, 1):
    raise ValueError(f"controller.sign must be -1 or +1, got {sign}")
  group = np.asarray(space.group)
  num_choices, num_ops = space.shape

  shape = (max(space.group) + 1, num_pivots)

  def init(key: Array) -> Params:
    pivot_key, reference_key = jax.random.split(key)
    if sign > 0:
      pivots = jax.random.normal(pivot_key, (*shape, conditions.num_features))
    else:
      pivots = jax.vmap(conditions.cover)(jax.random.split(pivot_key, shape))
    references = jax.random.normal(
      reference_key, (num_choices, num_pivots, num_ops)
    )
    return {"pivots": pivots, "references": reference_std * references}

  def apply(params: Params, features: Array) -> Array:
    pivots = params["pivots"]
    if not train_pivots:
      pivots = jax.lax.stop_gradient(pivots)
    offsets = pivots - features[None, None, :]
    gates = jax.nn.softmax(sign * jnp.square(offsets).sum(-1))  # [G, R]
    return jnp.einsum("er,ero->eo", gates[group], params["references"])

  return Controller(init, apply)


def decays(params: Params, train_pivots: bool) -> Params:
  """Which parameters decay, bool as in `params`: all but pivots that stay.

  Adam would move a pivot that has no gradient but its decay as far as others.
  """
  return jax.tree_util.tree_map_with_path(
    lambda path, _: train_pivots or path[-1].key != "pivots", params
  )


def piecewise(space: Space | Rows, num_knots: int = 5) -> Controller:
  """Logits that are piecewise linear in the scale (DARTS-CC).

  With u the normalised log scale in [0, 1] and even knots q_0 <= ... <= q_K, a
  choice's logits are interpolated between the references of the two knots
  beside u. The published knots are trained, but the pair is picked by the even
  grid: a knot that moves makes the formula extrapolate, and two equal knots
  divide by zero. Here the knots stay. References start as uniform in
  +-1 / sqrt(n), n the number of logits of the group.

  Args:
    space: gives E, O and the groups.
    num_knots: at least two.

  Raises:
    ValueError: fewer than two knots.
  """
  if num_knots < 2:
    raise ValueError(
      f"controller.num_pivots must be 2 or more, got {num_knots}"
    )
  group = np.asarray(space.group)
  bound = 1.0 / np.sqrt(np.bincount(group)[group] * space.shape[1])

  def init(key: Array) -> Params:
    shape = (num_knots, *space.shape)
    uniform = jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)
    return {"references": uniform * jnp.asarray(bound)[None, :, None]}

  def apply(params: Params, features: Array) -> Array:
    place = progress(features) * (num_knots - 1)
    weights = jnp.maximum(1.0 - jnp.abs(place - jnp.arange(num_knots)), 0.0)
    return jnp.tensordot(weights, params["references"], 1)

  return Controller(init, apply)


def mlp(
  space: Space | Rows, conditions: Conditions, widths: Sequence[int] = (64, 64)
) -> Controller:
  """A dense network from the features to all logits; they start near zero.

  Args:
    space: gives E and O.
    conditions: what the features will be.
    widths: of the hidden layers.
  """
  sizes = [conditions.num_features, *widths, int(np.prod(space.shape))]
  names = [f"layer_{i}" for i in range(len(sizes) - 1)]

  def init(key: Array) -> Params:
    gains = [1.0] * len(widths) + [1e-3]
    pairs = zip(sizes[:-1], sizes[1:], strict=True)
    keys = jax.random.split(key, len(names))
    return {
      name: {
        "kernel": gain / np.sqrt(a) * jax.random.normal(k, (a, b)),
        "bias": jnp.zeros(b),
      }
      for name, k, gain, (a, b) in zip(names, keys, gains, pairs, strict=True)
    }

  def apply(params: Params, features: Array) -> Array:
    x = features
    for name in names:
      x = x @ params[name]["kernel"] + params[name]["bias"]
      x = x if name == names[-1] else jax.nn.silu(x)
    return x.reshape(space.shape)

  return Controller(init, apply)


def mixture(
  space: Space | Rows,
  conditions: Conditions,
  num_experts: int = 10,
  num_rows: int = 11,
) -> Controller:
  """Tables of logits, weighted by the device's prices (MODNAS).

  Expert i has an embedding e_i and a table of rows along the scale; its table
  has the weight softmax_i(sin(S . e_i / sqrt(K))), with S the K prices of the
  device. The published code picks the nearest row by rounding, so neighbouring
  scales share nothing; here rows are interpolated, and logits change smoothly
  with the scale (Sukthanker et al. 2025).

  Args:
    space: gives E and O.
    conditions: with a scale, which is the last feature.
    num_experts: published: 50.
    num_rows: along the scale; published: 101.
  """
  dim = conditions.num_features - 1

  def init(key: Array) -> Params:
    embedding_key, row_key = jax.random.split(key)
    shape = (num_experts, num_rows, *space.shape)
    return {
      "embeddings": jax.random.normal(embedding_key, (num_experts, dim)),
      "rows": 1e-3 * jax.random.normal(row_key, shape),
    }

  def apply(params: Params, features: Array) -> Array:
    scores = params["embeddings"] @ features[:-1] / np.sqrt(dim)
    experts = jax.nn.softmax(jnp.sin(scores))
    place = progress(features) * (num_rows - 1)
    near = jnp.maximum(1.0 - jnp.abs(place - jnp.arange(num_rows)), 0.0)
    return jnp.einsum("i,r,ireo->eo", experts, near, params["rows"])

  return Controller(init, apply)


@dataclasses.dataclass(frozen=True)
class ControllerSettings:
  """The arguments of all controllers; each reads some of them.

  space: gives E, O and the groups.
  conditions: the distribution whose features the controller reads.
  num_pivots: pivots of each group; knots of `piecewise`.
  num_experts: of `mixture`.
  sign, reference_std, train_pivots: of `pivots`, see there.
  """

  space: Space | Rows
  conditions: Conditions
  num_pivots: int = 5
  num_experts: int = 10
  sign: int = -1
  reference_std: float = 1e-3
  train_pivots: bool = False


class MakeController(Protocol):
  """Makes a controller."""

  def __call__(self, settings: ControllerSettings, /) -> Controller:
    """What it may be made from -> the controller."""


class ControllerKind(NamedTuple):
  """How a controller is made, and the traits that a config is checked by.

  conditioned: its logits depend on the condition.
  reads_scale: it needs conditions whose scale varies.
  least_pivots: least value of num_pivots.
  """

  make: MakeController
  conditioned: bool = True
  reads_scale: bool = False
  least_pivots: int = 1


def _make_pivots(settings: ControllerSettings) -> Controller:
  return pivots(
    settings.space,
    settings.conditions,
    settings.num_pivots,
    settings.sign,
    settings.reference_std,
    settings.train_pivots,
  )


_documented = functools.update_wrapper  # (make, function): with its docstring

# Read when it is used: an entry that is added at run time counts.
CONTROLLERS: dict[str, ControllerKind] = {
  "table": ControllerKind(
    _documented(lambda s: table(s.space), table), conditioned=False
  ),
  "pivots": ControllerKind(_documented(_make_pivots, pivots)),
  "piecewise": ControllerKind(
    _documented(lambda s: piecewise(s.space, s.num_pivots), piecewise),
    reads_scale=True,
    least_pivots=2,
  ),
  "mlp": ControllerKind(_documented(lambda s: mlp(s.space, s.conditions), mlp)),
  "mixture": ControllerKind(
    _documented(
      lambda s: mixture(s.space, s.conditions, s.num_experts), mixture
    ),
    reads_scale=True,
  ),
}
