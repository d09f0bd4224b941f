"""A user's own arrays through a whole run."""

import dataclasses

import numpy as np
import pytest

import hwnas_jax as hw
from hwnas_jax import config as base
from hwnas_jax.io.run_folder import RunFolder

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data():
  rng = np.random.default_rng(0)
  labels = np.arange(60) % 3
  images = rng.integers(0, 256, (60, 8, 8), np.uint8)
  return hw.Data(images[:48], labels[:48], images[48:], labels[48:])


@pytest.fixture(scope="module")
def config():
  """Nothing is measured but the networks: parameters are priced."""
  config = base.default()
  config.space.update(ops="three", num_cells=1, num_nodes=1, channels=2)
  config.cost.name = "params"
  config.derive.update(rule="argmax", num_scales=1, num_random=1)
  counts = {"num_steps": 2, "checkpoint_every": 2, "steps_per_dispatch": 2}
  config.search.update(batch_size=4, **counts)
  config.train.update(batch_size=4, **counts)
  config.latency.update(batch_size=2, repeats=3)
  return config


@pytest.fixture(scope="module")
def run(config, data, tmp_path_factory):
  folder = tmp_path_factory.mktemp("arrays") / "run"
  return hw.search(config, data=data, workdir=folder)


def test_a_run_is_of_the_arrays(run, data):
  assert run.config.data.name == "arrays"
  assert run.nets.derived.num_classes == 3
  assert run.nets.derived.image == (8, 8, 1)
  assert run.networks[0](data.x_test[..., None]).shape == (12, 3)
  command = run.folder.settings().command
  assert command.startswith("hwnas_jax.search(config, workdir=")
  assert command.endswith(", data=data)")


def test_the_same_arrays_resume_it(run, config, data):
  family = run.folder.family()
  same = dataclasses.replace(data, x_train=data.x_train.copy())
  again = hw.search(config, data=same, workdir=run.folder.path)
  assert again.folder == run.folder and run.folder.family() == family
  assert hw.load(run.folder.path, same).networks[0].id == run.networks[0].id


def test_other_arrays_are_refused(run, config, data):
  family = run.folder.family()
  other = dataclasses.replace(data, x_train=255 - data.x_train)
  loaded = hw.load(run.folder.path, other)
  for use in (
    lambda: hw.search(config, data=other, workdir=run.folder.path),
    lambda: loaded.dataset,
  ):
    with pytest.raises(ValueError, match="other data than arrays now has"):
      use()
  assert run.folder.family() == family


def test_without_the_arrays_the_message_asks_for_them(run, config):
  found = hw.load(run.folder.path)
  assert found.config == run.config
  assert found.write_report().path.exists()
  message = "arrays given in Python.*give the same arrays again, as data=Data"
  with pytest.raises(ValueError, match=message):
    found.dataset  # noqa: B018
  # Networks know from the run what they need of the data.
  assert [n.id for n in found.networks] == [n.id for n in run.networks]
  config = config.copy_and_resolve_references()
  with config.unlocked():
    config.data.name = "arrays"
  folder = RunFolder(run.folder.path.with_name("other"))
  with pytest.raises(ValueError, match=message):
    hw.search(config, workdir=folder.path)
  assert not folder.path.exists()
