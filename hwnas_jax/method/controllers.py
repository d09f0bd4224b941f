"""Controllers: (params, condition features) -> logits[E, O].

`features` is what `core.conditions` makes of a Condition: the point of the
simplex, and on the price cone the normalised log scale behind it.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.core.types import FORBIDDEN, Array, Params
from hwnas_jax.method.conditions import Conditions, progress
from hwnas_jax.spaces.spec import Space


class Rows(NamedTuple):
  """What a controller gives, where that is not the logits of a Space.

  shape: (E, O). group: [E], rows of one group share what is grouped.
  """

  shape: tuple[int, int]
  group: tuple[int, ...]


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


def table(space: Space | Rows) -> Controller:
  """Free logits, deaf to the condition (DARTS): 1e-3 * N(0, 1) at first."""

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


def piecewise(space: Space | Rows, num_knots: int = 5) -> Controller:
  """Logits that are piecewise linear in the scale (DARTS-CC; research 2.2).

  With u = the normalised log scale in [0, 1] and knots q_0 <= ... <= q_K a
  choice's logits are interpolated between the references of the two knots
  about u. The knots are even and stay: published ones move, but the two are
  picked by the even grid, so that they extrapolate and may divide by zero
  (research 2.6). References start as U(+-1 / sqrt(edges * O)) of a group.

  Args:
    space: gives E, O and the groups.
    num_knots: two at least.
  """
  group = np.asarray(space.group)
  bound = 1.0 / np.sqrt(np.bincount(group)[group] * space.shape[1])

  def init(key: Array) -> Params:
    shape = (num_knots, *space.shape)
    uniform = jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)
    return {"references": uniform * jnp.asarray(bound)[None, :, None]}

  def apply(params: Params, features: Array) -> Array:
    at = progress(features) * (num_knots - 1)
    weights = jnp.maximum(1.0 - jnp.abs(at - jnp.arange(num_knots)), 0.0)
    return jnp.tensordot(weights, params["references"], 1)

  return Controller(init, apply)


def mlp(
  space: Space | Rows, conditions: Conditions, widths: Sequence[int] = (64, 64)
) -> Controller:
  """A dense network from the condition to all logits; it starts near zero.

  Args:
    space: gives E and O.
    conditions: what features it will read.
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
  """Tables of pseudo-devices, attended by the device (MODNAS; research 8.1).

  Expert i has an embedding and a table of rows along the scale; the weight
  of its table is softmax_i(sin(d . e_i / sqrt(dim))), with d the prices S of
  the device. Published rows share nothing and are picked by rounding; here
  they are interpolated, so that logits change smoothly with the scale.

  Args:
    space: gives E and O.
    conditions: a cone, whose last feature is the scale.
    num_experts: pseudo-devices, 50 as published.
    num_rows: along the scale, 101 as published.
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
    at = progress(features) * (num_rows - 1)
    near = jnp.maximum(1.0 - jnp.abs(at - jnp.arange(num_rows)), 0.0)
    return jnp.einsum("i,r,ireo->eo", experts, near, params["rows"])

  return Controller(init, apply)
