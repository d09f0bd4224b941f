"""Judges: scores by which architectures are ranked before they are trained.

| judge | score | of |
|---|---|---|
| `synflow` | log sum abs(w dR/dw), Tanaka et al. 2020 | fresh weights |
| `jacov` | how different gradients of images are, Mellor et al. 2020 | both |
| `nwot` | log abs det K of the ReLUs' codes, Mellor et al. 2021 | both |
| `shared_loss` | minus the cross-entropy | the supernet's weights |
| `macs` | multiply-accumulates of an image | the architecture |

"Both" are fresh weights and images. Higher is better. Scores of one judge are
compared with each other; those of different judges have different sizes, and
`derive.committee` compares their ranks.

Every candidate runs as a single path of one supernet (`derive.one_path`), with
the fresh weights of one draw: with a draw for each, a judge would compare
draws. What does not reach the output does not count, and candidates that differ
only in that have one score, which is computed once.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from hwnas_jax.core import program
from hwnas_jax.core.types import Array, Genotype, Params
from hwnas_jax.derive import capacity
from hwnas_jax.derive.one_path import Forward, Program, evaluate
from hwnas_jax.derive.shared import SharedWeights
from hwnas_jax.method.conditioned import plain
from hwnas_jax.nets import probe
from hwnas_jax.nets.init import op_shapes
from hwnas_jax.nets.ops import make_op
from hwnas_jax.nets.supernet import Net
from hwnas_jax.spaces.darts import Darts
from hwnas_jax.spaces.spec import Spec

_JACOV_K = 1e-5
_GROWTH = 1e-4  # of log weights, for the flow; its relative error is about 1e-7
_ROUNDING = 1e-4  # of a mean of logits in float32, relative
# Primitives that are not linear where their input is positive.
_CURVED = set(
  "rsqrt sqrt exp exp2 log tanh logistic erf integer_pow pow".split()
)


class Draw(NamedTuple):
  """Fresh weights of a supernet, and the images that go with them.

  weights: as `Net.init` gives them. images: float32[B, H, W, C], normalised;
  the published scores had B = 64.
  """

  weights: Params
  images: Array


class Evidence(NamedTuple):
  """What judges read.

  spec: of the networks that are judged, which may be deeper and wider than the
    supernet. net: the supernet.
  draws: one at least; `jacov`, which is noisy, is the mean over all of them,
    and the other judges read the first.
  shared: the supernet's trained weights; None before a search.
  """

  spec: Spec
  net: Net
  draws: Sequence[Draw]
  shared: SharedWeights | None = None


class Score(Protocol):
  """Judges candidates."""

  def __call__(
    self, evidence: Evidence, genotypes: Sequence[Genotype], /
  ) -> np.ndarray:
    """Scores float64[N] of N candidates, one at least; higher is better.

    A network that has no score, such as one whose output does not depend on
    its input, has one that is not finite.
    """


class Applies(Protocol):
  """Where a judge may be asked."""

  def __call__(self, evidence: Evidence, /) -> str | None:
    """None, or the reason why the judge does not apply."""


class Judge(NamedTuple):
  """A way to score architectures."""

  score: Score
  applies: Applies = lambda evidence: None


def fresh(net: Net, key: Array, images: Array, count: int) -> tuple[Draw, ...]:
  """Draws of fresh weights, each with its part of the images.

  Args:
    net: the supernet.
    key: typed.
    images: [count * B, H, W, C].
    count: how many draws; 3 make `jacov` steady.

  Raises:
    ValueError: the images do not divide evenly.
  """
  if len(images) % count:
    raise ValueError(f"{len(images)} images do not make {count} equal batches")
  init = jax.jit(net.init)
  batches = np.split(np.asarray(images), count)
  return tuple(
    Draw(init(k), jnp.asarray(batch))
    for k, batch in zip(jax.random.split(key, count), batches, strict=True)
  )


def _flow(forward: Forward, data: Any) -> Array:
  """Log of the sum of abs(w dR/dw), w of convolutions and matrices: [].

  Where all is positive the sum is dR/ds of R(exp(s) w) at s = 0 (Euler), and a
  difference of two outputs in float64 gives it without a backward pass.
  """
  weights, ones = data
  positive = jax.tree.map(lambda w: jnp.abs(w).astype(ones.dtype), weights)

  def log_output(growth: Array) -> Array:
    grown = jax.tree.map(
      lambda w: w * jnp.exp(growth) if w.ndim > 1 else w, positive
    )
    with probe.without_norm():
      return jnp.log(forward(grown, ones).sum())

  steps = _GROWTH * jnp.arange(-1, 2, dtype=ones.dtype)
  low, middle, high = lax.map(log_output, steps)
  return middle + jnp.log((high - low) / (2 * _GROWTH))


def synflow(evidence: Evidence, genotypes: Sequence[Genotype], /) -> np.ndarray:
  """Log of the synaptic flow (Tanaka et al. 2020; as a score Abdelfattah 2021).

  Weights are replaced by their absolute values, batch norm is off, the input is
  one image of ones and R the sum of the logits. R grows exponentially with
  depth, beyond float32; it is computed in float64, which holds up to exp(709).
  """
  weights = evidence.draws[0].weights
  with jax.enable_x64(True):
    ones = jnp.ones((1, *evidence.spec.image), jnp.float64)
    return _evaluate(_flow, evidence, genotypes, (weights, ones))


def _correlation(forward: Forward, data: Any) -> Array:
  """Correlations of the images' gradients of the sum of all logits: [B, B].

  NaN where that sum is constant, so that its gradient is rounding errors.
  """
  weights, images = data

  def total(x: Array) -> tuple[Array, Array]:
    logits = forward(weights, x)
    return logits.sum(), logits

  gradients, logits = jax.grad(total, has_aux=True)(images)
  rows = gradients.reshape(len(images), -1)
  rows = rows - rows.mean(1, keepdims=True)
  rows = rows / jnp.linalg.norm(rows, axis=1, keepdims=True)
  # Of each class; the mean of batch-normalised features is 0.
  means, sizes = jnp.abs(logits.mean(0)), jnp.abs(logits).mean(0)
  constant = (means <= _ROUNDING * sizes).all()
  return jnp.where(constant, jnp.nan, rows @ rows.T)


def jacov(evidence: Evidence, genotypes: Sequence[Genotype], /) -> np.ndarray:
  """The Jacobian's covariance (Mellor et al. 2020, version 1).

  -sum(log(v + k) + 1 / (v + k)) over the eigenvalues v of the correlations of
  the images' gradients, k = 1e-5, with the statistics of the batch. It is
  highest where each image has a gradient of its own.
  """
  scores = []
  for draw in evidence.draws:
    correlations = _evaluate(_correlation, evidence, genotypes, tuple(draw))
    scores.append([_spread(c) for c in correlations.astype(np.float64)])
  return np.mean(scores, 0)


def _spread(correlation: np.ndarray) -> float:
  if not np.isfinite(correlation).all():
    return np.nan
  values = np.linalg.eigvalsh(correlation) + _JACOV_K
  with np.errstate(invalid="ignore", divide="ignore"):
    return float(-(np.log(values) + 1 / values).sum())


def _kernel(forward: Forward, data: Any) -> Array:
  """How many ReLU units two images have both on or both off: [B, B]."""
  weights, images = data

  equal = jax.new_ref(jnp.zeros((len(images), len(images))))
  with probe.counting_relus(equal):
    forward(weights, images)
  return equal[...]


def nwot(evidence: Evidence, genotypes: Sequence[Genotype], /) -> np.ndarray:
  """Log abs det K (Mellor et al. 2021, equation 2).

  K[a, b] counts the units, of all ReLUs and ReLU6s, that are on for both images
  or off for both.
  """
  kernels = _evaluate(_kernel, evidence, genotypes, tuple(evidence.draws[0]))
  with np.errstate(divide="ignore"):
    return np.linalg.slogdet(kernels.astype(np.float64)).logabsdet


def _log_likelihood(forward: Forward, data: Any) -> Array:
  """Mean log probability of the labels: []."""
  weights, images, labels = data
  return -optax.softmax_cross_entropy_with_integer_labels(
    forward(weights, images), labels
  ).mean()


def shared_loss(
  evidence: Evidence, genotypes: Sequence[Genotype], /
) -> np.ndarray:
  """Minus the cross-entropy with the supernet's weights.

  All images are one batch, whose statistics normalise it.
  """
  shared = evidence.shared
  assert shared is not None
  data = shared.weights, shared.images, shared.labels
  return _evaluate(_log_likelihood, evidence, genotypes, data)


def macs(evidence: Evidence, genotypes: Sequence[Genotype], /) -> np.ndarray:
  """Multiply-accumulates of an image, of what reaches the output."""
  return capacity.macs(evidence.spec, genotypes)


def _evaluate(
  judged: Program,
  evidence: Evidence,
  genotypes: Sequence[Genotype],
  data: Any,
) -> Any:
  num_ops = len(evidence.spec.ops)
  return evaluate(judged, evidence.net, num_ops, genotypes, data)


def _needs_homogeneous(evidence: Evidence, /) -> str | None:
  """What keeps a network from being linear in each layer's weights."""
  with probe.without_norm():
    names = _traced_names(evidence.spec)
  curved = sorted(names & _CURVED)
  if not curved:
    return None
  return (
    f"without its batch norms the model still has {', '.join(curved)}: synflow"
    " needs layers that are linear where weights and inputs are positive"
    " (normalise with hwnas_jax.nets.norm.BatchNorm, activate with a ReLU)"
  )


def _needs_relus(evidence: Evidence, /) -> str | None:
  """Why the ReLUs cannot be read."""
  batch = len(evidence.draws[0].images)
  with probe.counting_relus(jax.new_ref(jnp.zeros((batch, batch)))):
    names = _traced_names(evidence.spec, batch)
  unseen = sorted(names & {"relu", "relu6"})
  if unseen:
    return (
      f"the model has a {' and a '.join(unseen)} of another package, which nwot"
      " does not see: use hwnas_jax.nets.probe.relu"
    )
  if probe.COUNTED not in names:
    return "the model has no ReLU"
  return None


def _needs_gradients(evidence: Evidence, /) -> str | None:
  if isinstance(evidence.spec, Darts):
    return (
      "a DARTS supernet averages batch-normalised features: the sum of a"
      " batch's logits does not depend on its images"
    )
  batch = min(len(draw.images) for draw in evidence.draws)
  return None if batch > 1 else "it compares images, and the batch has one"


def _needs_shared(evidence: Evidence, /) -> str | None:
  if evidence.shared is None:
    return "there are no trained weights of a supernet"
  if evidence.shared.fold is plain:
    return None
  return (
    "controller.classifier=True gives each condition another classifier:"
    " networks of different conditions cannot be compared"
  )


def _traced_names(spec: Spec, batch: int = 1) -> set[str]:
  """Names of all primitives and functions that the space's operations call."""
  sites = {
    (s.op, s.keeps_shape, s.program): s for s in spec.space().unique_sites()
  }
  names: set[str] = set()
  for site in sites.values():
    shape = batch, site.height, site.width, site.channels_in
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    # Traced anew: `run_op` would hand out the trace of a site that computes
    # the same by a function of another name.
    run = make_op(site, "search").apply
    traced = jax.make_jaxpr(run)({"params": op_shapes(site)}, x)
    names |= program.names(traced.jaxpr)
  return names


JUDGES: dict[str, Judge] = {
  "synflow": Judge(synflow, _needs_homogeneous),
  "jacov": Judge(jacov, _needs_gradients),
  "nwot": Judge(nwot, _needs_relus),
  "shared_loss": Judge(shared_loss, _needs_shared),
  "macs": Judge(macs),
}


def require(names: Sequence[str]) -> None:
  """Raises ValueError if no judge has one of the names."""
  unknown = [name for name in names if name not in JUDGES]
  if unknown:
    raise ValueError(f"no judge is called {unknown[0]!r}: {', '.join(JUDGES)}")


class Judged(NamedTuple):
  """Scores float64[N] by judge, and why other judges were left out."""

  scores: dict[str, np.ndarray]
  left_out: dict[str, str]


def judge(
  names: Sequence[str], evidence: Evidence, genotypes: Sequence[Genotype]
) -> Judged:
  """Asks judges about candidates.

  Args:
    names: of judges, in JUDGES.
    evidence: what they read.
    genotypes: [N], one at least. Candidates that differ only in what does not
      reach the output are judged once, and have one score.

  Raises:
    ValueError: no judge has such a name.
  """
  require(names)
  living = [
    capacity.reaching(evidence.spec, genotype) for genotype in genotypes
  ]
  distinct = list(dict.fromkeys(living))
  places = [distinct.index(genotype) for genotype in living]
  scores, left_out = {}, {}
  for name in names:
    reason = JUDGES[name].applies(evidence)
    if reason is None:
      scores[name] = JUDGES[name].score(evidence, distinct)[places]
    else:
      left_out[name] = reason
  return Judged(scores, left_out)
