"""Signs of a search that has collapsed."""

import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.nets.conditioned import plain
from hwnas_jax.nets.supernet import Net
from hwnas_jax.search import collapse

LABELS = jnp.asarray([0, 0, 0, 1], jnp.int32)
IMAGES = jnp.zeros((4, 2, 2, 1))


def apply(weights, mix, images):
  """The mixture says class 0, right three times of four; a vertex class 1."""
  says = jnp.where(mix.max() > 0.99, 1, 0)
  return jnp.ones((4, 1)) * (jnp.arange(2) == says)[None]


NET = Net(lambda key: {}, apply)


def signs(logits, genotypes, skip):
  logits = np.asarray(logits, "f4")
  features = jnp.zeros((len(logits), 1))
  return collapse.signs(
    NET, plain, {}, IMAGES, LABELS, features, logits, genotypes, skip
  )


def test_a_gap_and_too_many_skips_are_told():
  logits = np.zeros((2, 3, 2))
  first, second = signs(logits, [(1, 1, 0), (0, 0, -1)], 1)
  assert first["soft_accuracy"] == pytest.approx(0.75)
  assert first["discrete_accuracy"] == pytest.approx(0.25)
  assert first["entropy"] == pytest.approx(np.log(2), rel=1e-5)
  assert (first["skip_share"], second["skip_share"]) == (
    pytest.approx(2 / 3),
    0,
  )
  assert first["alarms"] == [
    "skips are 67% of its choices",
    "with the shared weights it is 50 points below its mixture",
  ]
  assert len(second["alarms"]) == 1


def test_a_sharp_search_has_no_alarms():
  logits = 50.0 * np.eye(2)[[0, 0, 1]][None]
  (row,) = signs(logits, [(0, 0, 1)], None)
  assert row["alarms"] == [] and "skip_share" not in row
  assert row["entropy"] < 1e-3
  assert row["soft_accuracy"] == row["discrete_accuracy"]
