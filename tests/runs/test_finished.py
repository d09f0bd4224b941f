"""A finished search, read from its folder."""

import pytest
from msgspec.structs import replace

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
    finished.load(begun(tmp_path, fields), embedded.digits())


def test_what_the_run_measured_is_known(run):
  genotypes = {network.genotype: network.latency for network in run.networks}
  assert run.finished.measured == genotypes
  assert len(genotypes) == len(run.folder.family().members)


def test_what_the_run_measured_is_not_of_a_device_that_is_elsewhere(run):
  net = run.nets.derived
  phone = replace(run.table, fingerprint="a-phone")
  assert finished._measured(run.folder, net, phone) == {}
  assert finished._measured(run.folder, net, run.table) == run.finished.measured
