"""Alarms of a search that has collapsed (research 1.7).

Three signs: skips win most of the choices, the logits have hardly made up their
mind, and the network that is derived does much worse with the shared weights
than the mixture that they were trained in.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.core.types import Array, Genotype, Params
from hwnas_jax.nets.conditioned import Fold
from hwnas_jax.nets.supernet import Net
from hwnas_jax.search.regularise import entropy
from hwnas_jax.spaces import architecture

SKIPS = 0.5  # of the choices that are kept
GAP = 0.2  # of the accuracy


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

  Returns:
    entropy (mean of the choices, nats), soft_accuracy (of the mixture),
    discrete_accuracy (of the one-hot network), skip_share (of the choices that
    are kept; without such an operation it is left out), alarms (sentences).
  """
  soft = jax.nn.softmax(jnp.asarray(logits))
  hard = jnp.asarray(architecture.one_hot(genotypes, logits.shape[-1]))
  # In one call: the two are one compile.
  mixes = jnp.concatenate([soft, hard])
  twice = jnp.concatenate([features, features])
  accuracies = np.asarray(
    _accuracies(net, fold, mixes, twice, weights, images, labels)
  ).reshape(2, -1)
  rows: list[dict[str, Any]] = []
  for index, genotype in enumerate(genotypes):
    row: dict[str, Any] = {
      "entropy": float(entropy(jnp.asarray(logits[index]))),
      "soft_accuracy": float(accuracies[0, index]),
      "discrete_accuracy": float(accuracies[1, index]),
    }
    if skip is not None:
      kept = [op for op in genotype if op >= 0]
      row["skip_share"] = kept.count(skip) / max(len(kept), 1)
    rows.append({**row, "alarms": _alarms(row)})
  return rows


def _alarms(row: dict[str, Any]) -> list[str]:
  alarms = []
  if row.get("skip_share", 0.0) > SKIPS:
    alarms.append(f"skips are {row['skip_share']:.0%} of its choices")
  gap = row["soft_accuracy"] - row["discrete_accuracy"]
  if gap > GAP:
    alarms.append(
      f"with the shared weights it is {100 * gap:.0f} points below its mixture"
    )
  return alarms
