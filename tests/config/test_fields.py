"""The typed config: frozen, of plain values, and the same after JSON."""

import json

import msgspec
import pytest
from toy_config import config

from hwnas_jax.config.fields import Config
from hwnas_jax.io import records


def test_it_is_frozen():
  made = config()
  with pytest.raises(AttributeError):
    made.seed = 1
  with pytest.raises(AttributeError):
    made.search.num_steps = 1


def test_it_comes_back_from_json():
  made = config(seed=3, search__num_steps=20, space__name="mobile")
  contents = json.loads(json.dumps(records.to_json(made)))
  assert msgspec.convert(contents, Config) == made


def test_a_change_leaves_the_default_alone():
  config(derive__num_scales=3).space["name"] = "mobile"
  assert config().space["name"] == "darts"
  Config().derive.vectors["a"] = [1.0]
  assert Config().derive.vectors == {}
