"""Ranking by the shared weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hwnas_jax.derive.rank import rank

from hwnas_jax.core.types import ABSENT
from hwnas_jax.derive.shared import SharedWeights
from hwnas_jax.nets.models import make_supernet
from hwnas_jax.spaces import darts

NET = darts.Darts(("skip_connect", "avg_pool_3x3"), 2, 2, 4, (8, 8, 1), 3)
SPACE = NET.space()


def test_ranks_by_the_loss_of_the_shared_weights():
  net = make_supernet(NET)
  weights = jax.jit(net.init)(jax.random.key(0))
  images = jax.random.normal(jax.random.key(1), (6, 8, 8, 1))
  labels = jnp.arange(6) % 3
  rows = np.random.default_rng(0).integers(ABSENT, 2, (20, SPACE.shape[0]))
  genotypes = [tuple(int(o) for o in row) for row in rows]
  shared = SharedWeights(net, weights, images, labels)
  losses = rank(shared, len(SPACE.ops), genotypes)
  assert losses.shape == (20,) and np.ptp(losses) > 1e-3
  apply = jax.jit(net.apply)
  for i in (0, 17):
    mix = np.float32(rows[i][:, None] == np.arange(2))
    logits = np.asarray(apply(weights, mix, images))
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    expected = -log_p[np.arange(6), labels].mean()
    np.testing.assert_allclose(losses[i], expected, rtol=1e-4)


def test_weights_of_each_condition_rank_nothing():
  shared = SharedWeights(
    make_supernet(NET), {}, None, None, fold=lambda weights, features: weights
  )
  with pytest.raises(ValueError, match="cannot be ranked"):
    rank(shared, 2, [(0,) * SPACE.shape[0]])
