"""NAS-Bench-201: strings, indices, live edges and sites."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.core.types import ABSENT
from hwnas_jax.nets.models import make_network
from hwnas_jax.spaces import architecture, nasbench201
from hwnas_jax.spaces.nasbench201 import EDGES, NUM_CELLS, OPS, NasBench201
from hwnas_jax.spaces.spec import Site

NET = NasBench201(2, 4, (12, 8, 3), 7)
EVERY = list(itertools.product(range(len(OPS)), repeat=len(EDGES)))
# Of the published files; 6111 is the most accurate on CIFAR-10's test images.
PUBLISHED = {
  0: "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|"
  "+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|",
  3: "|avg_pool_3x3~0|+|skip_connect~0|none~1|+|none~0|none~1|skip_connect~2|",
  6111: "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|"
  "+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|",
  15624: "|nor_conv_1x1~0|+|none~0|nor_conv_1x1~1|"
  "+|none~0|nor_conv_1x1~1|nor_conv_1x1~2|",
}


@pytest.mark.parametrize(("index", "text"), PUBLISHED.items())
def test_published_strings_have_their_published_index(index, text):
  genotype = nasbench201.from_string(text)
  assert nasbench201.to_index(genotype) == index
  assert nasbench201.from_index(index) == genotype


def test_every_cell_has_one_string_and_one_index():
  texts = {nasbench201.to_string(genotype) for genotype in EVERY}
  assert len(texts) == NUM_CELLS == len(EVERY) == 15_625
  for genotype in EVERY:
    text = nasbench201.to_string(genotype)
    assert nasbench201.from_string(text) == genotype
  indices = [nasbench201.to_index(genotype) for genotype in EVERY]
  assert sorted(indices) == list(range(NUM_CELLS))
  assert [nasbench201.from_index(i) for i in indices] == EVERY


GOOD = PUBLISHED[0]


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("", "is not a NAS-Bench-201 cell"),
    (GOOD[:-1], "is not a NAS-Bench-201 cell"),
    (f" {GOOD}", "is not a NAS-Bench-201 cell"),
    (GOOD.replace("skip_connect~2", "skip_connect~1"), "is not a NAS"),
    (GOOD.replace("|skip_connect~2|", "|"), "is not a NAS-Bench-201 cell"),
    (GOOD.replace("avg_pool", "max_pool"), "max_pool_3x3 not in NAS-Bench"),
    (GOOD + GOOD, "is not a NAS-Bench-201 cell"),
  ],
)
def test_what_is_no_cell_is_refused(text, message):
  with pytest.raises(ValueError, match=message):
    nasbench201.from_string(text)


@pytest.mark.parametrize("genotype", [(0,) * 5, (0,) * 5 + (5,), (ABSENT,) * 6])
def test_a_genotype_of_another_space_is_refused(genotype):
  for call in (nasbench201.to_string, nasbench201.to_index):
    with pytest.raises(ValueError, match=r"6 operations in \[0, 5\)"):
      call(genotype)


@pytest.mark.parametrize("index", [-1, NUM_CELLS])
def test_an_index_that_there_is_not_is_refused(index):
  with pytest.raises(ValueError, match=f"index {index} is not in"):
    nasbench201.from_index(index)


PATHS = [
  [(0, 3)],
  [(0, 1), (1, 3)],
  [(0, 2), (2, 3)],
  [(0, 1), (1, 2), (2, 3)],
]


def test_an_edge_is_live_where_a_path_runs_through_it():
  for genotype in EVERY:
    runs = {e for e, op in zip(EDGES, genotype, strict=True) if op}
    through = {edge for path in PATHS if runs >= set(path) for edge in path}
    assert NET.live(genotype) == tuple(edge in through for edge in EDGES)


def test_an_absent_choice_is_as_none():
  assert NET.live((1, ABSENT, 1, ABSENT, ABSENT, 1)) == NET.live(
    (1, 0, 1, 0, 0, 1)
  )


def test_the_space():
  space = NET.space()
  assert space.shape == (6, 5) and space.ops == OPS == NET.ops
  assert space.choices[:3] == ("cell/0->1", "cell/0->2", "cell/1->2")
  assert space.group == (0, 1, 1, 2, 2, 2)
  assert architecture.random_genotype(space, np.random.default_rng(0))
  assert NET.space() is space


def test_a_choice_has_a_site_in_every_cell():
  space = NET.space()
  for row in space.sites:
    for op, sites in zip(OPS, row, strict=True):
      assert sites == (
        *[Site(op, 12, 8, 4, 4)] * 2,
        *[Site(op, 6, 4, 8, 8)] * 2,
        *[Site(op, 3, 2, 16, 16)] * 2,
      )


def test_the_fixed_sites():
  assert NET.space().fixed == (
    Site("stem_conv_3x3", 12, 8, 3, 4),
    Site("residual_block", 12, 8, 4, 8, 2),
    Site("residual_block", 6, 4, 8, 16, 2),
    Site("norm_classifier", 3, 2, 16, 7),
  )


def test_sites_are_what_the_network_runs():
  genotype = (3,) * 6
  module = make_network(NET, genotype, "train")
  _, captured = jax.eval_shape(
    lambda x: module.apply(
      module.init(jax.random.key(0), x),
      x,
      capture_intermediates=True,
      mutable=True,
    ),
    jnp.zeros((5, *NET.image)),
  )
  seen = captured["intermediates"]
  for stage, site in enumerate(NET.space().sites[0][3][::2]):
    shape = 5, site.height, site.width, site.channels_out
    for index in range(NET.num_cells):
      cell = seen[f"cell_{stage}_{index}"]
      edges = [name for name in cell if name.startswith("edge_")]
      assert len(edges) == 6
      for name in edges:
        assert cell[name]["__call__"][0].shape == shape
  for stage, site in enumerate(NET.space().fixed[1:3], 1):
    actual = seen[f"block_{stage}"]["__call__"][0].shape
    assert actual == (5, site.height // 2, site.width // 2, site.channels_out)


@pytest.mark.parametrize("image", [(10, 8, 3), (8, 9, 1)])
def test_an_image_that_cannot_be_halved_twice_is_refused(image):
  with pytest.raises(ValueError, match=f"{image[0]}x{image[1]} are not"):
    NasBench201(1, 4, image, 10)
