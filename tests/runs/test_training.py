"""Training of derived networks."""

import numpy as np
import pytest

import hwnas_jax as hw
from hwnas_jax.config import problem as problems
from hwnas_jax.data import embedded
from hwnas_jax.io.records import Accuracies
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.runs import training
from hwnas_jax.spaces import architecture


@pytest.fixture
def config():
  config = hw.load_config("digits:smoke")
  config.space.update(num_cells=1, num_nodes=2, channels=4)
  config.data.pad = 0
  config.train.update(
    num_steps=2, steps_per_dispatch=2, batch_size=8, checkpoint_every=2
  )
  return config


def test_samples_are_trained_without_what_compares_them(config, tmp_path):
  config.condition.name = "fixed"
  config.derive.update(num_samples=2, num_trained=0)
  fields = problems.resolve(config)
  dataset = embedded.digits()
  rest, held = training._hold_out(fields, dataset)
  (held,) = held.values()
  count = dataset.train.labels.shape[0]
  assert len(held.labels) == count - round(0.9 * count)
  assert len(rest.train.labels) + len(held.labels) == count
  together = np.concatenate([rest.train.images, held.images]).reshape(count, -1)
  whole = np.asarray(dataset.train.images).reshape(count, -1)
  np.testing.assert_array_equal(np.sort(together, 0), np.sort(whole, 0))
  net = problems.make_nets(fields).derived
  genotype = (0,) * len(net.space().choices)
  arguments = fields, RunFolder(tmp_path), dataset, net, [genotype]
  (accuracies,) = training.train(*arguments)
  assert 0 <= accuracies.held_out_accuracy <= 1
  assert accuracies.test_accuracies == (accuracies.test_accuracy,)
  home = RunFolder(tmp_path).network(
    architecture.identity(net.space(), genotype)
  )
  assert home.accuracies() == accuracies
  # What is trained is read.
  home.weights.unlink()
  assert training.train(*arguments) == [accuracies]
  assert not home.weights.exists()


def test_without_samples_nothing_is_held_out(config):
  dataset = embedded.digits()
  fields = problems.resolve(config)
  assert training._hold_out(fields, dataset) == (dataset, {})


def test_a_recipe_without_steps_leaves_networks_untrained(config, tmp_path):
  config.train.num_steps = 0
  fields = problems.resolve(config)
  net = problems.make_nets(fields).derived
  genotype = (1,) * len(net.space().choices)
  folder, dataset = RunFolder(tmp_path), embedded.digits()
  untrained = training.train(fields, folder, dataset, net, [genotype])
  assert untrained == [Accuracies()]
  (path,) = (tmp_path / "networks").rglob("*.*")
  assert path.name == "architecture.json"
