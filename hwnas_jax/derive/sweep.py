"""The family a search gives: one network a condition."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.core.types import Condition, Genotype, Params
from hwnas_jax.method.conditions import Conditions
from hwnas_jax.method.controllers import Controller


def conditions_of(points: Sequence[tuple[Sequence[float], float]]) -> Condition:
  """Stacks (simplex, scale) points: simplex [N, K], scale [N]."""
  return Condition(
    jnp.asarray([p for p, _ in points], jnp.float32),
    jnp.asarray([s for _, s in points], jnp.float32),
  )


def scale_grid(
  size: int, low: float, high: float, count: int
) -> list[tuple[list[float], float]]:
  """`count` log-spaced scales at the uniform simplex, the device itself."""
  uniform = [1.0 / size] * size
  return [(uniform, float(s)) for s in np.geomspace(low, high, count)]


def simplex_grid(
  size: int, scale: float, per_side: int
) -> list[tuple[list[float], float]]:
  """A triangular grid over the simplex of three operations, [] otherwise."""
  if size != 3:
    return []
  steps = range(per_side + 1)
  return [
    ([i / per_side, j / per_side, (per_side - i - j) / per_side], scale)
    for i in steps
    for j in steps
    if i + j <= per_side
  ]


def logits_of(
  controller: Controller,
  conditions: Conditions,
  params: Params,
  points: Sequence[tuple[Sequence[float], float]],
) -> np.ndarray:
  """Logits [N, E, O] at N conditions, in one vmap."""
  at = lambda c: controller.apply(params, conditions.features(c))  # noqa: E731
  return np.asarray(jax.jit(jax.vmap(at))(conditions_of(points)))


def shares(logits: np.ndarray, ops: Sequence[str]) -> dict[str, float]:
  """Mean softmax probability of each operation over the choices."""
  weights = np.exp(logits - logits.max(-1, keepdims=True))
  weights /= weights.sum(-1, keepdims=True)
  return {op: float(v) for op, v in zip(ops, weights.mean(0), strict=True)}


def distinct(
  genotypes: Sequence[Genotype], draw: Callable[[], Genotype], count: int
) -> list[Genotype]:
  """`count` random genotypes that differ from each other and the family's.

  Raises:
    ValueError: the space seems to hold too few.
  """
  seen = set(genotypes)
  drawn: list[Genotype] = []
  for _ in range(1000 * count):
    if len(drawn) == count:
      break
    genotype = draw()
    if genotype not in seen:
      seen.add(genotype)
      drawn.append(genotype)
  if len(drawn) < count:
    raise ValueError(
      f"found {len(drawn)} random architectures beside the family's, not"
      f" {count}: lower derive.num_random"
    )
  return drawn
