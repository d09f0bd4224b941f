"""Search spaces say for themselves what they are, the package's and others."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_space

from hwnas_jax.core import tree
from hwnas_jax.core.compile import jit
from hwnas_jax.core.types import Paths
from hwnas_jax.nets import models
from hwnas_jax.nets.choice import Choice
from hwnas_jax.nets.ops import Identity, make_op
from hwnas_jax.nets.tracing import trace
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.darts import OP_SETS, THREE, Darts
from hwnas_jax.spaces.mobile import SKELETONS, Chain
from hwnas_jax.spaces.nasbench201 import NasBench201
from hwnas_jax.spaces.spec import Site

DARTS = Darts(THREE, 1, 2, 8, (8, 8, 1), 10)
CELL = NasBench201(1, 8, (8, 8, 1), 10)
CHAIN = Chain(SKELETONS["tiny"], (8, 8, 1), 10)
CODE = """
import flax.linen as nn
from hwnas_jax.nets.choice import Choice
from hwnas_jax.nets.ops import Identity

class Small(nn.Module):
  @nn.compact
  def __call__(self, x):
    ops = {"a": nn.Conv(1, (1, 1)), "pass": Identity()}
    return nn.Dense(10)(Choice(ops, name="layer")(x).mean((1, 2)))
"""


@pytest.fixture
def toy():
  with toy_space.registered() as kind:
    yield kind


def values(**changes):
  return models.space_fields() | changes


def test_a_spec_has_a_kind():
  for name, net in (("darts", DARTS), ("nasbench201", CELL), ("mobile", CHAIN)):
    assert models.kind_of(net) is models.SPACES[name]
  toy = toy_space.Toy(("nor_conv_3x3",), 1, 2, (4, 4, 1), 3)
  with pytest.raises(ValueError, match="of the class Toy: add its SpaceKind"):
    models.kind_of(toy)
  with toy_space.registered():
    assert models.kind_of(toy) is toy_space.KIND
  assert "toy" not in models.SPACES


def test_the_fields_are_those_of_all_spaces(toy):
  assert values() == {
    **{"ops": "eight", "num_cells": 8, "num_nodes": 4, "channels": 16},
    **{"imagenet_stem": False, "skeleton": "fbnet_32", "width": 1.0},
    **{"model": "", "toy_ops": "three", "depth": 3},
  }
  models.SPACES["toy"] = toy._replace(fields={"channels": 7})
  with pytest.raises(ValueError, match=r"space.channels is 16 .* 7 in toy"):
    models.space_fields()


@pytest.mark.parametrize(
  ("name", "changes", "problems"),
  [
    ("darts", {}, []),
    ("darts", {"skeleton": "none", "width": 0}, []),  # not its fields
    (
      "darts",
      {"ops": "nine", "num_nodes": 0},
      [
        "space.ops must be one of three, five, eight, got 'nine'",
        "space.num_nodes must be > 0, got 0",
      ],
    ),
    ("mobile", {"width": -1.0}, ["space.width must be > 0, got -1.0"]),
    ("custom", {}, ["space.name=custom needs space.model"]),
    ("toy", {"depth": 0}, ["space.depth must be > 0, got 0"]),
  ],
)
def test_fields_are_checked(name, changes, problems, toy):
  assert models.field_problems(name, values(**changes)) == problems


@pytest.mark.parametrize(
  ("name", "image", "expected"),
  [
    ("darts", (8, 8, 1), Darts(THREE, 1, 2, 4, (8, 8, 1), 10)),
    ("nasbench201", (8, 8, 1), NasBench201(1, 4, (8, 8, 1), 10)),
    ("mobile", (8, 8, 1), CHAIN),
    (
      "toy",
      (8, 8, 1),
      toy_space.Toy(toy_space.OP_SETS["three"], 2, 8, (8, 8, 1), 10),
    ),
  ],
)
def test_a_spec_is_made_of_fields(name, image, expected, toy):
  kind = models.SPACES[name]
  made = kind.make(values(**kind.smoke), image, 10)
  assert made == expected
  assert all(hasattr(made, field) for field in kind.derive_fields)
  assert set(kind.smoke) | set(kind.choices) <= set(kind.fields)


def test_fields_without_networks_are_refused():
  mobile = models.SPACES["mobile"]
  message = "space.skeleton=proxyless is not for images of 8x8: .* divides"
  with pytest.raises(ValueError, match=message):
    mobile.make(values(skeleton="proxyless"), (8, 8, 1), 10)
  with pytest.raises(ValueError, match="are not multiples of 4"):
    models.SPACES["nasbench201"].make(values(), (9, 8, 1), 10)


def test_a_users_model_is_loaded_and_traced(tmp_path):
  path = tmp_path / "small.py"
  path.write_text(CODE)
  make = models.SPACES["custom"].make
  net = make(values(model=f"{path}:Small"), (8, 8, 1), 10)
  assert net.ops == ("a", "pass")
  space = net.space()
  assert space.skip == "pass"
  kinds = [site.kind for cell in space.sites[0] for site in cell]
  assert kinds == ["layer", "free"] and space.fixed[0].kind == "fixed"
  assert models.kind_of(net) is models.SPACES["custom"]
  for model, message in (
    ("small.py", "expected FILE.py:NAME or package.module:NAME"),
    ("absent.py:Small", "there is no file absent.py here"),
    ("hwnas_jax.absent:Small", "No module named 'hwnas_jax.absent'"),
    (f"{path}:nn", "has no class or function of the name nn"),
    ("hwnas_jax.nets.ops:Classifier", "Classifier: it has no Choice"),
  ):
    with pytest.raises(ValueError, match=message) as caught:
      make(values(model=model), (8, 8, 1), 10)
    assert str(caught.value).startswith(f"space.model='{model}': ")


def test_a_skip_hands_on_its_input_whatever_its_name():
  class Named(nn.Module):
    """Its skip computes; what hands on is called otherwise, or nowhere."""

    passes: bool

    @nn.compact
    def __call__(self, x):
      ops = {"skip": nn.Conv(1, (3, 3)), "other": nn.Conv(1, (1, 1))}
      if self.passes:
        ops["other"] = Identity()
      x = Choice(ops, name="same")(x)
      down = {"skip": nn.Conv(2, (3, 3), 2), "other": nn.Conv(2, (1, 1), 2)}
      return nn.Dense(3)(Choice(down, name="down")(x).mean((1, 2)))

  skips = {p: trace(lambda p=p: Named(p), (4, 4, 1), 3) for p in (True, False)}
  assert skips[True].space().skip == "other"
  assert skips[False].space().skip is None


def test_the_package_knows_its_skips():
  assert DARTS.space().skip == CELL.space().skip == "skip_connect"
  without = dataclasses.replace(DARTS, ops=("none", "sep_conv_3x3"))
  assert without.space().skip is None
  for skeleton in SKELETONS.values():
    chain = Chain(skeleton, (64, 64, 3), 10)
    assert chain.space().skip == skeleton.ops[-1]


def test_sites_say_what_they_are_for():
  def kinds(net, op):
    rows = net.space().sites
    return {s.kind for row in rows for cell in row for s in cell if s.op == op}

  net = dataclasses.replace(DARTS, ops=OP_SETS["eight"], num_cells=3)
  assert kinds(net, "none") == kinds(CELL, "none") == {"free"}
  assert kinds(net, "skip_connect") == kinds(CELL, "skip_connect") == {"added"}
  assert kinds(net, "sep_conv_3x3") == {"added"}
  assert kinds(CHAIN, "skip") == {"free", "layer"}
  assert kinds(CHAIN, "mb_k3_e3") == {"layer"}
  for spec in (net, CELL, CHAIN):
    assert {site.kind for site in spec.space().fixed} == {"fixed"}
  # A file does not store it, and it is no part of a site's identity.
  site = CHAIN.space().fixed[0]
  copy = Site(**site.to_json())
  assert copy == site and copy.kind is None and hash(copy) == hash(site)


def test_a_site_of_two_kinds_is_refused():
  space = CHAIN.space()
  twice = dataclasses.replace(space.sites[0][0][0], kind="fixed")
  with pytest.raises(ValueError, match=r"kind layer .* and fixed in another"):
    dataclasses.replace(space, fixed=(*space.fixed, twice))


def test_derived_networks_have_to_fit():
  check = models.SPACES["darts"].check_derived
  training = {"auxiliary_weight": 0.4, "drop_path": 0.0}
  large = dataclasses.replace(DARTS, num_cells=3, image=(32, 32, 3))
  check(large, large, training)
  small = dataclasses.replace(large, image=(8, 8, 1))
  with pytest.raises(ValueError, match=r"train.auxiliary_weight .*5x5.* 2x2"):
    check(small, small, training)
  check(small, small, training | {"auxiliary_weight": 0.0})
  with pytest.raises(ValueError, match=r"num_cells=3 .*derive.num_cells=2"):
    check(large, dataclasses.replace(large, num_cells=2), training)


def test_only_darts_has_an_auxiliary_head():
  module = models.make_network(DARTS, (0,) * 5, "train", auxiliary=True)
  assert module.auxiliary
  assert not models.make_network(DARTS, (0,) * 5, "train").auxiliary
  with pytest.raises(ValueError, match="NasBench201 have no auxiliary head"):
    models.make_network(CELL, (0,) * 6, "train", auxiliary=True)


@pytest.mark.parametrize("net", [DARTS, CELL, CHAIN])
def test_wider_networks_keep_the_choices(net):
  kind = models.kind_of(net)
  wider = kind.widen(net, 2.0, 1.5)
  assert wider.space().choices == net.space().choices
  assert wider.image == (12, 12, 1)
  assert kind.widen(net, 1.0, 1.0) == net
  field, value = {
    Chain: ("space.width", 2.0),
    Darts: ("derive.channels", 16),
    NasBench201: ("derive.channels", 16),
  }[type(net)]
  assert kind.overrides(net, wider) == [(field, value)]
  assert kind.overrides(net, kind.widen(net, 1.0, 1.5)) == []


def test_a_reference_is_a_well_known_architecture():
  def reference(net):
    genotype = models.kind_of(net).reference(net)
    return list(architecture.to_json(net.space(), genotype).items())

  conv, skip = "sep_conv_3x3", "skip_connect"
  assert reference(DARTS) == [
    ("normal/0->2", skip),
    ("normal/1->2", conv),
    ("normal/1->3", skip),
    ("normal/2->3", conv),
  ]
  assert [op for _, op in reference(CELL)] == [
    *("nor_conv_3x3", "none", "nor_conv_3x3"),
    *("skip_connect", "none", "nor_conv_3x3"),
  ]
  assert {op for _, op in reference(CHAIN)} == {"mb_k3_e6"}
  lightnas = Chain(SKELETONS["lightnas_32"], (32, 32, 3), 10)
  assert {op for _, op in reference(lightnas)} == {"mb_k3_e6_relu6"}
  few = dataclasses.replace(SKELETONS["tiny"], ops=("mb_k5_e6", "mb_k3_e1_g2"))
  near = Chain(few, (8, 8, 1), 10)
  assert {op for _, op in reference(near)} == {"mb_k3_e1_g2"}
  pools = dataclasses.replace(DARTS, ops=("avg_pool_3x3", skip))
  with pytest.raises(ValueError, match="no reference among avg_pool"):
    reference(pools)
  for net in (DARTS, CELL, CHAIN):
    assert net.alive(models.kind_of(net).reference(net))
  assert models.SPACES["custom"].reference is None


TOY = toy_space.Toy(toy_space.OP_SETS["three"], 2, 4, (6, 5, 2), 3)


def test_the_toy_runs(toy):
  """Supernet, paths, network and inherited weights agree, as any space's."""
  supernet, genotype = models.make_supernet(TOY), (1, 2)
  weights = jit(supernet.init)(jax.random.key(0))
  images = jax.random.normal(jax.random.key(1), (4, *TOY.image))
  mix = jnp.asarray(architecture.one_hot(genotype, 3))
  mixed = jit(supernet.apply)(weights, mix, images)
  paths = Paths(jnp.asarray(genotype)[:, None])
  on_paths = jit(supernet.apply)(weights, mix, images, paths)
  module = models.make_network(TOY, genotype, "search")
  fresh = jax.eval_shape(module.init, jax.random.key(0), images)["params"]
  params = models.inherit(TOY, genotype, weights)
  assert tree.diff(fresh, params) == []
  logits, auxiliary = jit(module.apply)({"params": params}, images)
  assert auxiliary is None and logits.shape == (4, 3)
  assert np.ptp(logits) > 0
  for other in (mixed, on_paths):
    np.testing.assert_allclose(other, logits, rtol=1e-4, atol=1e-5)


def test_an_operation_of_ones_own_is_a_line(toy):
  site = TOY.space().sites[0][1][0]
  assert isinstance(make_op(site, "eval", "name"), toy_space.Wide)
  with pytest.raises(ValueError, match="no operation is called 'toy_deep'"):
    make_op(dataclasses.replace(site, op="toy_deep"), "eval")
