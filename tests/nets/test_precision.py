"""bfloat16: what computes in it, what stays float32, and how far it is off."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_config import CELLS, config
from toy_models import IMAGE, Model

from hwnas_jax.config import problem as problems
from hwnas_jax.core import precision, program
from hwnas_jax.core.types import Paths
from hwnas_jax.data import embedded
from hwnas_jax.nets.models import make_network, make_supernet
from hwnas_jax.nets.tracing import trace
from hwnas_jax.train import step as train_step

FIELDS = {
  "darts": CELLS | {"space__num_cells": 1},
  "nasbench201": {"space__name": "nasbench201", "space__num_cells": 1}
  | {"space__channels": 4},
  "mobile": {"space__name": "mobile", "space__skeleton": "tiny"},
}
SPACES = (*FIELDS, "custom")


def spec(space):
  if space == "custom":
    return trace(Model, IMAGE, 3)
  return problems.make_nets(config(**FIELDS[space]), embedded.digits()).supernet


def last_offered(net):
  """The last operation of each choice: convolutions, or pools."""
  allowed = net.space().allowed()
  return tuple(int(np.flatnonzero(row)[-1]) for row in allowed)


def inputs(net, batch=16):
  """(mix [E, O], images of numbers that bfloat16 has exactly)."""
  rng = np.random.default_rng(0)
  mix = rng.dirichlet(np.ones(len(net.ops)), net.space().shape[0])
  images = rng.integers(-8, 8, (batch, *net.image)) / 4
  return jnp.asarray(mix, jnp.float32), jnp.asarray(images, jnp.float32)


def products(jaxpr):
  """The types of the operands of all convolutions and products."""
  kinds = []
  for eqn in jaxpr.eqns:
    if eqn.primitive.name in ("conv_general_dilated", "dot_general"):
      kinds.append({str(v.aval.dtype) for v in eqn.invars})
    for part in program.bodies(eqn):
      kinds += products(part)
  return kinds


def cosine(found, expected):
  """Of the angle between two trees, taken as vectors."""
  flat = [
    np.concatenate([np.ravel(np.asarray(x, np.float64)) for x in leaves])
    for leaves in map(jax.tree.leaves, (found, expected))
  ]
  return flat[0] @ flat[1] / np.prod([np.linalg.norm(v) for v in flat])


@pytest.mark.parametrize(
  ("space", "paths"),
  [
    ("darts", False),
    ("darts", True),
    ("mobile", False),
    ("custom", False),
  ],
)
def test_a_supernet_computes_in_the_type_of_its_images(space, paths):
  net = spec(space)
  supernet, (mix, images) = make_supernet(net), inputs(net)
  weights = jax.jit(supernet.init)(jax.random.key(0))
  active = jnp.asarray(mix.argmax(-1)[:, None], jnp.int32)
  options = {"identity": jnp.asarray(0.5)}
  if paths:
    options["paths"] = Paths(active)

  def loss(weights, mix, images):
    logits = supernet.apply(weights, mix, images, **options)
    assert logits.dtype == jnp.float32
    return (
      logits * jnp.sin(jnp.arange(logits.size)).reshape(logits.shape)
    ).sum()

  both = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
  expected, gradients = both(weights, mix, images)
  found, narrow = both(weights, mix, images.astype(jnp.bfloat16))
  assert {g.dtype for g in jax.tree.leaves(narrow)} == {np.dtype("float32")}
  assert found != expected  # it did compute in another type
  assert cosine(narrow[0], gradients[0]) > 0.95
  assert cosine(narrow[1], gradients[1]) > 0.95


@pytest.mark.parametrize("space", SPACES)
def test_only_the_classifier_of_a_network_computes_in_float32(space):
  net = spec(space)
  _, images = inputs(net)
  genotype = last_offered(net)
  network = make_network(net, genotype, "eval")
  variables = jax.jit(network.init)(jax.random.key(0), images)
  variables = precision.cast_variables(variables, "bfloat16")
  infer = jax.jit(lambda x: network.apply(variables, x)[0])
  wide = infer(images)
  narrow = images.astype(jnp.bfloat16)
  assert infer(narrow).dtype == jnp.float32
  np.testing.assert_allclose(
    infer(narrow), wide, atol=0.05 * float(jnp.abs(wide).max())
  )
  kinds = products(jax.make_jaxpr(infer)(narrow).jaxpr)
  if space != "custom":  # the last product of a user's model is the user's
    assert kinds.pop() == {"float32"}
  assert {"bfloat16"} == set().union(*kinds)


@pytest.mark.parametrize("space", SPACES)
def test_training_keeps_weights_and_statistics_in_float32(space):
  net = spec(space)
  _, images = inputs(net)
  genotype = last_offered(net)
  network = make_network(net, genotype, "train")
  params, stats = train_step.init_variables(network, jax.random.key(0))

  def loss(params, images):
    (logits, _), updated = network.apply(
      {"params": params, "batch_stats": stats}, images, mutable=["batch_stats"]
    )
    return (logits**2).mean(), updated.get("batch_stats", {})

  both = jax.jit(jax.value_and_grad(loss, has_aux=True))
  (_, wide_stats), wide = both(params, images)
  (_, narrow_stats), narrow = both(params, images.astype(jnp.bfloat16))
  assert {x.dtype for x in jax.tree.leaves((narrow, narrow_stats))} == {
    np.dtype("float32")
  }
  assert cosine(narrow, wide) > 0.95
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=0.05, atol=0.02),
    narrow_stats,
    wide_stats,
  )
