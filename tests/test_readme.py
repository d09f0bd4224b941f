"""README's Python runs, and its commands name configs that are there."""

import re

import jobs
import numpy as np
import pytest
import shared

import hwnas_jax as hw
from hwnas_jax.config.files import names as config_names

README = (jobs.ROOT / "README.md").read_text()
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)
CONFIG = re.compile(r"--config=([\w/]+)")
# README's sizes, and those that the finished run of `shared` has. Any machine
# keeps the budget: no timing decides.
REDUCED = {
  'hw.load_config("digits")': "tiny()",
  "networks=20, held_out=10": (
    f"networks={shared.NETWORKS}, held_out={shared.HELD_OUT}"
  ),
  '"1.5ms"': '"1000ms"',
}


def reduced(block: str) -> str:
  """A block of README at the sizes of REDUCED, each of which it has to have."""
  for size, smaller in REDUCED.items():
    assert block.count(size) == 1, size
    block = block.replace(size, smaller)
  return block


@pytest.mark.slow
def test_the_python_runs(example_run):
  """In a folder where the same run is finished, so it is read alone."""

  def tiny():
    config = hw.load_config("tiny.py")
    path = shared.table_of(example_run).relative_to(example_run)
    config.latency.table = str(path)
    return config

  family = example_run / "runs/digits/family.json"
  before = family.read_text()
  (block,) = PYTHON.findall(README)
  names = {"tiny": tiny, "pixels": np.zeros((2, 8, 8, 1), np.uint8)}
  exec(compile(reduced(block), "README.md", "exec"), names)
  assert family.read_text() == before
  assert names["logits"].shape == (2, 10)
  assert names["answer"].measured.median_ms <= 1000
  assert (example_run / "deploy/network.onnx").exists()
  assert names["run"].report._repr_html_().startswith("<iframe")
  assert "&lt;html" in names["run"].report._repr_html_()


def test_the_commands_name_configs_of_the_package():
  named = set(CONFIG.findall(README))
  assert named and named <= set(config_names())


def test_a_size_that_readme_no_longer_has_is_found():
  with pytest.raises(AssertionError, match="load_config"):
    reduced("import hwnas_jax as hw")
