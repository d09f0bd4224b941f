"""A finished search, read from its folder."""

import pytest

import hwnas_jax as hw
from hwnas_jax.config import problem as problems
from hwnas_jax.data import embedded
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.runs import finished, pipeline

COMMAND = "python -m the command"


def begun(path, fields):
  """A run folder in which nothing ran yet."""
  config = hw.load_config("digits:smoke")
  config.update_from_flattened_dict(fields)
  folder = RunFolder(path)
  fields, data = problems.resolve(config), embedded.digits()
  nets = problems.make_nets(fields, data)
  pipeline.begin(folder, fields, COMMAND, data, nets)
  return folder


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"controller.classifier": True}, "controller.classifier=True, one class"),
    (
      {"condition.name": "fixed"},
      "condition.name=fixed .*: a query needs a family over prices",
    ),
    (
      {"cost.name": "params"},
      "cost.name=params: a query needs a family over prices and scales",
    ),
    ({}, "is at step 0 of 40: finish it with .*`python -m the command`"),
  ],
)
def test_a_query_refuses_a_run_without_one_family(tmp_path, fields, message):
  with pytest.raises(ValueError, match=message):
    finished.load(begun(tmp_path, fields))


def test_what_the_run_measured_is_known(run):
  genotypes = {network.genotype: network.latency for network in run.networks}
  assert run.finished.measured == genotypes
  assert len(genotypes) == len(run.folder.family().members)
