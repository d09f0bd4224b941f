"""Chains: skeletons, shapes, choices that lack an operation, and errors."""

import dataclasses

import numpy as np
import pytest

from hwnas_jax.core import graph as graphs
from hwnas_jax.core.types import ABSENT
from hwnas_jax.search import discretise, exact, reach
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.mobile import (
  SKELETONS,
  Chain,
  Skeleton,
  Stage,
  scaled,
  small,
)
from hwnas_jax.spaces.spec import Site

# Layers, operations, last height for 224 or 32 pixels a side.
PUBLISHED = {
  "fbnet": (22, 9, 7),
  "fbnet_32": (22, 9, 4),
  "proxyless": (21, 7, 7),
  "proxyless_32": (21, 7, 4),
  "lightnas": (21, 7, 7),
  "lightnas_32": (21, 7, 4),
}


def chain(name: str, **fields) -> Chain:
  side = 32 if name.endswith("_32") else 224
  return Chain(SKELETONS[name], (side, side, 3), 10, **fields)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_shapes(name):
  net, (layers, num_ops, height) = chain(name), PUBLISHED[name]
  space = net.space()
  assert space.shape == (layers, num_ops)
  assert space.keep == layers and space.group == tuple(range(layers))
  last = space.sites[-1][0][0]
  assert last.out_size == (height, height)
  assert net.space() is space
  # Every layer reads what the one before it gives.
  for before, after in zip(space.sites, space.sites[1:], strict=False):
    (first,), (second,) = before[0], after[0]
    assert first.out_size == (second.height, second.width)
    assert first.channels_out == second.channels_in


def test_fbnet_for_small_images_is_that_of_hw_nas_bench():
  strides = [stage.stride for stage in SKELETONS["fbnet_32"].stages]
  assert strides == [1, 1, 2, 2, 1, 2, 1]
  assert SKELETONS["fbnet_32"].stem_stride == 1
  assert (SKELETONS["fbnet"].head, SKELETONS["fbnet_32"].head) == (1984, 1504)


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
    architecture.check(space, architecture.random_genotype(space, rng))
  with pytest.raises(ValueError, match="layer_03 has no operation identity"):
    architecture.check(space, (1, 1, 1, 1, 1))
  skips = np.tile([0.0, 5.0], (5, 1))
  assert exact.best(space, "argmax", skips, []) == [(1, 1, 0, 1, 1)]
  assert exact.best(space, "top_k", skips, []) == [(1, 1, 0, 1, 1)]
  masked = np.where(space.allowed(), skips, -1e9)
  for rule in discretise.RULES.values():
    assert rule(space, masked) == (1, 1, 0, 1, 1)
  assert reach.log10_size(space, "argmax") == pytest.approx(4 * np.log10(2))


def test_the_size_of_the_published_space():
  size = reach.log10_size(chain("fbnet").space(), "argmax")
  assert size == pytest.approx(22 * np.log10(9))


def test_every_layer_is_live_and_the_graph_is_a_line():
  assert NET.live((0, 1, 0, 1, 0)) == (True,) * 5
  assert NET.live((0, 1, ABSENT, 1, 0)) == (True, True, False, True, True)
  graph = NET.graph()
  graphs.check(graph)
  assert graph.edges == ((0, 1), (1, 2), (2, 3), (3, 4), (4, 5))
  mix = architecture.one_hot([(0, 1, 0, 1, 1)], 2)[0]
  assert np.asarray(graphs.runs(graph, mix)).tolist() == [[1.0] * 5] * 3


@pytest.mark.parametrize(
  ("channels", "width", "expected"),
  [
    (16, 1.0, 16),
    (1504, 1.0, 1504),
    (16, 0.25, 8),
    (24, 0.5, 16),  # 8 would be 33 % below 12
    (24, 0.75, 24),  # 16 would be 11 % below 18
    (96, 1.4, 136),
    (1984, 0.1, 200),
    (8, 0.01, 8),
  ],
)
def test_widths_are_multiples_of_eight(channels, width, expected):
  assert scaled(channels, width) == expected


def test_a_width_multiplies_all_channels_but_the_hidden():
  wide = dataclasses.replace(NET, width=2.0).space()
  channels = [site.channels_out for site in wide.fixed]
  assert channels == [16, 16, 48, 40, 7]
  assert [row[0][0].channels_out for row in wide.sites] == [16, 16, 32, 32, 32]
  assert wide.choices == NET.space().choices


@pytest.mark.parametrize("name", SKELETONS)
def test_width_one_is_the_skeleton(name):
  skeleton = SKELETONS[name]
  given = [skeleton.stem, skeleton.first, skeleton.head]
  given += [stage.channels for stage in skeleton.stages]
  assert [scaled(c, 1.0) for c in given if c] == [c for c in given if c]


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
  found = small(SKIPS)
  assert found.stages == (Stage(8, 2, 1), Stage(16, 2, 1), Stage(16, 1, 1))
  assert dataclasses.replace(SKIPS, stem_stride=1, stages=found.stages) == found
