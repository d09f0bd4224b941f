"""Chains: published sizes, supernet and derived network agree."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.core import tree
from hwnas_jax.core.compile import jit
from hwnas_jax.core.types import ABSENT, Paths
from hwnas_jax.costs import counts
from hwnas_jax.nets import conv, models
from hwnas_jax.spaces.mobile import (
  FBNET,
  LIGHTNAS,
  PROXYLESS,
  SKELETONS,
  Chain,
  Skeleton,
  Stage,
)
from hwnas_jax.train.step import init_variables

# FBNet-A, -B and -C, as a reimplementation has them (AnnaAraslanova/FBNet on
# GitHub): a word for each layer. `s2` is e1 with two groups.
CELLS = {
  "A": """skip k3e3 k3e1 skip skip k5e6 k3e3 k5e1 k3e3 k5e6 k5e3 k5s2 k5e6
    k3e6 k5s2 k5e1 k3s2 k5e6 k5e6 k5e3 k5e6 k5e6""",
  "B": """k3e1 k3e6 k5e1 k3e1 k3e1 k5e6 k5e3 k3e6 k5e6 k5e6 k5e1 skip k5e3
    k5e6 k3e1 k5e1 k5e3 k5e6 k5e1 k5e6 k5e6 k3e6""",
  "C": """k3e1 k3e6 skip k3e1 k3e1 k5e6 k5e3 k5e6 k3e6 k5e6 k5e3 k5e6 k5e6
    k5e6 k5e6 k5e6 k5e3 k5e6 k5e6 k5e6 k5e6 k3e6""",
}


# A kernel and an expansion for each layer, S = skip. ProxylessNAS's is the
# network that its authors released as "mobile"; LightNAS's are in its README.
PROXYLESS_MOBILE = (
  "53 33 S S 73 33 53 53 76 53 53 53 56 53 53 53 76 76 73 73 76"
)
LIGHTNAS_NETS = {
  20: "S 33 36 73 33 53 73 36 33 76 53 76 73 53 73 S 53 73 73 36 76",
  24: "33 76 33 56 56 73 36 S 76 36 33 73 53 73 S S 73 73 53 56 36",
  30: "36 73 36 76 76 33 36 33 76 56 76 76 73 S 76 76 56 S 76 76 36",
}


def chain(name: str, **changes) -> Chain:
  skeleton = dataclasses.replace(SKELETONS[name], **changes)
  return Chain(skeleton, (224, 224, 3), 1000)


def read_fbnet(letter: str) -> tuple[int, ...]:
  names = [
    word
    if word == "skip"
    else f"mb_{word[:2]}_{word[2:]}".replace("s2", "e1_g2")
    for word in CELLS[letter].split()
  ]
  return tuple(map(FBNET.index, names))


def read_digits(text: str) -> tuple[int, ...]:
  """Columns of ProxylessNAS and LightNAS, whose last is the skip."""
  return tuple(
    6 if word == "S" else PROXYLESS.index("mb_k{}_e{}_relu6".format(*word))
    for word in text.split()
  )


def cost_of(net: Chain, genotype: tuple[int, ...], cost) -> float:
  """A sum over sites, of which only those of the network are counted."""
  space = net.space()
  rows = zip(space.sites, genotype, strict=True)
  sites = [*space.fixed, *(site for row, op in rows for site in row[op])]
  costs = {site.key: cost(site) for site in sites}
  return counts.genotype_cost(net, genotype, costs)


def shapes_of(net, genotype, mode="train"):
  module = models.make_network(net, genotype, mode)
  images = jax.ShapeDtypeStruct((2, *net.image), jnp.float32)
  return jax.eval_shape(module.init, jax.random.key(0), images)["params"]


@pytest.mark.parametrize(
  ("letter", "name", "changes", "expected"),
  [
    ("A", "fbnet_a", {}, 4_264_792),
    ("B", "fbnet", {"head": 1504}, 4_163_128),
    ("B", "fbnet", {}, 4_813_048),
    ("C", "fbnet", {}, 5_572_200),
  ],
)
def test_published_parameters_of_fbnet(letter, name, changes, expected):
  net, genotype = chain(name, **changes), read_fbnet(letter)
  assert cost_of(net, genotype, counts.params) == expected


def test_a_network_has_the_parameters_of_its_sites():
  assert tree.count(shapes_of(chain("fbnet_a"), read_fbnet("A"))) == 4_264_792


@pytest.mark.parametrize(
  ("letter", "released"), [("B", 291.1e6), ("C", 378.2e6)]
)
def test_released_macs_of_fbnet(letter, released):
  """The authors' code: no first 1x1 where e is 1, and another layer in B."""
  net, genotype = chain("fbnet"), read_fbnet(letter)
  if letter == "B":
    assert net.ops[genotype[10]] == "mb_k5_e1"
    genotype = (*genotype[:10], net.ops.index("mb_k5_e6"), *genotype[11:])
  actual = cost_of(net, genotype, counts.macs)
  for row, op in zip(net.space().sites, genotype, strict=True):
    if net.ops[op].endswith("_e1"):
      (site,) = row[op]
      actual -= site.height * site.width * site.channels_in**2
  assert abs(actual / released - 1) < 0.001


def test_released_size_of_proxylessnas():
  """320M multiply-accumulates are published, of a wider first stage."""
  searched = chain("proxyless")
  genotype = read_digits(PROXYLESS_MOBILE)
  first, *rest = searched.skeleton.stages
  released = chain("proxyless", stages=(first._replace(channels=32), *rest))
  assert cost_of(released, genotype, counts.params) == 4_080_512
  assert cost_of(released, genotype, counts.macs) == 320_427_584
  assert cost_of(searched, genotype, counts.params) == 4_073_520


@pytest.mark.parametrize(
  ("target_ms", "expected"),
  [(20, 7_383_808), (24, 7_091_168), (30, 8_142_264)],
)
def test_parameters_of_the_networks_of_lightnas(target_ms, expected):
  """Not published: counted by hand from the shapes in the authors' code."""
  genotype = read_digits(LIGHTNAS_NETS[target_ms])
  assert cost_of(chain("lightnas"), genotype, counts.params) == expected


@pytest.fixture(autouse=True)
def quick():
  """Convolutions as primitives: a fraction of the time to compile."""
  with conv.tracing_for("gpu"):
    yield


def tiny(ops, **fields) -> Chain:
  given = {"relu6": True, "first": 8, "hidden": 16} | fields
  stages = Stage(8, 1, 1), Stage(16, 3, 2)  # the last two layers are alike
  skeleton = Skeleton(
    ops=ops, stem=8, stem_stride=2, stages=stages, head=24, **given
  )
  return Chain(skeleton, (10, 8, 2), 3)


NETS = {
  "fbnet": tiny((*FBNET[4:6], FBNET[8]), relu6=False, first=0, hidden=0),
  "proxyless": tiny((PROXYLESS[0], *PROXYLESS[-2:]), hidden=0),
  "lightnas": tiny((*LIGHTNAS[1:3], LIGHTNAS[6])),
}
# Of each, so that every operation runs where the shape stays and changes.
GENOTYPES = {
  "fbnet": ((0, 1, 2, 1), (2, 2, 1, 0), (1, 0, 0, 2)),
  "proxyless": ((0, 1, 2, 0), (2, 0, 1, 2)),
  "lightnas": ((0, 2, 1, 2), (2, 1, 2, 0)),
}
CASES = [(name, g) for name, genotypes in GENOTYPES.items() for g in genotypes]


@functools.cache
def supernet(name):
  """(apply, weights, images)."""
  net = models.make_supernet(NETS[name])
  weights = jax.jit(net.init)(jax.random.key(0))
  images = jax.random.normal(jax.random.key(1), (6, *NETS[name].image))
  return jit(net.apply), weights, images


def one_hot(net, genotype):
  return jax.nn.one_hot(jnp.asarray(genotype), len(net.ops))


@pytest.mark.parametrize(("name", "genotype"), CASES)
def test_one_hot_supernet_equals_derived(name, genotype):
  net, (apply, weights, images) = NETS[name], supernet(name)
  expected = apply(weights, one_hot(net, genotype), images)
  params = models.inherit(net, genotype, weights)
  assert tree.diff(shapes_of(net, genotype, "search"), params) == []
  module = models.make_network(net, genotype, "search")
  actual, aux = jit(module.apply)({"params": params}, images)
  assert aux is None and actual.shape == (6, 3)
  np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)
  assert np.ptp(actual) > 0


@pytest.mark.parametrize("name", NETS)
def test_paths_are_the_mix_of_what_they_name(name):
  net, (apply, weights, images) = NETS[name], supernet(name)
  genotype = GENOTYPES[name][0]
  mix = one_hot(net, genotype)
  expected = apply(weights, mix, images)
  active = jnp.asarray(genotype)[:, None]
  actual = apply(weights, mix, images, Paths(active))
  np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def test_a_mix_of_each_example_is_the_shared_one_where_rows_agree():
  apply, weights, images = supernet("lightnas")
  mix = jax.nn.softmax(jax.random.normal(jax.random.key(2), (4, 3)))
  rows = jnp.broadcast_to(mix, (6, 4, 3))
  actual, expected = apply(weights, rows, images), apply(weights, mix, images)
  np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def test_what_a_layer_lacks_never_runs():
  net, (apply, weights, images) = NETS["proxyless"], supernet("proxyless")
  assert not net.space().allowed()[1, 2]
  assert set(weights["layers"][1]) == set(net.ops[:2])
  mix = one_hot(net, (0, 1, 2, 0))
  expected = apply(weights, mix, images)
  # Neither its weight in a mix nor a path that names it has an effect.
  wrong = mix.at[1, 2].set(7.0)
  np.testing.assert_allclose(apply(weights, wrong, images), expected)
  active = jnp.asarray([[0, 1], [1, 2], [2, 0], [0, 1]])
  actual = apply(weights, mix, images, Paths(active))
  np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def test_an_identity_beside_the_layers():
  apply, weights, images = supernet("proxyless")
  nothing = jnp.zeros((4, 3))
  skips = nothing.at[:, 2].set(0.5).at[1, 2].set(0.0)
  # Half a skip and half an identity make a whole one. The strided layer offers
  # no skip: it has its shortcut alone, whose factor batch norm removes.
  actual = apply(weights, nothing, images, None, jnp.ones(()))
  halves = apply(weights, skips, images, None, jnp.full((), 0.5))
  assert np.ptp(actual) > 0
  np.testing.assert_allclose(halves, actual, rtol=1e-2, atol=1e-2)


def test_only_what_is_chosen_gets_a_gradient():
  net = NETS["fbnet"]
  _, weights, images = supernet("fbnet")
  apply = models.make_supernet(net).apply
  genotype = (1, 0, 2, 1)
  mix = one_hot(net, genotype)
  loss = lambda w: jnp.square(apply(w, mix, images)).sum()  # noqa: E731
  grads = jit(jax.grad(loss))(weights)
  for layer, chosen in zip(grads["layers"], genotype, strict=True):
    for name, grad in layer.items():
      moved = any(np.any(leaf) for leaf in jax.tree.leaves(grad))
      assert moved == (name == net.ops[chosen])


@pytest.mark.parametrize(
  ("genotype", "message"),
  [
    ((0, 2, 2, 0), "layer_02 has no operation identity"),
    ((0, ABSENT, 0, 0), "layer_02 has no operation: a chain"),
    ((0, 0), "genotype has 2 choices, the space has 4"),
  ],
)
def test_what_is_no_chain_is_refused(genotype, message):
  with pytest.raises(ValueError, match=message):
    shapes_of(NETS["proxyless"], genotype)


def test_evaluation_uses_running_statistics():
  net, genotype = NETS["lightnas"], (2, 2, 0, 0)
  images = 3 + np.random.default_rng(0).normal(size=(4, *net.image))
  images = images.astype(np.float32)
  train, evaluate = (
    models.make_network(net, genotype, mode) for mode in ("train", "eval")
  )
  start = jax.jit(functools.partial(init_variables, train))
  params, stats = start(jax.random.key(1))
  variables = {"params": params, "batch_stats": stats}
  run = jit(functools.partial(train.apply, mutable=["batch_stats"]))
  _, updated = run(variables, images)
  for part in ("stem", "first", "layer_03", "head", "hidden"):
    for leaf in jax.tree.leaves(updated["batch_stats"][part]):
      assert np.abs(leaf).max() > 0
  test = jit(lambda x: evaluate.apply({"params": params, **updated}, x)[0])
  alike = np.concatenate([images[:1], images[2:], images[:1]])
  first, *_, last = test(alike)
  np.testing.assert_allclose(last, first, rtol=1e-4, atol=1e-5)
