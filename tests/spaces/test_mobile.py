"""Chains: skeletons, shapes, choices that lack an operation, and errors."""

import dataclasses
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.core import graph as graphs
from hwnas_jax.core import tree
from hwnas_jax.core.types import ABSENT
from hwnas_jax.costs import counts
from hwnas_jax.derive import exact, reach
from hwnas_jax.nets import conv, models
from hwnas_jax.spaces import architecture, rules
from hwnas_jax.spaces.mobile import (
  SKELETONS,
  Chain,
  Skeleton,
  Stage,
  small,
)
from hwnas_jax.spaces.sizes import scale_channels
from hwnas_jax.spaces.spec import Site

# Of each layer its channels, stride and input's side at 224 pixels, as the
# authors' code has them.
LAYERS = {
  "fbnet": """16/1/112
    24/2/112 24/1/56 24/1/56 24/1/56 32/2/56 32/1/28 32/1/28 32/1/28
    64/2/28 64/1/14 64/1/14 64/1/14 112/1/14 112/1/14 112/1/14 112/1/14
    184/2/14 184/1/7 184/1/7 184/1/7 352/1/7""",
  "proxyless": """24/2/112 24/1/56 24/1/56 24/1/56
    40/2/56 40/1/28 40/1/28 40/1/28 80/2/28 80/1/14 80/1/14 80/1/14
    96/1/14 96/1/14 96/1/14 96/1/14 192/2/14 192/1/7 192/1/7 192/1/7
    320/1/7""",
  "lightnas": """24/2/112 24/1/56 48/2/56 48/1/28 48/1/28
    72/2/28 72/1/14 72/1/14 72/1/14 128/1/14 128/1/14 128/1/14
    160/2/14 160/1/7 160/1/7 160/1/7 176/1/7 176/1/7 176/1/7 176/1/7
    384/1/7""",
}
SIX = [f"mb_k{k}_e{e}_relu6" for k in (3, 5, 7) for e in (3, 6)]
OPS = {
  "fbnet": [
    *["mb_k3_e1", "mb_k3_e1_g2", "mb_k3_e3", "mb_k3_e6"],
    *["mb_k5_e1", "mb_k5_e1_g2", "mb_k5_e3", "mb_k5_e6", "skip"],
  ],
  "proxyless": [*SIX, "identity"],
  "lightnas": [*SIX, "skip_relu6"],
}
FIXED = {
  "fbnet": [
    Site("stem_3x3", 224, 224, 3, 16, 2),
    Site("head_1x1", 7, 7, 352, 1984),
    Site("classifier", 7, 7, 1984, 10),
  ],
  "proxyless": [
    Site("stem_3x3_relu6", 224, 224, 3, 32, 2),
    Site("mb_k3_relu6", 112, 112, 32, 16),
    Site("head_1x1_relu6", 7, 7, 320, 1280),
    Site("classifier", 7, 7, 1280, 10),
  ],
  "lightnas": [
    Site("stem_3x3_relu6", 224, 224, 3, 16, 2),
    Site("mb_k3_relu6", 112, 112, 16, 16),
    Site("head_1x1_relu6", 7, 7, 384, 1984),
    Site("hidden_relu6", 7, 7, 1984, 1280),
    Site("classifier", 1, 1, 1280, 10),
  ],
}


def chain(name: str, **fields) -> Chain:
  side = 32 if name.endswith("_32") else 224
  return Chain(SKELETONS[name], (side, side, 3), 10, **fields)


@pytest.mark.parametrize("name", LAYERS)
def test_published_layers(name):
  space = chain(name).space()
  assert list(space.ops) == OPS[name]
  assert list(space.fixed) == FIXED[name]
  before = 16  # channels of the stem or of the fixed block
  layers = LAYERS[name].split()
  for layer, row in zip(layers, space.sites, strict=True):
    channels, stride, side = map(int, layer.split("/"))
    shape = side, side, before, channels, stride
    sites = [site for cell in row for site in cell]
    assert sites == [Site(site.op, *shape) for site in sites]
    before = channels


@pytest.mark.parametrize("name", LAYERS)
def test_small_images_are_halved_three_times(name):
  space = chain(f"{name}_32").space()
  assert space.keep == len(space.choices) == len(LAYERS[name].split())
  assert space.group == tuple(range(space.keep))
  assert list(space.ops) == OPS[name]
  assert space.sites[-1][0][0].out_size == (4, 4)
  assert chain(f"{name}_32").space() is space


def test_fbnet_for_small_images_is_that_of_hw_nas_bench():
  strides = [stage.stride for stage in SKELETONS["fbnet_32"].stages]
  assert strides == [1, 1, 2, 2, 1, 2, 1]
  assert SKELETONS["fbnet_32"].stem_stride == 1
  heads = [SKELETONS[f"fbnet{end}"].head for end in ("", "_a", "_32")]
  assert heads == [1984, 1504, 1504]


SKIPS = Skeleton(
  ops=("mb_k3_e3_relu6", "identity"),
  relu6=True,
  stem=8,
  stem_stride=2,
  first=8,
  stages=(Stage(8, 2, 1), Stage(16, 2, 2), Stage(16, 1, 1)),
  head=24,
  hidden=40,
)
NET = Chain(SKIPS, (9, 12, 3), 7)


def test_the_fixed_sites():
  assert NET.space().fixed == (
    Site("stem_3x3_relu6", 9, 12, 3, 8, 2),
    Site("mb_k3_relu6", 5, 6, 8, 8),
    Site("head_1x1_relu6", 3, 3, 16, 24),
    Site("hidden_relu6", 3, 3, 24, 40),
    Site("classifier", 1, 1, 40, 7),
  )


@pytest.fixture
def quick():
  """Convolutions as primitives: a fraction of the time to trace."""
  with conv.tracing_for("gpu"):
    yield


def inputs_and_outputs(run, *args):
  """(path, input, output) of the modules that are no part of another one."""
  seen = []

  def record(call, args, kwargs, context):
    y = call(*args, **kwargs)
    path = context.module.path
    if context.method_name == "__call__" and len(path) < 2:
      seen.append((path, args[0].shape, jax.tree.map(jnp.shape, y)))
    return y

  with nn.intercept_methods(record):
    jax.eval_shape(run, *args)
  return seen


def shapes_of(site):
  """What a site says of a batch of 2."""
  x = 2, site.height, site.width, site.channels_in
  if site.op == "classifier":
    return x, (2, site.channels_out)
  size = (1, 1) if site.op == "hidden_relu6" else site.out_size
  return x, (2, *size, site.channels_out)


IMAGES = jax.ShapeDtypeStruct((2, 9, 11, 3), jnp.float32)
ODD = Chain(SKIPS, IMAGES.shape[1:], 7)


def test_sites_are_what_the_network_runs(quick):
  space = ODD.space()
  stem, first, *after = space.fixed
  for genotype in ((0, 1, 0, 1, 0), (1, 0, 0, 0, 1)):
    module = models.make_network(ODD, genotype, "search")
    seen = inputs_and_outputs(module.init, jax.random.key(0), IMAGES)
    layers = [row[op][0] for row, op in zip(space.sites, genotype, strict=True)]
    sites = [stem, first, *layers, *after]
    names = ["stem", "first", *space.choices, "head", "hidden", "classifier"]
    expected = [(n, *shapes_of(s)) for n, s in zip(names, sites, strict=True)]
    assert [(*path, x, y) for path, x, y in seen if path] == expected


def test_sites_are_what_the_supernet_runs(quick):
  space, net = ODD.space(), models.make_supernet(ODD)
  stem, first, *after = space.fixed
  weights = jax.eval_shape(net.init, jax.random.key(0))
  mix = jax.ShapeDtypeStruct(space.shape, jnp.float32)
  with jax.disable_jit():  # an operation of one shape is traced once otherwise
    seen = inputs_and_outputs(net.apply, weights, mix, IMAGES)
  layers = [site for row in space.sites for cell in row for site in cell]
  expected = [shapes_of(site) for site in (stem, first, *layers, *after)]
  assert [(x, y) for path, x, y in seen if not path] == expected


@pytest.mark.parametrize("name", LAYERS)
def test_a_supernet_has_the_parameters_of_its_sites(name, quick):
  """Of all layers; of two operations, for shapes take time to find."""
  *_, before, last = SKELETONS[name].ops
  skeleton = dataclasses.replace(SKELETONS[name], ops=(before, last))
  net = Chain(skeleton, (32, 32, 3), 10)
  shapes = jax.eval_shape(models.make_supernet(net).init, jax.random.key(0))
  cells = [cell for row in net.space().sites for cell in row]
  sites = [*net.space().fixed, *itertools.chain(*cells)]
  assert tree.count(shapes) == sum(map(counts.search_params, sites))


def test_an_identity_is_there_where_the_shape_stays():
  space = NET.space()
  assert space.choices == tuple(f"layer_0{i}" for i in range(1, 6))
  allowed = space.allowed()
  assert allowed[:, 0].all()
  assert allowed[:, 1].tolist() == [True, True, False, True, True]
  assert space.sites[2][0] == (Site("mb_k3_e3_relu6", 5, 6, 8, 16, 2),)
  assert space.sites[2][1] == ()


@pytest.mark.parametrize("name", ["proxyless", "fbnet", "lightnas"])
def test_only_layers_of_proxylessnas_lack_an_operation(name):
  lacking = ~chain(name).space().allowed()
  # The first of each of its six stages: stride 2 or another width.
  assert lacking.sum() == (6 if name == "proxyless" else 0)
  assert not lacking[:, :-1].any()


def test_whatever_chooses_keeps_to_what_a_layer_has():
  space = NET.space()
  rng = np.random.default_rng(0)
  for _ in range(20):
    architecture.check_genotype(space, architecture.random_genotype(space, rng))
  with pytest.raises(ValueError, match="layer_03 has no operation identity"):
    architecture.check_genotype(space, (1, 1, 1, 1, 1))
  skips = np.tile([0.0, 5.0], (5, 1))
  assert exact.best(space, "argmax", skips, []) == [(1, 1, 0, 1, 1)]
  assert exact.best(space, "top_k", skips, []) == [(1, 1, 0, 1, 1)]
  masked = np.where(space.allowed(), skips, -1e9)
  for rule in rules.RULES.values():
    assert rule(space, masked) == (1, 1, 0, 1, 1)
  assert reach.log10_size(space, "argmax") == pytest.approx(4 * np.log10(2))


def test_the_size_of_the_published_space():
  size = reach.log10_size(chain("fbnet").space(), "argmax")
  assert size == pytest.approx(22 * np.log10(9))


def test_every_layer_is_live_and_the_graph_is_a_line():
  assert NET.live((0, 1, 0, 1, 0)) == (True,) * 5
  assert NET.live((0, 1, ABSENT, 1, 0)) == (True, True, False, True, True)
  graph = NET.graph()
  graphs.require_forward(graph)
  assert graph.edges == ((0, 1), (1, 2), (2, 3), (3, 4), (4, 5))
  mix = architecture.one_hot([(0, 1, 0, 1, 1)], 2)[0]
  assert np.asarray(graphs.runs(graph, mix)).tolist() == [[1.0] * 5] * 3


def test_a_width_multiplies_all_channels_but_the_hidden():
  wide = dataclasses.replace(NET, width=2.0).space()
  channels = [site.channels_out for site in wide.fixed]
  assert channels == [16, 16, 48, 40, 7]
  assert [row[0][0].channels_out for row in wide.sites] == [16, 16, 32, 32, 32]
  assert wide.choices == NET.space().choices


@pytest.mark.parametrize(("width", "head"), [(0.5, 1280), (1.5, 1920)])
def test_the_head_of_proxylessnas_is_never_narrower(width, head):
  net = chain("proxyless", width=width)
  assert net.space().fixed[-2].channels_out == head
  assert net.space().sites[-1][0][0].channels_out == 320 * width


@pytest.mark.parametrize("name", SKELETONS)
def test_width_one_is_the_skeleton(name):
  skeleton = SKELETONS[name]
  given = [skeleton.stem, skeleton.first, skeleton.head]
  given += [stage.channels for stage in skeleton.stages]
  assert [scale_channels(c, 1.0) for c in given if c] == [c for c in given if c]


@pytest.mark.parametrize("width", [0.0, -1.0, float("nan")])
def test_a_width_that_is_none_is_refused(width):
  with pytest.raises(ValueError, match="width must be > 0"):
    dataclasses.replace(NET, width=width)


def test_an_image_too_small_to_halve_is_refused():
  fits = dataclasses.replace(NET, image=(4, 4, 3))
  assert fits.space().sites[-1][0][0].out_size == (1, 1)
  with pytest.raises(ValueError, match="sides by 4, and 3x8 are fewer"):
    dataclasses.replace(NET, image=(3, 8, 3))
  with pytest.raises(ValueError, match=r"by 32, and 28x28 .* \*_32"):
    Chain(SKELETONS["fbnet"], (28, 28, 1), 10)
  Chain(SKELETONS["fbnet_32"], (28, 28, 1), 10)


def test_a_small_skeleton_keeps_all_else():
  halved = small(SKIPS)
  assert halved.stages == (Stage(8, 2, 1), Stage(16, 2, 1), Stage(16, 1, 1))
  assert (
    dataclasses.replace(SKIPS, stem_stride=1, stages=halved.stages) == halved
  )
