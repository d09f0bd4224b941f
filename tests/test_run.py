"""Pieces of the main job that no smoke run of the digits reaches."""

import numpy as np
import pytest

from hwnas_jax import config as configuration
from hwnas_jax import finished, run
from hwnas_jax.io import writers

COUNT = 4000


def test_samples_are_drawn_as_often_as_softmax_says():
  config = configuration.default()
  config.derive.num_samples = COUNT
  shares = np.array([[0.7, 0.2, 0.1], [0.05, 0.05, 0.9]])
  point = [0.5, 0.5], 1.0
  names, points, logits = run._sampled(config, point, np.log(shares))
  assert len(set(names)) == COUNT and points == [point] * COUNT
  drawn = np.eye(3)[logits.argmax(-1)].mean(0)
  np.testing.assert_allclose(drawn, shares, atol=0.03)
  again = run._sampled(config, point, np.log(shares))[2]
  np.testing.assert_array_equal(logits, again)
  config.seed = 1
  other = run._sampled(config, point, np.log(shares))[2]
  assert np.any(logits != other)


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"controller.classifier": True}, "controller.classifier=True, a class"),
    (
      {"condition.name": "fixed"},
      "condition.name=fixed .*: a query needs a family over scales",
    ),
  ],
)
def test_a_query_refuses_a_run_without_one_family(tmp_path, fields, message):
  config = configuration.default()
  config.update_from_flattened_dict(fields)
  writers.write_json(tmp_path / "config.json", {"config": config.to_dict()})
  with pytest.raises(ValueError, match=message):
    finished.load(tmp_path)
