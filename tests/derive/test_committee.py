"""A committee: sums of ranks."""

import numpy as np
import pytest

from hwnas_jax.derive.committee import COMMITTEES, committee, default, places
from hwnas_jax.derive.judges import JUDGES


def test_ranks_are_summed_whatever_the_scores_sizes():
  scores = {"a": np.array([1.0, 3.0, 2.0]), "b": np.array([9e9, -5.0, 1e3])}
  total, unjudged = committee(scores)
  np.testing.assert_array_equal(total, [2.0, 2.0, 2.0])
  assert unjudged == {}
  total, _ = committee(scores, {"a": 1, "b": 3})
  np.testing.assert_array_equal(total, [10 / 4, 6 / 4, 8 / 4])


def test_ties_have_their_mean_rank():
  total, _ = committee({"macs": np.array([5, 7, 5, 5])})
  np.testing.assert_array_equal(total, [2, 4, 2, 2])


def test_what_has_no_score_is_last_and_reported():
  scores = {
    "a": np.array([np.nan, -1e8, np.inf, -np.inf, 0.0]),
    "b": np.arange(5.0),
  }
  total, unjudged = committee(scores, {"a": 1.0, "b": 0.0})
  np.testing.assert_array_equal(total, [2, 4, 2, 2, 5])
  assert unjudged == {"a": (0, 2, 3)}


@pytest.mark.parametrize(
  ("scores", "weights", "problem"),
  [
    ({}, None, "needs one judge"),
    ({"a": [1, 2], "b": [1]}, None, "different candidates"),
    ({"a": 1.0}, None, "different candidates"),
    ({"a": [1, 2]}, {"b": 1}, "weights are of b, scores of a"),
    ({"a": [1, 2]}, {"a": -1}, "have to be >= 0"),
    ({"a": [1, 2]}, {"a": 0}, "not all 0"),
  ],
)
def test_what_is_no_committee_is_refused(scores, weights, problem):
  with pytest.raises(ValueError, match=problem):
    committee(scores, weights)


def test_places_are_from_the_best_and_equal_ones_share_the_first():
  assert places(np.array([1.0, 3.0, 3.0, np.nan, 2.0])) == [4, 1, 1, 5, 3]


def test_a_query_asks_judges_that_are_there():
  for weights in COMMITTEES:
    assert weights.keys() <= JUDGES.keys() and min(weights.values()) > 0


def test_a_committee_that_lacks_a_judge_gives_way_to_the_next():
  first, last = COMMITTEES
  assert default() == default({"nwot"}) == first
  assert default({"jacov"}) == last
  # Each lacks one: the last does with what it has.
  assert default({"jacov", "shared_loss"}) == {"nwot": last["nwot"]}
  assert default({"jacov", *last}) == {}
