"""From logits to a genotype, against a slow reading of DARTS's rule."""

import itertools

import numpy as np
import pytest

from hwnas_jax.core.types import ABSENT
from hwnas_jax.spaces import architecture, darts, rules

EIGHT = darts.Darts(darts.EIGHT, 3, 4, 16, (32, 32, 3), 10)
SPACE = darts.make_space(EIGHT)
NONE = darts.EIGHT.index("none")


def by_hand(logits):
  """Liu et al. 2019, section 2.4: the two strongest edges of every node."""
  genotype = {}
  for row, choice in enumerate(SPACE.choices):
    strengths = {}
    total = sum(np.exp(v) for v in logits[row])
    for op, value in zip(SPACE.ops, logits[row], strict=True):
      if op != "none":
        strengths[op] = np.exp(value) / total
    op = max(strengths, key=strengths.get)
    kind, edge = choice.split("/")
    source, target = edge.split("->")
    genotype[kind, int(target), int(source)] = strengths[op], op
  kept = {}
  for kind, target in itertools.product(darts.CELL_TYPES, range(2, 6)):
    edges = [k for k in genotype if k[:2] == (kind, target)]
    edges.sort(key=lambda k: -genotype[k][0])
    for key in edges[:2]:
      kept[f"{kind}/{key[2]}->{target}"] = genotype[key][1]
  return kept


@pytest.mark.parametrize("seed", range(20))
def test_top_k_agrees_with_the_slow_reading(seed):
  scale = 1 + seed
  logits = scale * np.random.default_rng(seed).normal(size=SPACE.shape)
  found = rules.top_k(SPACE, logits)
  assert architecture.to_json(SPACE, found) == by_hand(logits)


@pytest.mark.parametrize("seed", range(5))
def test_top_k_keeps_two_edges_a_node_and_never_none(seed):
  logits = np.random.default_rng(seed).normal(size=SPACE.shape)
  logits[:, NONE] += 2.0
  found = np.asarray(rules.top_k(SPACE, logits))
  assert NONE not in found
  for node in range(8):
    assert (found[np.asarray(SPACE.group) == node] != ABSENT).sum() == 2


def test_none_takes_its_part_in_the_softmax():
  """A likely `none` weakens its edge though it is never chosen."""
  skip = darts.EIGHT.index("skip_connect")
  logits = np.zeros(SPACE.shape)
  rows = np.flatnonzero(np.asarray(SPACE.group) == 1)  # three edges
  logits[rows, skip] = 3.0, 2.0, 1.0
  before = rules.top_k(SPACE, logits)
  logits[rows[0], NONE] = 9.0
  after = rules.top_k(SPACE, logits)
  assert [before[r] for r in rows] == [skip, skip, ABSENT]
  assert [after[r] for r in rows] == [ABSENT, skip, skip]


def test_top_k_does_not_change_its_argument():
  logits = np.random.default_rng(0).normal(size=SPACE.shape)
  copy = logits.copy()
  rules.top_k(SPACE, logits)
  np.testing.assert_array_equal(logits, copy)


def test_top_k_stands_large_logits():
  logits = 1e4 * np.random.default_rng(0).normal(size=SPACE.shape)
  assert len(rules.top_k(SPACE, logits)) == SPACE.shape[0]


def test_top_k_keeps_all_edges_of_a_space_without_none_of_one_node():
  net = darts.Darts(darts.THREE, 3, 1, 4, (8, 8, 1), 10)
  space = darts.make_space(net)
  logits = np.random.default_rng(1).normal(size=space.shape)
  assert rules.top_k(space, logits) == rules.argmax(space, logits)


def test_top_k_gives_a_published_cell():
  """DARTS_V1's normal cell, from logits that prefer its operations."""
  cell = {
    "0->2": "sep_conv_3x3",
    "1->2": "sep_conv_3x3",
    "0->3": "skip_connect",
    "1->3": "sep_conv_3x3",
    "0->4": "skip_connect",
    "1->4": "sep_conv_3x3",
    "0->5": "sep_conv_3x3",
    "2->5": "skip_connect",
  }
  logits = np.zeros(SPACE.shape)
  for edge, op in cell.items():
    row = SPACE.choices.index(f"normal/{edge}")
    logits[row, SPACE.ops.index(op)] = 1.0
  found = architecture.to_json(SPACE, rules.top_k(SPACE, logits))
  normal = {k: v for k, v in found.items() if k.startswith("normal/")}
  assert normal == {f"normal/{edge}": op for edge, op in cell.items()}


def test_argmax_may_choose_none():
  logits = np.random.default_rng(2).normal(size=SPACE.shape)
  logits[3, NONE] = 99.0
  found = rules.argmax(SPACE, logits)
  assert found[3] == NONE and ABSENT not in found
  assert found == tuple(max(range(8), key=list(r).__getitem__) for r in logits)


@pytest.mark.parametrize("rule", rules.RULES.values())
def test_every_rule_gives_a_genotype_of_the_space(rule):
  logits = np.random.default_rng(3).normal(size=SPACE.shape)
  found = rule(SPACE, logits)
  architecture.check_genotype(SPACE, found)
  assert all(type(op) is int for op in found)  # hashable, and JSON


@pytest.mark.parametrize("rule", rules.RULES)
def test_random_architectures_are_of_those_that_a_rule_gives(rule):
  net = darts.Darts(darts.EIGHT, 1, 3, 4, (8, 8, 1), 10)
  space, rng = net.space(), np.random.default_rng(0)
  drawn = {rules.random(space, rule, rng) for _ in range(20)}
  assert len(drawn) == 20
  for genotype in drawn:
    kept = np.bincount(np.asarray(space.group)[np.array(genotype) != ABSENT])
    if rule == "top_k":
      assert set(kept) == {space.keep} and NONE not in genotype
    else:
      assert ABSENT not in genotype
  assert rule == "top_k" or any(NONE in genotype for genotype in drawn)
