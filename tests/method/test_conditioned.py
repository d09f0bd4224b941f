"""A classifier of the condition, and how it folds into constants."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.core import tree
from hwnas_jax.core.types import Condition
from hwnas_jax.method import conditions, controllers
from hwnas_jax.method.conditioned import LAYER, conditioned, plain
from hwnas_jax.nets.darts_network import Network, inherit
from hwnas_jax.nets.models import make_supernet
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.darts import THREE, Darts

NET = Darts(THREE, 1, 2, 4, (8, 8, 2), 3)
CONE = conditions.cone(3, 0.1, 10.0)
MAKE = {
  "pivots": lambda rows, std: controllers.pivots(rows, CONE, 3, -1, std),
  "piecewise": lambda rows, _: controllers.piecewise(rows, 3),
  "mlp": lambda rows, _: controllers.mlp(rows, CONE),
  "mixture": lambda rows, _: controllers.mixture(rows, CONE, 2, 3),
}


def features(scale):
  return CONE.features(Condition(jnp.full(3, 1 / 3), jnp.asarray(scale)))


@pytest.fixture(scope="module", params=MAKE)
def made(request):
  """(net, fold, weights) of a supernet conditioned by each controller."""
  net, fold = conditioned(make_supernet(NET), MAKE[request.param])
  return net, fold, jax.jit(net.init)(jax.random.key(0))


def test_a_fold_is_the_weights_of_the_plain_net(made):
  _, fold, weights = made
  wanted = jax.eval_shape(make_supernet(NET).init, jax.random.key(0))
  low, high = (jax.jit(fold)(weights, features(s)) for s in (0.1, 10.0))
  assert jax.tree.map(jnp.shape, low) == jax.tree.map(jnp.shape, wanted)
  assert tree.digest(low[LAYER]) != tree.digest(high[LAYER])
  for name in set(weights) - {LAYER}:
    assert tree.digest(low[name]) == tree.digest(high[name])


def test_every_parameter_of_the_generator_is_trained(made):
  _, fold, weights = made

  def loss(weights):
    # Between two knots, where both count.
    folded = fold(weights, features(0.5))[LAYER]
    return sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(folded))

  grads = tree.flatten(jax.jit(jax.grad(loss))(weights)[LAYER])
  still = {name for name, grad in grads.items() if not np.any(grad)}
  assert still == {"pivots"} & set(weights[LAYER])  # these stay


def test_a_derived_network_has_the_folded_classifier():
  net, fold = conditioned(make_supernet(NET), MAKE["pivots"])
  weights = jax.jit(net.init)(jax.random.key(0))
  folded = fold(weights, features(2.0))
  genotype = (2, 1, 0, 2, 2)
  (mix,) = architecture.one_hot([genotype], 3)
  images = jax.random.normal(jax.random.key(1), (4, *NET.image))
  wanted = jax.jit(net.apply)(folded, jnp.asarray(mix), images)
  module = Network(NET, genotype, "search")
  params = inherit(NET, genotype, folded)
  found, _ = jax.jit(module.apply)({"params": params}, images)
  np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_the_plain_fold_ignores_the_condition():
  weights = {LAYER: jnp.ones(2)}
  assert plain(weights, features(1.0)) is weights
