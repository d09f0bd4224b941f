"""Signs of a search that has collapsed (docs/methods.md#signs-of-collapse).

There are three. Most of the kept choices are skips. The choices are undecided.
With the shared weights the derived network is much less accurate than the
mixture, or the sampled paths, in which these weights were trained.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import msgspec
import numpy as np

from hwnas_jax.core.types import FORBIDDEN, Array, Genotype, Params
from hwnas_jax.derive.shared import SharedWeights
from hwnas_jax.io.records import Collapse
from hwnas_jax.method.conditioned import Fold
from hwnas_jax.method.entropy import entropies
from hwnas_jax.nets.supernet import Net
from hwnas_jax.spaces import architecture

MAX_SKIPS = 0.5  # of the kept choices
MAX_GAP = 0.2  # of the accuracy
# Of the entropy of equal operations. It is there that the most likely of three
# operations has twice the probability of each other, of eight three times:
# above it the argmax says little, and another seed may give another. Searches
# of the digits end at 0.3 to 0.8, those of a few steps at 0.98 and more.
MAX_UNDECIDED = 0.95
PATHS = 8  # sampled, in place of a mixture that was never trained


class _Batch(NamedTuple):
  weights: Params
  images: Array
  labels: Array


@functools.partial(jax.jit, static_argnums=(0, 1))
def _accuracies(
  net: Net, fold: Fold, mixes: Array, features: Array, batch: _Batch
) -> Array:
  """Accuracy with each of the mixes [N, E, O] under features [N, D]: [N]."""

  def accuracy(given: tuple[Array, Array]) -> Array:
    mix, features = given
    weights = fold(batch.weights, features)
    outputs = net.apply(weights, mix, batch.images)
    return (outputs.argmax(-1) == batch.labels).mean()

  return jax.lax.map(accuracy, (mixes, features))


def signs(
  shared: SharedWeights | None,
  features: Array,
  logits: np.ndarray,
  genotypes: Sequence[Genotype],
  skip: int | None,
  paths: int = 0,
) -> list[Collapse]:
  """The signs of collapse of each derived network.

  Args:
    shared: the supernet's weights, and images that they were not trained on;
      None where there are none: then no accuracy is a sign.
    features: [N, D] of the conditions.
    logits: [N, E, O] that the networks were derived from.
    genotypes: [N] the architectures of these networks.
    skip: the column of the operation that skips; None if there is none.
    paths: how many architectures are sampled from the logits, for a search that
      ran sampled paths and never trained its mixture (`PATHS` is enough); 0:
      the mixture.

  Returns:
    A record a network, with its alarms as sentences.
  """
  each = np.asarray(entropies(jnp.asarray(logits)))
  mean_entropies, undecided = each.mean(1), _undecided(logits, each)
  rows = [
    Collapse(
      entropy=float(mean_entropies[i]),
      undecided=float(undecided[i]),
      skip_share=_skip_share(genotype, skip),
    )
    for i, genotype in enumerate(genotypes)
  ]
  if shared is not None:
    rows = _with_accuracies(rows, shared, features, logits, genotypes, paths)
  return [_with_alarms(row) for row in rows]


def _with_accuracies(
  rows: Sequence[Collapse],
  shared: SharedWeights,
  features: Array,
  logits: np.ndarray,
  genotypes: Sequence[Genotype],
  paths: int,
) -> list[Collapse]:
  """The records with accuracies by the shared weights; see `signs`."""
  trained = _sample(logits, paths) if paths else jax.nn.softmax(logits)
  hard = architecture.one_hot(genotypes, logits.shape[-1])
  count, repeats = len(hard), len(trained) // len(hard)
  mixes = jnp.concatenate([trained, hard])
  repeated = np.repeat(np.arange(count), repeats)
  places = np.concatenate([repeated, np.arange(count)])
  batch = _Batch(shared.weights, shared.images, shared.labels)
  # In one call, so that all are compiled once.
  accuracies = np.asarray(
    _accuracies(shared.net, shared.fold, mixes, features[places], batch)
  )
  of_trained = accuracies[:-count].reshape(count, repeats).mean(1)
  field = "path_accuracy" if paths else "soft_accuracy"
  return [
    msgspec.structs.replace(
      row, discrete_accuracy=float(discrete), **{field: float(trained)}
    )
    for row, discrete, trained in zip(
      rows, accuracies[-count:], of_trained, strict=True
    )
  ]


def _skip_share(genotype: Genotype, skip: int | None) -> float | None:
  """Skips, as a share of the kept choices."""
  if skip is None:
    return None
  kept = [op for op in genotype if op >= 0]
  return kept.count(skip) / max(len(kept), 1)


def _sample(logits: np.ndarray, paths: int) -> np.ndarray:
  """One-hot samples of logits [N, E, O]: [N * paths, E, O], by condition."""
  rng = np.random.default_rng(0)  # the same samples each time a run is read
  repeated = np.repeat(logits, paths, 0)
  sampled = (repeated + rng.gumbel(size=repeated.shape)).argmax(-1)
  return np.eye(logits.shape[-1], dtype=np.float32)[sampled]


def _undecided(logits: np.ndarray, each: np.ndarray) -> np.ndarray:
  """Entropies [N, E] over those of equal operations, mean of the choices: [N].

  Choices that have a single operation do not count.
  """
  allowed = (logits > FORBIDDEN / 10).sum(-1)
  several = allowed > 1
  shares = np.where(several, each / np.log(np.maximum(allowed, 2)), 0.0)
  return shares.sum(1) / np.maximum(several.sum(1), 1)


def _with_alarms(row: Collapse) -> Collapse:
  alarms = []
  if row.skip_share is not None and row.skip_share > MAX_SKIPS:
    alarms.append(f"skips are {row.skip_share:.0%} of its choices")
  if row.undecided > MAX_UNDECIDED:
    alarms.append(
      f"its choices are undecided: their entropy is {row.undecided:.1%} of"
      " that of equal operations"
    )
  for trained, name in (
    (row.path_accuracy, "networks drawn from its logits"),
    (row.soft_accuracy, "its mixture"),
  ):
    if trained is None or row.discrete_accuracy is None:
      continue
    gap = trained - row.discrete_accuracy
    if gap > MAX_GAP:
      alarms.append(
        f"with the shared weights it is {100 * gap:.0f} points below {name}"
      )
  return msgspec.structs.replace(row, alarms=tuple(alarms))
