"""Genotypes: JSON, names, live edges and random draws."""

import json

import numpy as np
import pytest

from hwnas_jax.core.types import ABSENT
from hwnas_jax.spaces import architecture, darts

NET = darts.Darts(darts.EIGHT, 3, 2, 4, (8, 8, 3), 10)
SPACE = darts.make_space(NET)
NONE, SKIP, SEP = (
  darts.EIGHT.index(op) for op in ("none", "skip_connect", "sep_conv_3x3")
)
# Edges of a cell: 0->2, 1->2, 0->3, 1->3, 2->3.
GENOTYPE = (SEP, ABSENT, 1, NONE, 7, 0, 2, ABSENT, ABSENT, 5)


def test_json_round_trip():
  stored = json.loads(json.dumps(architecture.to_json(SPACE, GENOTYPE)))
  assert stored["normal/0->2"] == "sep_conv_3x3"
  assert len(stored) == 7  # ABSENT is left out, `none` is not
  assert architecture.from_json(SPACE, stored) == GENOTYPE


def test_json_in_any_order():
  stored = architecture.to_json(SPACE, GENOTYPE)
  turned = dict(reversed(stored.items()))
  assert architecture.from_json(SPACE, turned) == GENOTYPE
  assert architecture.from_json(SPACE, {}) == (ABSENT,) * 10


@pytest.mark.parametrize(
  ("edges", "name"),
  [
    ({"normal/0->9": "none"}, "normal/0->9"),
    ({"normal/0->2": "sep_conv_9x9"}, "sep_conv_9x9"),
    ({"normal/0->2": None}, "None"),
    ({"normal/0->2": 4}, "4"),
    ({"normal/0->2": ["none"]}, "none"),
    ({"normal/0->2": None, "normal/1->2": "x"}, "None, x"),
  ],
)
def test_json_of_another_space_is_refused(edges, name):
  with pytest.raises(ValueError, match="not in this space") as error:
    architecture.from_json(SPACE, edges)
  assert name in str(error.value)


@pytest.mark.parametrize(
  ("genotype", "message"),
  [
    ((0,) * 9, "genotype has 9 choices, the space has 10"),
    ((0,) * 11, "genotype has 11 choices, the space has 10"),
    ((0,) * 9 + (8,), "operation index 8"),
    ((0,) * 9 + (-2,), "operation index -2"),
  ],
)
def test_a_genotype_of_another_space_is_refused(genotype, message):
  for function in (
    architecture.check_genotype,
    architecture.to_json,
    architecture.identity,
  ):
    with pytest.raises(ValueError, match=message):
      function(SPACE, genotype)
  architecture.check_genotype(SPACE, GENOTYPE)


def test_an_identity_stays_what_it_was():
  # It names folders of finished runs.
  assert architecture.identity(SPACE, GENOTYPE) == "f953892e"


def test_a_scaled_network_has_an_identity_of_its_own():
  names = {architecture.identity(SPACE, GENOTYPE, w) for w in (0.5, 1.0, 1.25)}
  assert len(names) == 3 and architecture.identity(SPACE, GENOTYPE) in names


def test_an_identity_tells_architectures_apart():
  rng = np.random.default_rng(0)
  drawn = {architecture.random_genotype(SPACE, rng) for _ in range(200)}
  names = {architecture.identity(SPACE, genotype) for genotype in drawn}
  assert len(names) == len(drawn) == 200


def test_an_identity_reads_operations_by_name():
  five = darts.Darts(darts.FIVE, 3, 2, 4, (8, 8, 3), 10)
  other = darts.make_space(five)
  genotype = (other.ops.index("sep_conv_3x3"),) * 10
  assert architecture.identity(other, genotype) == architecture.identity(
    SPACE, (SEP,) * 10
  )


def test_random_genotypes_are_uniform():
  rng = np.random.default_rng(0)
  drawn = np.array(
    [architecture.random_genotype(SPACE, rng) for _ in range(2000)]
  )
  assert drawn.shape == (2000, 10)
  shares = [np.bincount(column, minlength=8) / 2000 for column in drawn.T]
  np.testing.assert_allclose(shares, 1 / 8, atol=0.03)


def test_operations_are_counted():
  counts = architecture.op_counts(SPACE, GENOTYPE)
  assert counts["sep_conv_3x3"] == 1 and counts["none"] == 2
  assert list(counts) == list(darts.EIGHT)
  assert sum(counts.values()) == 7


LIVE = (True,) * 5


@pytest.mark.parametrize(
  ("normal", "expected"),
  [
    ((SEP,) * 5, LIVE),
    ((NONE,) * 5, (False,) * 5),
    ((ABSENT,) * 5, (False,) * 5),
    ((SEP, ABSENT, NONE, SKIP, SKIP), (True, False, False, True, True)),
    # Node 2 is zero, so what reads it is dead, whatever its operation.
    ((NONE, NONE, SEP, SEP, SEP), (False, False, True, True, False)),
    ((ABSENT, NONE, SEP, SEP, SEP), (False, False, True, True, False)),
  ],
)
def test_live_choices(normal, expected):
  assert NET.live((*normal, *(SKIP,) * 5)) == (
    *expected,
    *LIVE,
  )
  assert NET.live((*(SKIP,) * 5, *normal)) == (
    *LIVE,
    *expected,
  )


@pytest.mark.parametrize(
  ("cells", "normal", "reduce", "alive"),
  [
    (1, SEP, None, True),
    (1, NONE, None, False),
    (3, SEP, SEP, True),
    # Normal, two reductions: the last reads the stem through the first.
    (3, NONE, SEP, True),
    (3, SEP, NONE, False),
    # The last cell is a normal one.
    (4, NONE, SEP, False),
    # A dead reduction is passed by, but not two of them in a row.
    (5, SEP, NONE, True),
    (4, SEP, NONE, False),
  ],
)
def test_a_network_is_alive_if_the_image_reaches_its_end(
  cells, normal, reduce, alive
):
  net = darts.Darts(darts.EIGHT, cells, 2, 4, (8, 8, 3), 10)
  genotype = (normal,) * 5 + (() if reduce is None else (reduce,) * 5)
  assert net.alive(genotype) == alive


def test_a_live_choice_does_not_make_a_network_alive():
  """The reduction runs, and the normal cell at the end gives zeros."""
  net = darts.Darts(darts.EIGHT, 4, 2, 4, (8, 8, 3), 10)
  genotype = (NONE,) * 5 + (SEP,) * 5
  assert any(net.live(genotype)) and not net.alive(genotype)


def test_death_travels_along_a_chain():
  net = darts.Darts(darts.EIGHT, 3, 3, 4, (8, 8, 3), 10)
  live = dict.fromkeys(net.edges, SEP)
  chain = {**live, (0, 0): NONE, (1, 0): NONE, (0, 1): NONE, (1, 1): NONE}
  actual = net.live(tuple(chain.values()) * 2)[:9]
  # Nodes 2 and 3 are zero: only the two edges from the inputs reach node 4.
  dead = {e for e, alive in zip(net.edges, actual, strict=True) if not alive}
  assert dead == {*[e for e in net.edges if e[1] < 2], (2, 2), (3, 2)}
