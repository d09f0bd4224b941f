"""Training of derived networks."""

import shutil

import jax
import numpy as np
import pytest

import hwnas_jax as hw
from hwnas_jax.config import problem as problems
from hwnas_jax.core import tree
from hwnas_jax.data import embedded
from hwnas_jax.io import checkpoint, readers, writers
from hwnas_jax.io.records import Accuracies
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.nets.models import make_supernet
from hwnas_jax.runs import helpers, training
from hwnas_jax.runs.helpers import Helpers
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
  # What is trained is read; lost weights come back from the last checkpoint.
  whole, metrics = home.weights.read_bytes(), home.metrics.read_text()
  assert training.train(*arguments) == [accuracies]
  for damaged in (whole[:-50], whole.replace(whole[900:904], b"oops", 1), b""):
    home.weights.write_bytes(damaged)
    assert training.train(*arguments) == [accuracies]
    assert home.weights.read_bytes() == whole
  assert home.metrics.read_text() == metrics


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


@pytest.fixture
def helped(config, tmp_path):
  """The arguments of a training with both helpers, of two networks."""
  config.train.update(num_steps=4, teacher=True, inherit=True)
  fields = problems.resolve(config)
  net = problems.make_nets(fields).derived
  count = len(net.space().choices)
  taught, teacher = (1,) * count, (2, *(1,) * (count - 1))
  weights = make_supernet(net).init(jax.random.key(0))
  by = helpers.choose(fields.train, net, [taught, teacher], weights)
  assert by == Helpers(teacher, weights)
  folder = RunFolder(tmp_path)
  return fields, folder, embedded.digits(), net, [taught], by


def test_a_teacher_is_trained_first_and_a_killed_training_goes_on(helped):
  """Only the taught one is asked for: its teacher is trained before it."""
  _, folder, _, net, (taught,), by = helped
  (accuracies,) = training.train(*helped)
  home, teachers = (
    folder.network(architecture.identity(net.space(), g))
    for g in (taught, by.teacher)
  )
  alone = teachers.accuracies()
  assert alone.teacher is None
  assert accuracies.teacher.id == teachers.id
  assert accuracies.supernet == alone.supernet == tree.digest(by.supernet)
  lesson = helpers.lesson(net, by.teacher, teachers)
  assert accuracies.teacher == lesson.record
  # As if it had been killed after its first checkpoint.
  whole = home.weights.read_bytes()
  for path in (home.weights, home.path / "metrics.json"):
    path.unlink()
  checkpoints = home.path / "checkpoints"
  assert checkpoint.steps(checkpoints) == [2, 4]
  shutil.rmtree(checkpoints / "4")
  assert training.train(*helped) == [accuracies]
  assert home.weights.read_bytes() == whole
  # Of another teacher neither the network nor a checkpoint is taken.
  stored = readers.read_sealed(teachers.weights)
  writers.write_arrays(teachers.weights, {n: a + 1 for n, a in stored.items()})
  with pytest.raises(ValueError, match="trained by another teacher: delete"):
    training.train(*helped)
  other = folder, helped[2], net, [taught], by._replace(supernet={})
  with pytest.raises(ValueError, match="not trained from this run's supernet"):
    training.train(helped[0], *other)


@pytest.mark.parametrize("field", ["teacher", "inherit"])
def test_a_helper_that_is_missing_is_refused(config, tmp_path, field):
  config.train[field] = True
  fields = problems.resolve(config)
  net = problems.make_nets(fields).derived
  arguments = fields, RunFolder(tmp_path), embedded.digits(), net, []
  message = f"train.{field}=True, but the training is given none"
  with pytest.raises(ValueError, match=message):
    training.train(*arguments)
  assert not list(tmp_path.iterdir())
