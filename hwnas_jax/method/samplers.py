"""The registry of samplers, with the traits by which a config is checked.

Your own sampler is one function and one entry:

>>> import jax
>>> from hwnas_jax import method
>>> def noisy_argmax(key, logits, temperature, rows):
...   noise = jax.random.normal(key, logits.shape)
...   best = (logits + temperature * noise).argmax(-1)
...   one_hot = jax.nn.one_hot(best, logits.shape[-1])
...   weights = one_hot + logits - jax.lax.stop_gradient(logits)
...   return method.Mix(weights, jax.nn.softmax(logits))
>>> method.SAMPLERS["noisy_argmax"] = method.Sampler(noisy_argmax, one_hot=True)

Then a config may have `sampler.name=noisy_argmax`.
"""

import functools
from typing import NamedTuple, Protocol

from hwnas_jax.method import discrete, path_estimators, relaxed
from hwnas_jax.method.estimators import Draw, Estimator, reparameterised


class MakeEstimator(Protocol):
  """Makes the estimator of a sampler that needs a special one."""

  def __call__(self, num_samples: int, /) -> Estimator:
    """The estimator; num_samples is `sampler.num_samples`, paths a step."""


class Sampler(NamedTuple):
  """How logits become a mix, and the traits that a config is checked by.

  draw: see `estimators.Draw`; None where `estimator` draws for itself.
  one_hot: each mix is one operation a choice, as in a derived network; else
    the supernet is trained as a mixture.
  noisy: draws depend on the key.
  path: one path for the whole batch; only its operations run.
  moves_logits: the estimator changes logits after the optimiser's step, so
    they have to be the controller's parameters themselves (`table`).
  least_temperature: below it the sampler is not defined.
  estimator: replaces the one that `make_estimator` makes of `draw`.

  `--list` prints the first line of the docstring of `draw`, or of `estimator`
  if there is no draw.
  """

  draw: Draw | None = None
  one_hot: bool = False
  noisy: bool = True
  path: bool = False
  moves_logits: bool = False
  least_temperature: float = 0.0
  estimator: MakeEstimator | None = None


# Read when it is used: an entry that is added at run time counts.
SAMPLERS: dict[str, Sampler] = {
  "softmax": Sampler(relaxed.softmax, noisy=False),
  "gumbel_softmax": Sampler(relaxed.gumbel_softmax),
  "straight_through": Sampler(relaxed.straight_through, one_hot=True),
  "dirichlet": Sampler(relaxed.dirichlet),
  "gdas": Sampler(discrete.gdas, one_hot=True, path=True),
  "reinmax": Sampler(
    discrete.reinmax, one_hot=True, path=True, least_temperature=1.0
  ),
  "gates": Sampler(discrete.gates, one_hot=True, path=True),
  "two_gates": Sampler(
    discrete.two_gates,
    one_hot=True,
    path=True,
    moves_logits=True,
    estimator=lambda num_samples: path_estimators.two_gates(),
  ),
  "ordered": Sampler(
    one_hot=True,
    path=True,
    estimator=functools.update_wrapper(
      lambda num_samples: path_estimators.ordered(), path_estimators.ordered
    ),
  ),
  "reinforce": Sampler(
    one_hot=True, path=True, estimator=path_estimators.reinforce
  ),
}


@functools.cache  # equal phases are compiled once, so estimators are equal too
def make_estimator(
  sampler: Sampler, rows: int | None, num_samples: int
) -> Estimator:
  """The estimator of a sampler.

  Args:
    sampler: an entry of SAMPLERS, or your own.
    rows: mixes a step, one for each example; None is one for the whole batch. A
      sampler of paths always draws one.
    num_samples: paths a step, for an estimator that averages over several.

  Raises:
    ValueError: the sampler has neither a draw nor an estimator.
  """
  if sampler.estimator is not None:
    return sampler.estimator(num_samples)
  if sampler.draw is None:
    raise ValueError("a method.Sampler needs a draw or an estimator")
  if sampler.path:
    return path_estimators.on_a_path(sampler.draw)
  return reparameterised(sampler.draw, rows)
