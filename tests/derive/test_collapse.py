"""Signs of a search that has collapsed."""

import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.core.types import FORBIDDEN
from hwnas_jax.derive import collapse
from hwnas_jax.derive.shared import SharedWeights
from hwnas_jax.nets.supernet import Net

LABELS = jnp.asarray([0, 0, 0, 1], jnp.int32)
IMAGES = jnp.zeros((4, 2, 2, 1))
GAP = "with the shared weights it is 50 points below"


def apply(weights, mix, images):
  """Says class 0, right three times of four; of operation 0 alone class 1."""
  says = jnp.where(mix[0, 0] == 1.0, 1, 0)
  return jnp.ones((4, 1)) * (jnp.arange(2) == says)[None]


NET = Net(lambda key: {}, apply)


def signs(logits, genotypes, skip, paths=0):
  logits = np.asarray(logits, "f4")
  features = jnp.zeros((len(logits), 1))
  shared = SharedWeights(NET, {}, IMAGES, LABELS)
  return collapse.signs(shared, features, logits, genotypes, skip, paths)


def test_a_gap_too_many_skips_and_undecided_choices_are_alarms():
  logits = np.zeros((2, 3, 2))
  first, second = signs(logits, [(0, 1, 1), (1, 0, -1)], 1)
  assert first.soft_accuracy == pytest.approx(0.75)
  assert first.discrete_accuracy == pytest.approx(0.25)
  assert first.entropy == pytest.approx(np.log(2), rel=1e-5)
  assert first.skip_share == pytest.approx(2 / 3)
  undecided = (
    "its choices are undecided: their entropy is 100.0% of that of equal"
    " operations"
  )
  assert first.alarms == (
    "skips are 67% of its choices",
    undecided,
    f"{GAP} its mixture",
  )
  assert (second.skip_share, second.alarms) == (0.5, (undecided,))


def test_a_sharp_search_has_no_alarms():
  logits = 50.0 * np.eye(2)[[0, 0, 1]][None]
  (row,) = signs(logits, [(0, 0, 1)], None)
  assert row.alarms == () and row.skip_share is None
  assert row.entropy < 1e-3 and row.undecided < 1e-3
  assert row.soft_accuracy == row.discrete_accuracy


@pytest.mark.parametrize(
  "shares,alarmed",
  [
    ([0.52, 0.24, 0.24], False),  # more than twice the others
    ([0.48, 0.26, 0.26], True),
    ([0.32] + 7 * [0.68 / 7], False),  # more than three times
    ([0.28] + 7 * [0.72 / 7], True),
  ],
)
def test_choices_are_undecided_where_the_first_is_hardly_ahead(shares, alarmed):
  (row,) = signs(np.log(shares)[None, None], [(1,)], None)
  assert bool(row.alarms) == alarmed


def test_only_operations_that_a_choice_has_count():
  """Two of three are as likely; the second choice has nothing to decide."""
  logits = [[[0.0, 0.0, FORBIDDEN], [0.0, FORBIDDEN, FORBIDDEN]]]
  (row,) = signs(logits, [(1, 0)], None)
  assert row.undecided == pytest.approx(1.0, abs=1e-6)


def test_paths_stand_in_for_a_mixture_that_was_never_trained():
  """As a mixture it is right more often than anything that was trained."""
  sure = [[[10.0, 0.0]], [[0.0, 10.0]]]
  mixed = signs(sure, [(0,), (0,)], None)
  assert mixed[0].alarms == (f"{GAP} its mixture",)
  first, second = signs(sure, [(0,), (0,)], None, paths=8)
  assert first.path_accuracy == pytest.approx(0.25)
  assert first.alarms == () and first.soft_accuracy is None
  assert second.path_accuracy == pytest.approx(0.75)
  assert second.alarms == (f"{GAP} networks drawn from its logits",)


def test_without_shared_weights_no_accuracy_is_a_sign():
  logits = np.zeros((1, 3, 2), "f4")
  features = jnp.zeros((1, 1))
  (row,) = collapse.signs(None, features, logits, [(1, 1, 1)], 1)
  assert row.discrete_accuracy is row.soft_accuracy is row.path_accuracy is None
  skips, undecided = row.alarms
  assert skips.startswith("skips are 100%") and "undecided" in undecided


def test_paths_are_drawn_by_their_probabilities():
  (row,) = signs(np.log([[[0.75, 0.25]]]), [(0,)], None, paths=400)
  assert row.path_accuracy == pytest.approx(0.375, abs=0.05)
