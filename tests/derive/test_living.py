"""Dead architectures and what stands for them."""

import numpy as np
import pytest

from hwnas_jax.derive import exact, living
from hwnas_jax.derive.shortlist import log_softmax
from hwnas_jax.spaces.nasbench201 import NasBench201
from hwnas_jax.spaces.rules import RULES

NET = NasBench201(1, 4, (8, 8, 3), 2)
SPACE = NET.space()
NONE = NET.ops.index("none")


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("pull", [0.0, 2.0, 6.0])
def test_it_is_the_likeliest_living_architecture(seed, pull):
  logits = np.random.default_rng(seed).normal(size=SPACE.shape)
  logits[:, NONE] += pull
  ranked = exact.best(SPACE, "argmax", log_softmax(logits), [], 15_625)
  expected = next(g for g in ranked if NET.alive(g))
  found = living.derive(NET, "argmax", SPACE, logits)
  assert found == expected
  if pull == 6.0:
    assert not NET.alive(RULES["argmax"](SPACE, logits))
