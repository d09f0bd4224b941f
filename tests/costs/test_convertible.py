"""What ONNX lacks is known before anything is measured or written."""

import pytest
import toy_models

from hwnas_jax.costs.measure import convertible, plan
from hwnas_jax.nets.tracing import trace
from hwnas_jax.spaces.darts import EIGHT, Darts


@pytest.fixture(scope="module")
def net():
  return trace(toy_models.Fourier, (8, 6, 2), 3)


def test_operations_without_a_conversion_are_named(net):
  gaps = convertible.gaps(net.space())
  assert list(gaps) == ["mix"] and gaps["mix"][:2] == ("'fft'", "'real'")
  text = convertible.sentence(net.space())
  assert text.startswith("ONNX has no conversion of operations of this model: ")
  assert "mix ('fft', 'real'" in text and "leaky" not in text


def test_spaces_that_convert_say_nothing():
  net = trace(toy_models.Model, toy_models.IMAGE, 3)
  for space in (net.space(), Darts(EIGHT, 3, 2, 4, (8, 8, 3), 5).space()):
    assert convertible.sentence(space) == ""


def test_a_plan_is_refused_before_anything_is_written(net, tmp_path):
  with pytest.raises(ValueError, match="mix \\('fft'.*no plan of it"):
    plan.write(tmp_path / "plan", net, 2, [])
  assert not (tmp_path / "plan").exists()
