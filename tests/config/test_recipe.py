"""Step counts, and what helps a training, that do not go together."""

import pytest
from toy_config import config

from hwnas_jax.config import checks

SAMPLES = {"condition__name": "fixed", "derive__num_samples": 2}


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    (
      {"search__num_steps": 15},
      r"search.num_steps \(15\) must be a multiple of"
      r" search.steps_per_dispatch \(10\)",
    ),
    ({"search__checkpoint_every": 7}, r"search.checkpoint_every \(7\)"),
    ({"train__num_steps": 11}, r"train.num_steps \(11\)"),
    ({"train__checkpoint_every": 1}, r"train.checkpoint_every \(1\)"),
    (
      {"train__parts": 5},
      r"train.batch_size \(96\) must be a multiple of train.parts \(5\)$",
    ),
    (
      {"train__parts": 32, "devices": 2},
      r"must be a multiple of train.parts \(32\) times devices \(2\)",
    ),
    (
      {"train__batch_size": 33, "devices": 2},
      r"train.batch_size \(33\) must be a multiple of devices \(2\)",
    ),
    (
      {"train__parts": 5, "devices": 2, "train__side_by_side": True},
      r"must be a multiple of train.parts \(5\)$",
    ),
    (
      {"train__teacher": True, "train__num_steps": 0},
      "train.teacher=True trains nothing with train.num_steps=0",
    ),
    (
      {"train__inherit": True, "train__num_steps": 0},
      "train.inherit=True trains nothing with train.num_steps=0",
    ),
    (
      {**SAMPLES, "train__teacher": True},
      "derive.num_samples compares .*train.teacher must be False",
    ),
    (
      {"train__teacher": True, "condition__name": "fixed"},
      "train.teacher=True needs a family .*condition.name=fixed gives one",
    ),
    (
      {"train__inherit": True, "derive__num_cells": 20},
      r"train.inherit=True .*derive.num_cells must be 0 or space.num_cells"
      r" \(8\), got 20",
    ),
    (
      {"train__inherit": True, "derive__channels": 36},
      r"derive.channels must be 0 or space.channels \(16\), got 36",
    ),
    (
      {"train__inherit": True, "controller__classifier": True},
      "train.inherit=True .*controller.classifier must be False",
    ),
  ],
)
def test_a_recipe_that_makes_no_sense_is_refused(fields, message):
  with pytest.raises(ValueError, match=message):
    checks.check(config(**fields))


@pytest.mark.parametrize(
  "fields",
  [
    {"train__batch_size": 33, "devices": 2, "train__side_by_side": True},
    {"train__parts": 32, "devices": 2, "train__side_by_side": True},
    {"train__teacher": True, "train__inherit": True},
    {**SAMPLES, "train__inherit": True},
    {"train__inherit": True, "derive__num_cells": 8, "derive__channels": 16},
  ],
)
def test_a_recipe_that_makes_sense_passes(fields):
  checks.check(config(**fields))
