"""The protocol's lists are the package's, where latency is a sum.

The protocol makes its lists from measured latencies of whole cells, for all
settings and budgets at once; a query makes them by `capacity.largest` and
`shortlist.shortlist` from prices of operations.
"""

import importlib
import itertools
import pathlib
import sys

import numpy as np
import pytest

from hwnas_jax.costs import counts
from hwnas_jax.derive import capacity, shortlist
from hwnas_jax.derive.exact import Constraint
from hwnas_jax.spaces.nasbench201 import OPS, NasBench201

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
NAME = "experiments.nasbench201.protocol"
controller, data, pickers, score = (
  importlib.import_module(f"{NAME}.{module}")
  for module in ("controller", "data", "pickers", "score")
)
NET = NasBench201(5, 16, (32, 32, 3), 10)
NONE = OPS.index("none")


@pytest.fixture(scope="module")
def genotypes():
  return np.asarray([*itertools.product(range(len(OPS)), repeat=6)])


@pytest.fixture(scope="module")
def prices():
  made = np.random.default_rng(0).uniform(1, 9, NET.space().shape)
  made[:, NONE] = 0
  return made


def make_problem(genotypes, prices, budgets_ms):
  edges = np.arange(genotypes.shape[1])
  sizes = NET.space().cost_array(counts.site_costs(NET.space(), counts.macs))
  nothing = np.zeros(len(genotypes))
  cells = data.Cells(
    indices=np.arange(len(genotypes)),
    genotypes=genotypes,
    macs=sizes[edges, genotypes].sum(1),
    judges={},
    val_12=nothing,
    val_200=nothing,
    test_200=nothing,
    latency_ms=prices[edges, genotypes].sum(1)[None],
    settings=("device",),
  )
  return score.Problem(cells, np.asarray([budgets_ms]), np.ones(1))


def read(problem, rows):
  kept = rows[rows != pickers.ABSENT]
  return [tuple(g) for g in problem.cells.genotypes[kept].tolist()]


@pytest.mark.parametrize("budget_ms", [12.0, 25.0, 40.0])
def test_the_largest_are_those_of_the_capacity_shortlist(
  genotypes, prices, budget_ms
):
  def runs_all(genotype):
    live = NET.live(genotype)
    return all(op == NONE or r for op, r in zip(genotype, live, strict=True))

  living = np.asarray([g for g in genotypes.tolist() if runs_all(tuple(g))])
  problem = make_problem(living, prices, [budget_ms])
  # A query's ties go to the lower latency.
  tie = -problem.cells.latency_ms[0]
  lists = pickers.first_that_fit(problem, problem.cells.macs, tie, 100)
  timed = Constraint("latency", prices, 0.0, budget_ms)
  largest = capacity.largest(NET, "argmax", [timed], 100)
  expected = read(problem, lists[0, 0])
  assert len(expected) > 10
  np.testing.assert_array_equal(
    capacity.macs(NET, largest), capacity.macs(NET, expected)
  )


@pytest.mark.parametrize("budget_ms, filled", [(25.0, True), (4.0, False)])
def test_candidates_are_those_of_the_shortlist(
  genotypes, prices, budget_ms, filled
):
  problem = make_problem(genotypes, prices, [budget_ms])
  logits = 2 * np.random.default_rng(1).normal(size=(8, *prices.shape))
  log_p = shortlist.log_softmax(logits)
  likelihoods = (
    log_p.reshape(8, -1)
    @ controller.one_hot(genotypes).reshape(len(genotypes), -1).T
  )
  settings = controller.Settings(0.0, shortlist.BAND, "scales")
  found = controller.candidates(
    problem, likelihoods[None], settings, shortlist.MOST
  )
  least = (1 - shortlist.BAND) * budget_ms
  latency_ms = problem.cells.latency_ms[0]
  in_band = (least <= latency_ms) & (latency_ms <= budget_ms)
  # With less than PER_SCALE the slowest that fit stand for the band.
  assert (in_band.sum() >= shortlist.MOST) == filled
  assert filled or in_band.sum() < shortlist.PER_SCALE
  timed = Constraint("latency", prices, 0.0, budget_ms)
  expected = shortlist.shortlist(NET.space(), "argmax", logits, [timed])
  assert len(expected) > 10
  assert read(problem, found[0, 0]) == expected
