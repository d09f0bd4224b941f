"""Every number of a config has a range, and what is out of it is named."""

import math

import pytest
from toy_config import config

from hwnas_jax.config import checks, numbers
from hwnas_jax.config.numbers import RANGES, SHARE, Range


def refusal(**fields):
  with pytest.raises(ValueError) as refused:
    checks.check(config(**fields))
  return str(refused.value)


def test_every_number_has_a_range_in_which_its_default_is():
  assert {path for path, _ in numbers.numbers(config())} == set(RANGES)
  assert numbers.faults(config()) == []


@pytest.mark.parametrize(
  "path",
  [p for p, v in numbers.numbers(config()) if isinstance(v, float)],
)
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_what_is_no_number_is_refused_by_field(path, value):
  assert f"{path} must be a finite number, got" in refusal(**{path: value})


@pytest.mark.parametrize(
  ("path", "value", "message"),
  [
    ("seed", -1, "seed must be >= 0, got -1"),
    ("seed", 10**23, "seed must be <= 4294967295, got 1"),
    ("latency.repeats", 2, "latency.repeats must be >= 3, got 2"),
    ("search.batch_size", 10**9, "search.batch_size must be <= 1000000"),
    ("derive.num_random", 10**6, "derive.num_random must be <= 10000"),
    ("space.num_cells", 10**6, "space.num_cells must be <= 256"),
    ("derive.vectors", {"a": [1.0, math.inf]}, "derive.vectors must be a fin"),
  ],
)
def test_a_slip_of_the_finger_is_refused_by_field(path, value, message):
  assert message in refusal(**{path: value})


def test_a_range_says_what_is_wrong():
  assert Range(3, 9).fault(2) == "must be >= 3"
  assert Range(3, 9).fault(10) == "must be <= 9"
  assert Range(3, 9, open_low=True).fault(3) == "must be > 3"
  assert SHARE.fault(1) == "must be in [0, 1)"
  assert SHARE.fault(0) is None


def test_events_need_their_package(monkeypatch):
  monkeypatch.setattr(checks.importlib.util, "find_spec", lambda name: None)
  assert "tensorboard=True needs tensorboardX" in refusal(tensorboard=True)
