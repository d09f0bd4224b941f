"""A config against its data: what does not fit is named by field."""

import numpy as np
import pytest
from toy_config import config

from hwnas_jax.config import data_checks
from hwnas_jax.data.user import Data

IMAGES = np.random.default_rng(0).integers(0, 256, (100, 8, 6), np.uint8)
LABELS = np.arange(100) % 5
DATASET = Data(IMAGES, LABELS, IMAGES[:40], LABELS[:40]).dataset()
FITS = {"search__batch_size": 50, "train__batch_size": 100}


def require(**fields):
  data_checks.require(config(**{**FITS, **fields}), DATASET)


def test_what_fits_passes():
  require()
  require(data__pad=5, train__cutout=5, search__bilevel=True)
  require(train__num_steps=0, train__batch_size=101, train__cutout=16)
  require(search__weights_fraction=1.0, search__batch_size=100)
  # A joint step reads the weights' examples alone, a surrogate's search none.
  require(search__weights_fraction=0.9, search__batch_size=90)
  require(
    quality__name="surrogate",
    search__warmup_steps=0,
    search__batch_size=200,
    search__bilevel=True,
  )


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    (
      {"search__batch_size": 51},
      r"search.batch_size must be <= 50, got 51: search.weights_fraction=0.5 of"
      " 100 training images of arrays leaves so many to the weights",
    ),
    (
      {"search__bilevel": True, "search__weights_fraction": 0.9},
      "search.batch_size must be <= 10, got 50: .* to the controller",
    ),
    (
      {"search__weights_fraction": 0.001},
      "search.weights_fraction: .*each needs at least one example",
    ),
    (
      {"train__batch_size": 101},
      "train.batch_size must be <= 100, got 101: arrays has so many images",
    ),
    (
      {"derive__num_samples": 2},
      "train.batch_size must be <= 90, got 100: .*90% of its training split",
    ),
    ({"data__pad": 6}, "data.pad must be < 6, got 6: .* images of .* are 8x6"),
    ({"train__cutout": 6}, "train.cutout must be < 6, got 6: it could blank a"),
  ],
)
def test_what_does_not_fit_is_refused_by_field(fields, message):
  with pytest.raises(ValueError, match=f"^the config is wrong: .*{message}"):
    require(**fields)


def test_all_faults_are_named_at_once():
  with pytest.raises(ValueError, match=r"search\..*train\..*data\.pad"):
    require(search__batch_size=99, train__batch_size=999, data__pad=100)
