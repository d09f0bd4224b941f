"""Controllers: (params, condition features) -> logits[E, O].

`features` is what `core.conditions` makes of a Condition: the point of the
simplex, and on the price cone the normalised log scale behind it.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.core.conditions import Conditions
from hwnas_jax.core.types import Array, Params
from hwnas_jax.spaces.spec import Space

# Of an operation that a choice lacks: exp(FORBIDDEN) is 0, and unlike -inf it
# gives no NaN where it is multiplied by 0.
FORBIDDEN = -1e9


class Controller(NamedTuple):
  """init(key) -> params; apply(params, features[D]) -> logits[E, O]."""

  init: Callable[[Array], Params]
  apply: Callable[[Params, Array], Array]


def masked(controller: Controller, space: Space) -> Controller:
  """The controller, with FORBIDDEN logits where a choice lacks an operation."""
  allowed = space.allowed()
  if allowed.all():
    return controller

  def apply(params: Params, features: Array) -> Array:
    logits = controller.apply(params, features)
    return jnp.where(allowed, logits, FORBIDDEN)

  return Controller(controller.init, apply)


def table(space: Space) -> Controller:
  """Free logits, deaf to the condition (DARTS): 1e-3 * N(0, 1) at first."""

  def init(key: Array) -> Params:
    return {"logits": 1e-3 * jax.random.normal(key, space.shape)}

  def apply(params: Params, features: Array) -> Array:
    del features
    return params["logits"]

  return Controller(init, apply)


def pivots(
  space: Space,
  conditions: Conditions,
  num_pivots: int = 5,
  sign: int = -1,
  reference_std: float = 1e-3,
  train_pivots: bool = False,
) -> Controller:
  """Gated references, one set of pivots a group (research 3.1, 3.2).

  logits[e] = sum_r gate_r reference[e, r],
  gate = softmax_r(sign * |features - pivot_r|^2).

  Args:
    space: gives E, O and the groups.
    conditions: what features the controller will read, and their law.
    num_pivots: references a group.
    sign: -1 is the paper's text: near pivots count. They start over
      the conditions (drawn from N(0, 1), the one of least norm would win the
      softmax everywhere). +1 is its published code: far pivots count, drawn
      from N(0, 1) (research 3.6, F5).
    reference_std: of the references at first. The published code has 1;
      1e-3, as in `table`, lets a short search forget where it started.
    train_pivots: whether they move, as in the published code. Where they do,
      those at the ends of a scale leave it within a search, and the ends are
      left to what was never trained.

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
      at = jax.random.normal(pivot_key, (*shape, conditions.num_features))
    else:
      at = jax.vmap(conditions.cover)(jax.random.split(pivot_key, shape))
    references = jax.random.normal(
      reference_key, (num_choices, num_pivots, num_ops)
    )
    return {"pivots": at, "references": reference_std * references}

  def apply(params: Params, features: Array) -> Array:
    at = params["pivots"]
    if not train_pivots:
      at = jax.lax.stop_gradient(at)
    offsets = at - features[None, None, :]
    gates = jax.nn.softmax(sign * jnp.square(offsets).sum(-1))  # [G, R]
    return jnp.einsum("er,ero->eo", gates[group], params["references"])

  return Controller(init, apply)
