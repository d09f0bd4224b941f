"""A surrogate of quality: a ridge on choices and on pairs of them.

It is fitted to labels of some architectures, such as a committee's ranks, and
takes the place of the cross-entropy in the controller's loss
(docs/methods.md#surrogate):

    quality(x) = base + choices . x + x . pairs . x,   x the flat mix [E * O]

Two choices that one architecture cannot make together have no pair. So
quality is linear in each row of a mix, and the quality of softmax(logits) is
the expected quality of architectures that are drawn from it.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy

from hwnas_jax.core.types import Array

PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # `fit` chooses one
LEAST = 10  # architectures that a fit needs


class Surrogate(NamedTuple):
  """The quality of a mix, in standard deviations of the labels.

  base: []. choices: [E, O]. pairs: [E * O, E * O], symmetric.
  """

  base: Array
  choices: Array
  pairs: Array

  def quality(self, mix: Array) -> Array:
    """Of mixes [..., E, O]: [...]; the labels had mean 0 and variance 1."""
    x = mix.reshape(*mix.shape[:-2], -1)
    single = jnp.dot(x, self.choices.ravel())
    return self.base + single + (jnp.dot(x, self.pairs) * x).sum(-1)


class Fit(NamedTuple):
  """A surrogate, and how well it predicts labels that it was not fitted to.

  penalty: the ridge's, the one of PENALTIES with the least error.
  left_out: float64[N], each label, standardised, as the ridge predicts it that
    was fitted to all others; the mean and deviation are those of all labels.
  rank_correlation: Spearman's, of `left_out` and the labels.
  """

  surrogate: Surrogate
  penalty: float
  left_out: np.ndarray
  rank_correlation: float


def fit(mixes: np.ndarray, labels: np.ndarray) -> Fit:
  """Fits a surrogate to labels.

  The ridge is solved in its dual form. With the N x N matrix K of the
  features' inner products, centred, and its penalty the predictions are H y,
  H = K (K + penalty)^-1 + 1 / N, and the error of y_i when it is left out is
  (y - H y)_i / (1 - H_ii). Where two one-hot mixes agree in n choices they
  share n choices and n (n - 1) / 2 pairs.

  Args:
    mixes: one-hot [N, E, O]; a choice that is absent is a row of zeros.
    labels: [N], higher is better. They are standardised.

  Raises:
    ValueError: fewer than LEAST architectures, or their labels are all equal.
  """
  count, num_choices, num_ops = mixes.shape
  labels = np.asarray(labels, float)
  if count < LEAST or np.ptp(labels) == 0:
    raise ValueError(
      f"a surrogate needs {LEAST} architectures or more, and labels that"
      f" differ; it was given {count} architectures with"
      f" {len(np.unique(labels))} different labels"
    )
  labels = (labels - labels.mean()) / labels.std()
  flat = np.asarray(mixes, float).reshape(count, -1)
  agreed = flat @ flat.T
  kernel = agreed + agreed * (agreed - 1) / 2
  centred = kernel - kernel.mean(0) - kernel.mean(1)[:, None] + kernel.mean()
  values, vectors = np.linalg.eigh(centred)
  projected = vectors.T @ labels

  def left_out(penalty: float) -> np.ndarray:
    shares = values / (values + penalty)
    leverage = (vectors**2 @ shares) + 1 / count
    residual = labels - vectors @ (shares * projected)
    return labels - residual / (1 - leverage)

  errors = [np.square(labels - left_out(p)).mean() for p in PENALTIES]
  penalty = PENALTIES[int(np.argmin(errors))]
  # Of mean 0, as the labels are, so features need not be centred below.
  dual = vectors @ (projected / (values + penalty))
  pairs = flat.T @ (dual[:, None] * flat) / 2
  choice = np.repeat(np.arange(num_choices), num_ops)
  pairs[choice[:, None] == choice] = 0
  surrogate = Surrogate(
    base=jnp.asarray(-(kernel @ dual).mean(), jnp.float32),
    choices=jnp.asarray((dual @ flat).reshape(num_choices, -1), jnp.float32),
    pairs=jnp.asarray(pairs, jnp.float32),
  )
  predicted = left_out(penalty)
  correlation = float(scipy.stats.spearmanr(predicted, labels).statistic)
  return Fit(surrogate, penalty, predicted, correlation)
