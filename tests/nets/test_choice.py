"""A user's model: supernet and networks agree, sites have the shapes seen."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_models import IMAGE, Calls, Model, small

from hwnas_jax.core import tree
from hwnas_jax.core.compile import jit
from hwnas_jax.core.types import Paths
from hwnas_jax.costs import counts
from hwnas_jax.nets import models
from hwnas_jax.nets.choice import Choice
from hwnas_jax.nets.ops import Identity, make_op
from hwnas_jax.nets.tracing import trace
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.custom import OUTSIDE
from hwnas_jax.spaces.spec import Site
from hwnas_jax.train.step import init_variables

NET = trace(Model, IMAGE, 3)
GENOTYPES = [(0, 0, 3), (1, 1, 2), (2, 0, 2)]


@pytest.fixture(scope="module")
def supernet():
  net = models.make_supernet(NET)
  weights = jit(net.init)(jax.random.key(0))
  images = jax.random.normal(jax.random.key(1), (4, *IMAGE))
  return jit(net.apply), weights, images


def one_hot(genotype):
  return jnp.asarray(architecture.one_hot(genotype, len(NET.ops)))


def test_the_space_is_what_the_model_says():
  space = NET.space()
  assert space.choices == ("layer_0", "layer_1", "block/inner")
  assert space.ops == ("conv3", "conv1", "skip", "wide")
  assert space.allowed().tolist() == [
    [True, True, True, False],
    [True, True, False, False],
    [False, False, True, True],
  ]
  assert NET.live((0, 0, 3)) == (True, True, True)
  assert NET.graph().edges == ((0, 1), (1, 2), (2, 3))


def test_sites_have_the_shapes_that_operations_see():
  seen = []

  def record(call, args, kwargs, context):
    y = call(*args, **kwargs)
    if context.method_name == "__call__" and len(context.module.path) > 1:
      seen.append((context.module.path, args[0].shape[1:], y.shape[1:]))
    return y

  for genotype in GENOTYPES:
    module = models.make_network(NET, genotype, "eval")
    with nn.intercept_methods(record):
      jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, *IMAGE)))
  space, listed = NET.space(), set()
  for name, row in zip(space.choices, space.sites, strict=True):
    for op, sites in zip(space.ops, row, strict=True):
      for s in sites:
        listed.add((name, op, s.height, s.width, s.channels_in, s.channels_out))
  runs = {
    ("/".join(path[:-1]), path[-1], *x, y[-1])
    for path, x, y in seen
    if "/".join(path[:-1]) in space.choices
  }
  assert runs == listed


@pytest.mark.parametrize("genotype", GENOTYPES)
def test_one_hot_supernet_equals_derived(supernet, genotype):
  apply, weights, images = supernet
  expected = apply(weights, one_hot(genotype), images)
  params = models.inherit(NET, genotype, weights)
  module = models.make_network(NET, genotype, "search")
  fresh = jax.eval_shape(module.init, jax.random.key(0), images)
  assert tree.diff(fresh["params"], params) == []
  actual, aux = jit(module.apply)({"params": params}, images)
  assert aux is None and np.ptp(actual) > 0
  np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_paths_are_the_operations_they_name(supernet):
  apply, weights, images = supernet
  for genotype in GENOTYPES[:2]:
    mix = one_hot(genotype)
    paths = Paths(jnp.asarray(genotype)[:, None])
    actual = apply(weights, mix, images, paths)
    expected = apply(weights, mix, images)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_a_mix_and_its_gradients(supernet):
  apply, weights, images = supernet
  allowed = NET.space().allowed()
  mix = jnp.where(allowed, 0.4, 0.0)
  each = jnp.broadcast_to(mix, (4, *mix.shape))
  identity = jnp.float32(0.0)
  plain = apply(weights, mix, images)
  for other in (
    apply(weights, each, images),
    apply(weights, mix, images, None, identity),
  ):
    np.testing.assert_allclose(other, plain, rtol=1e-4, atol=1e-5)
  more = apply(weights, mix, images, None, jnp.float32(1.0))
  assert np.abs(np.asarray(more) - plain).max() > 1e-3
  run = models.make_supernet(NET).apply
  loss = lambda w, m: jnp.square(run(w, m, images)).sum()  # noqa: E731
  d_weights, d_mix = jit(jax.grad(loss, (0, 1)))(weights, mix)
  assert (np.asarray(d_mix) != 0).tolist() == allowed.tolist()
  moved = [bool(np.any(g)) for g in jax.tree.leaves(d_weights)]
  # A bias in front of a norm does nothing.
  assert moved.count(False) <= 2


@pytest.mark.parametrize("genotype", GENOTYPES)
def test_costs_are_those_of_the_network(genotype):
  space, module = NET.space(), models.make_network(NET, genotype, "train")
  params, stats = init_variables(module, jax.random.key(0))
  costs = counts.site_costs(space, counts.params)
  assert counts.genotype_cost(NET, genotype, costs) == tree.count(params)
  assert bool(stats) == (0 in genotype)


def test_multiply_accumulates_are_counted():
  costs = counts.site_costs(NET.space(), counts.macs)
  actual = counts.genotype_cost(NET, (0, 1, 3), costs)
  stem, head = 8 * 6 * 9 * 2 * 4, 8 * 3
  layers = 8 * 6 * 9 * 4 * 4 + 4 * 3 * 4 * 8 + 4 * 3 * 15 * 8 * 8
  assert actual == stem + layers + head
  assert NET.space().fixed[0].op == OUTSIDE


def test_a_program_is_part_of_a_sites_name():
  class Other(nn.Module):
    """As Model's first choice, but dilated: the same shapes."""

    @nn.compact
    def __call__(self, x):
      ops = {
        "a": nn.Conv(2, (3, 3)),
        "b": nn.Conv(2, (3, 3), kernel_dilation=2),
      }
      x = Choice(ops, name="first")(x)
      ops = {"b": nn.Conv(2, (3, 3)), "c": nn.Conv(2, (3, 3))}
      x = Choice(ops, name="second")(x)
      return nn.Dense(3)(x.mean((1, 2)))

  space = trace(Other, IMAGE, 3).space()
  (a,), (dilated,) = space.sites[0][:2]
  (b,), (c,) = space.sites[1][1:]
  assert a.program == b.program == c.program != dilated.program
  assert dilated.key == f"b 8x6x2->2 s1 #{dilated.program}"
  assert Site(**a.to_json()) == a
  with pytest.raises(ValueError, match="has no module"):
    make_op(Site(**a.to_json()), "eval")
  assert trace(Other, IMAGE, 3) == trace(Other, IMAGE, 3)


def test_weights_start_as_the_model_says():
  class Scaled(nn.Module):
    """Multiplies with 7 at first."""

    @nn.compact
    def __call__(self, x):
      ops = {"a": nn.Conv(2, (1, 1)), "b": Identity()}
      x = Choice(ops, name="layer")(x)
      gain = self.param("gain", nn.initializers.constant(7.0), (1,))
      return nn.Dense(3)(x.mean((1, 2))) * gain[None]

  net = trace(Scaled, IMAGE, 3)
  weights = models.make_supernet(net).init(jax.random.key(0))
  network = models.make_network(net, (1,), "train")
  params, stats = init_variables(network, jax.random.key(0))
  assert weights["gain"] == params["gain"] == 7.0 and stats == {}
  with pytest.raises(ValueError, match="an operation at each of its 1"):
    models.inherit(net, (-1,), weights)


def test_a_list_is_a_dict_of_names_by_class_and_place():
  modules = [nn.Conv(2, (3, 3)), Identity(), nn.Conv(2, (1, 1))]
  named = trace(small(dict(zip("abc", modules, strict=True))), IMAGE, 3)
  for ops in (modules, tuple(modules)):
    net = trace(small(ops), IMAGE, 3)
    assert net.ops == ("Conv_0", "Identity_1", "Conv_2")
    (row,), (expected,) = net.space().sites, named.space().sites
    for (site,), (other,) in zip(row, expected, strict=True):
      assert dataclasses.replace(site, op=other.op) == other
    assert net.space().fixed == named.space().fixed
  module = models.make_network(net, (2,), "eval")
  shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.ones((1, *IMAGE)))
  assert shapes["params"]["layer"]["Conv_2"]["kernel"].shape == (1, 1, 2, 2)


def test_choices_may_lack_weights_and_share_modules_that_do():
  class Plain(nn.Module):
    """No weights in its choices; a module of theirs is in both."""

    @nn.compact
    def __call__(self, x):
      skip = Identity()
      for index in range(2):
        layer = {
          "skip": skip,
          "double": nn.Sequential([Calls(lambda x: 2 * x), skip]),
        }
        x = Choice(layer, name=f"layer_{index}")(x)
      return nn.Dense(3, kernel_init=nn.initializers.ones)(x.mean((1, 2)))

  net, x = trace(Plain, IMAGE, 3), jnp.ones((1, *IMAGE))
  supernet = models.make_supernet(net)
  weights = jit(supernet.init)(jax.random.key(0))
  assert set(weights) == {"Dense_0"}
  for genotype, times in (((0, 0), 1), ((0, 1), 2), ((1, 1), 4)):
    mix = jnp.asarray(architecture.one_hot(genotype, 2))
    mixed = supernet.apply(weights, mix, x)
    path = Paths(jnp.asarray(genotype)[:, None])
    params = models.inherit(net, genotype, weights)
    network = models.make_network(net, genotype, "search")
    derived, _ = network.apply({"params": params}, x)
    for logits in (mixed, supernet.apply(weights, mix, x, path), derived):
      np.testing.assert_allclose(logits, np.full((1, 3), 2.0 * times))


def test_the_outside_is_the_model_without_its_choices():
  (site,) = NET.space().fixed
  module, x = make_op(site, "eval"), jnp.zeros((1, *IMAGE))
  variables = jax.eval_shape(module.init, jax.random.key(0), x)
  assert set(variables["params"]) == {"Conv_0", "Dense_0"}
  done = jax.make_jaxpr(module.apply)(variables, x)
  names = [eqn.primitive.name for eqn in done.eqns]
  assert names.count("conv_general_dilated") == 1
  assert not [name for name in names if "random" in name]
