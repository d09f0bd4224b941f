"""Coefficients of devices: from tables, and from the shipped file."""

import copy
import importlib.resources
import json
import re

import numpy as np
import pytest

from hwnas_jax.costs.correct import devices, transfer
from hwnas_jax.spaces import darts

OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
NET = darts.Darts(OPS, 3, 2, 4, (8, 8, 1), 3)
SPACE = NET.space()
R = {
  site.key: 0.0 if site.op == "none" else 0.1 * (1 + i)
  for i, site in enumerate(SPACE.unique_sites())
}


def test_coefficients_of_tables_are_their_sums_by_type():
  found = devices.from_costs(NET, {"R": R})
  assert found.names == ("base", *OPS)
  ms = found.coefficients_ms["R"]
  assert ms[0] == pytest.approx(SPACE.base_cost(R))
  assert ms[1:] == pytest.approx(SPACE.cost_array(R).sum(0))
  # A network with every operation as often is the typical one.
  assert found.typical @ ms == pytest.approx(
    SPACE.base_cost(R) + SPACE.cost_array(R).mean(1).sum()
  )


def test_shapes_have_no_speed_and_no_zero():
  one = devices.from_costs(NET, {"R": R})
  other = devices.from_costs(NET, {"R": {key: 7 * ms for key, ms in R.items()}})
  np.testing.assert_allclose(one.shapes(), other.shapes(), rtol=1e-6)
  assert np.exp(one.shapes()[0, 1]) == pytest.approx(devices.LEAST)
  costly = one.shapes()[0, [0, 2, 3, 4, 5]]
  typical = one.typical[[0, 2, 3, 4, 5]]
  assert np.exp(costly) @ typical == pytest.approx(1.0)


def test_the_shipped_prior_is_for_nas_bench_201():
  found = devices.shipped()
  assert found.names == ("base", *OPS)
  assert len(found.coefficients_ms) == 27
  assert np.isfinite(found.shapes()).all()
  # A 3x3 convolution costs more than a 1x1 one, but where launches are all.
  ms = np.stack(list(found.coefficients_ms.values()))
  assert (ms[:, 4] >= 0.95 * ms[:, 3]).all()
  assert transfer.make_prior(NET, R, {}) is not None


def document():
  file = importlib.resources.files("hwnas_jax.costs") / devices.SHIPPED
  return json.loads(file.read_text())


def test_the_shipped_file_says_where_it_is_from():
  found = document()
  assert "HELP" in found["source"] and "MIT" in found["licence"]
  assert "experiments/transfer/help.py" in found["fit"]


@pytest.mark.parametrize(
  ("field", "value", "expected"),
  [
    ("names", ["none"], "field `names` has ['none'], expected 'base' among"),
    ("typical", [1, "2"], "Expected `float`, got `str` - at `$.typical[1]`"),
    ("coefficients_ms", [], "Expected `object`, got `array` - at `$.coeff"),
    ("source", "", "length >= 1 - at `$.source`"),
    ("licence", 1, "Expected `str`, got `int` - at `$.licence`"),
    ("fit", None, "Expected `str`, got `null` - at `$.fit`"),
  ],
)
def test_a_wrong_field_is_named(field, value, expected):
  with pytest.raises(ValueError, match=f"x: .*{re.escape(expected)}"):
    devices.read("x", {**document(), field: value})
  rest = document()
  del rest[field]
  with pytest.raises(ValueError, match=f"missing required field `{field}`"):
    devices.read("x", rest)


def test_a_wrong_coefficient_is_named():
  found = copy.deepcopy(document())
  found["coefficients_ms"]["pixel3"]["base"] = -1.0
  with pytest.raises(ValueError, match=r"x: .*>= 0.0 - at `\$.coefficients_ms"):
    devices.read("x", found)
  del found["coefficients_ms"]["pixel3"]["base"]
  with pytest.raises(
    ValueError, match="`coefficients_ms` of pixel3 lacks base"
  ):
    devices.read("x", found)


def test_a_list_of_another_length_is_refused():
  with pytest.raises(ValueError, match="field `typical` has 2, expected 6"):
    devices.read("x", {**document(), "typical": [1.0, 1.0]})
