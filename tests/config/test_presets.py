"""Changes that several configs share."""

import pytest

from hwnas_jax.config import checks, files, presets
from hwnas_jax.nets.models import SPACES


@pytest.mark.parametrize("name", sorted(set(SPACES) - {"custom"}))
def test_smoke_is_the_least_of_each_space(name):
  config = files.default()
  config.space.name = name
  config.search.update(warmup_steps=200, epoch_steps=100, bilevel=True)
  config.cost.predictor = "mlp"
  presets.smoke(config)
  typed = files.typed(config)
  checks.check(typed)
  assert SPACES[name].smoke.items() <= typed.space.items()
  assert (typed.search.warmup_steps, typed.search.epoch_steps) == (4, 4)
  assert typed.search.num_steps == 12 and typed.train.num_steps == 0
  assert typed.cost.predictor == "" and typed.data.name == "digits"


def test_a_config_varies_or_stays():
  config = files.default()
  before = config.to_dict()
  assert presets.vary(config, "").to_dict() == before
  assert presets.vary(config, "smoke").search.num_steps == 12
  with pytest.raises(ValueError, match="no variant 'large'.*smoke"):
    presets.vary(config, "large")
