"""Alarms of a search that has collapsed (research 1.7).

Three signs: skips win most of the choices, the logits have hardly made up their
mind, and the network that is derived does much worse with the shared weights
than what they were trained in: the mixture, or the paths that were drawn.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.core.types import FORBIDDEN, Array, Genotype, Params
from hwnas_jax.method.conditioned import Fold
from hwnas_jax.method.entropy import entropies
from hwnas_jax.nets.supernet import Net
from hwnas_jax.spaces import architecture

SKIPS = 0.5  # of the choices that are kept
GAP = 0.2  # of the accuracy
# Of the entropy of equal operations. It is there that the likeliest of three
# operations has twice the probability of each other, of eight three times:
# above it the argmax says little, and another seed may say another. Searches of
# the digits end at 0.3 to 0.8, those of a few steps at 0.98 and more.
UNDECIDED = 0.95
PATHS = 8  # that stand in for a mixture


@functools.partial(jax.jit, static_argnums=(0, 1))
def _accuracies(
  net: Net,
  fold: Fold,
  mixes: Array,
  features: Array,
  weights: Params,
  images: Array,
  labels: Array,
) -> Array:
  """Accuracy with each of the mixes [N, E, O] under features [N, D]: [N]."""

  def one(given: tuple[Array, Array]) -> Array:
    mix, features = given
    outputs = net.apply(fold(weights, features), mix, images)
    return (outputs.argmax(-1) == labels).mean()

  return jax.lax.map(one, (mixes, features))


def signs(
  net: Net,
  fold: Fold,
  weights: Params,
  images: Array,
  labels: Array,
  features: Array,
  logits: np.ndarray,
  genotypes: Sequence[Genotype],
  skip: int | None,
  paths: int = 0,
) -> list[dict[str, Any]]:
  """What tells of a collapse, by derived network.

  Args:
    net: the supernet.
    fold: its weights under a condition.
    weights: the supernet's.
    images: float32[B, H, W, C] that the weights never saw.
    labels: int32[B].
    features: [N, D] of the conditions.
    logits: [N, E, O] that the networks were derived from.
    genotypes: [N] those networks.
    skip: the column of the operation that skips, if there is one.
    paths: one-hot draws from the logits that stand in for the mixture, where
      the search ran paths alone and never trained a mixture; 0 is the mixture.

  Returns:
    entropy (mean of the choices, nats), undecided (it over that of equal
    operations, 0 to 1), soft_accuracy (of the mixture) or path_accuracy (mean
    of the paths), discrete_accuracy (of the one-hot network), skip_share (of
    the choices that are kept; without such an operation it is left out),
    alarms (sentences).
  """
  trained = _drawn(logits, paths) if paths else jax.nn.softmax(logits)
  hard = architecture.one_hot(genotypes, logits.shape[-1])
  count, repeats = len(hard), len(trained) // len(hard)
  mixes = jnp.concatenate([trained, hard])
  at = np.concatenate([np.repeat(np.arange(count), repeats), np.arange(count)])
  # In one call: all are one compile.
  accuracies = np.asarray(
    _accuracies(net, fold, mixes, features[at], weights, images, labels)
  )
  of_trained = accuracies[:-count].reshape(count, repeats).mean(1)
  each = np.asarray(entropies(jnp.asarray(logits)))
  found = {
    "entropy": each.mean(1),
    "undecided": _undecided(logits, each),
    "path_accuracy" if paths else "soft_accuracy": of_trained,
    "discrete_accuracy": accuracies[-count:],
  }
  return [
    _row({name: float(values[i]) for name, values in found.items()}, own, skip)
    for i, own in enumerate(genotypes)
  ]


def _row(
  row: dict[str, Any], genotype: Genotype, skip: int | None
) -> dict[str, Any]:
  if skip is not None:
    kept = [op for op in genotype if op >= 0]
    row["skip_share"] = kept.count(skip) / max(len(kept), 1)
  return {**row, "alarms": _alarms(row)}


def _drawn(logits: np.ndarray, paths: int) -> np.ndarray:
  """One-hot draws from logits [N, E, O]: [N * paths, E, O], by condition."""
  rng = np.random.default_rng(0)  # the same draws whenever a run is told
  repeated = np.repeat(logits, paths, 0)
  drawn = (repeated + rng.gumbel(size=repeated.shape)).argmax(-1)
  return np.eye(logits.shape[-1], dtype=np.float32)[drawn]


def _undecided(logits: np.ndarray, each: np.ndarray) -> np.ndarray:
  """Entropies [N, E] over those of equal operations, mean of the choices: [N].

  Of choices that have one operation alone there is nothing to decide.
  """
  allowed = (logits > FORBIDDEN / 10).sum(-1)
  several = allowed > 1
  shares = np.where(several, each / np.log(np.maximum(allowed, 2)), 0.0)
  return shares.sum(1) / np.maximum(several.sum(1), 1)


def _alarms(row: dict[str, Any]) -> list[str]:
  alarms = []
  if row.get("skip_share", 0.0) > SKIPS:
    alarms.append(f"skips are {row['skip_share']:.0%} of its choices")
  if row["undecided"] > UNDECIDED:
    alarms.append(
      f"its choices are undecided: their entropy is {row['undecided']:.1%} of"
      " that of equal operations"
    )
  path = "path_accuracy" in row
  gap = row["path_accuracy" if path else "soft_accuracy"]
  gap -= row["discrete_accuracy"]
  if gap > GAP:
    below = "networks drawn from its logits" if path else "its mixture"
    alarms.append(
      f"with the shared weights it is {100 * gap:.0f} points below {below}"
    )
  return alarms
