"""A surrogate of quality: ridge on one-hot choices and on pairs of them.

Fitted to labels of some cells, it is differentiable in a mix, so a controller
can be trained against it in place of a supernet's loss.
"""

from typing import NamedTuple

import numpy as np

from hwnas_jax.spaces.nasbench201 import EDGES, OPS

NUM_EDGES, NUM_OPS = len(EDGES), len(OPS)
PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # one is chosen, see `fit`
# Which two of the E * O choices make each pair: they are on different edges.
FIRST, SECOND = np.asarray(
  [
    (a, b)
    for a in range(NUM_EDGES * NUM_OPS)
    for b in range(a + 1, NUM_EDGES * NUM_OPS)
    if a // NUM_OPS != b // NUM_OPS
  ]
).T


class Surrogate(NamedTuple):
  """quality = choices . x + x . pairs . x, of the flat one-hot x[E * O].

  choices: [E * O]. pairs: [E * O, E * O], zero but for the pairs.
  penalty: of the ridge, by leave-one-out error on the labels.
  """

  choices: np.ndarray
  pairs: np.ndarray
  penalty: float

  def quality(self, genotypes: np.ndarray) -> np.ndarray:
    """Of genotypes [N, E]: [N]; labels have mean 0 and variance 1."""
    x = one_hot(genotypes)
    return x @ self.choices + ((x @ self.pairs) * x).sum(-1)


def one_hot(genotypes: np.ndarray) -> np.ndarray:
  """Genotypes [N, E] -> [N, E * O]."""
  return np.eye(NUM_OPS)[genotypes].reshape(len(genotypes), -1)


def fit(genotypes: np.ndarray, labels: np.ndarray) -> Surrogate:
  """Ridge regression of labels [N], which are standardised first.

  The penalty is the one of PENALTIES with the least leave-one-out error, which
  a ridge has in closed form.
  """
  x = one_hot(genotypes)
  features = np.concatenate([x, x[:, FIRST] * x[:, SECOND]], -1)
  features -= features.mean(0)
  labels = (labels - labels.mean()) / labels.std()
  left, singular, right = np.linalg.svd(features, full_matrices=False)
  errors = []
  for penalty in PENALTIES:
    shrunk = singular**2 / (singular**2 + penalty)
    leverage = (left**2 * shrunk).sum(1) + 1 / len(labels)
    residual = labels - left @ (shrunk * (left.T @ labels))
    errors.append(np.square(residual / (1 - leverage)).mean())
  penalty = PENALTIES[int(np.argmin(errors))]
  gains = singular / (singular**2 + penalty)
  weights = right.T @ (gains * (left.T @ labels))
  size = NUM_EDGES * NUM_OPS
  pairs = np.zeros((size, size))
  pairs[FIRST, SECOND] = weights[size:]
  return Surrogate(weights[:size], pairs, penalty)
