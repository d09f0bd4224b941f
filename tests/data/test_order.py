"""The order on the host is that of the device."""

import jax
import numpy as np
import pytest

from hwnas_jax.data import arrays
from hwnas_jax.data.order import Order


@pytest.mark.parametrize(
  ("count", "batch_size"), [(1, 1), (7, 3), (64, 16), (65, 64), (1000, 96)]
)
def test_the_host_draws_what_the_device_draws(count, batch_size):
  key, epochs = jax.random.key(5), 3
  keys = [np.asarray(arrays.round_keys(key, e)).tolist() for e in range(epochs)]
  order = Order(keys, count, batch_size)
  for step in range(0, epochs * (count // batch_size), 1 + count // 200):
    on_host = [
      order[position]
      for position in range(step * batch_size, (step + 1) * batch_size)
    ]
    drawn = arrays.batch_indices(key, step, count, batch_size)
    assert on_host == drawn.tolist()
