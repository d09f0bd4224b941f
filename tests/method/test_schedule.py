"""Schedules: the ends, the way between them, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.method.schedule import SCHEDULES, exponential, linear

every = pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES)
ENDS = [(1.0, 0.2), (0.1, 10.0), (10.0, 0.03)]


@every
@pytest.mark.parametrize(("start", "end"), ENDS)
def test_ends(make, start, end):
  schedule = make(start, end)
  np.testing.assert_allclose(schedule(jnp.float32(0)), start, rtol=1e-5)
  np.testing.assert_allclose(schedule(jnp.float32(1)), end, rtol=1e-4)


@every
@pytest.mark.parametrize("progress", [-3.0, -0.01, 1.01, 2.0])
def test_progress_is_clipped(make, progress):
  schedule = make(1.0, 0.2)
  expected = schedule(jnp.float32(progress > 0.5))
  assert schedule(jnp.float32(progress)) == expected


@every
@pytest.mark.parametrize(("start", "end"), ENDS)
def test_monotone_and_positive(make, start, end):
  values = jax.jit(make(start, end))(jnp.linspace(-1.0, 2.0, 61))
  steps = np.diff(values) * np.sign(end - start)
  assert np.all(steps >= 0) and np.all(steps[21:40] > 0)
  assert np.all(values > 0)


def test_half_way():
  half = jnp.float32(0.5)
  np.testing.assert_allclose(linear(1.0, 0.2)(half), 0.6, rtol=1e-6)
  np.testing.assert_allclose(exponential(1.0, 0.04)(half), 0.2, rtol=1e-5)


@every
@pytest.mark.parametrize("value", [0.0, -0.04, float("nan"), float("inf")])
def test_values_that_are_no_temperature_are_refused(make, value):
  with pytest.raises(ValueError, match=r"temperature\.start must be"):
    make(value, 1.0)
  with pytest.raises(ValueError, match=r"temperature\.end must be"):
    make(1.0, value)
