"""Which network teaches, and what a run's trainings start from."""

import collections
import dataclasses
import itertools

import pytest
from msgspec.structs import replace

from hwnas_jax.config.fields import Train
from hwnas_jax.derive.family import Derived
from hwnas_jax.io.records import Accuracies, Condition
from hwnas_jax.runs import baselines, derived, helpers, members, training
from hwnas_jax.runs.helpers import Helpers
from hwnas_jax.runs.network import Network
from hwnas_jax.spaces.darts import THREE, Darts

NET = Darts(THREE, 1, 2, 4, (8, 8, 1), 10)
SKIPS, CONVOLUTION = (1,) * 5, (1, 1, 2, 1, 1)
WEIGHTS = {"stem": {}}


@pytest.mark.parametrize("teacher", [False, True])
@pytest.mark.parametrize("inherit", [False, True])
def test_a_recipe_has_the_helpers_that_it_asks_for(teacher, inherit):
  part = Train(teacher=teacher, inherit=inherit)
  by = helpers.choose(part, NET, [SKIPS, CONVOLUTION, (0,) * 5], WEIGHTS)
  assert by.teacher == (CONVOLUTION if teacher else None)
  assert by.supernet is (WEIGHTS if inherit else None)
  helpers.require(part, by)
  with pytest.raises(ValueError, match="train.teacher=.*the training is given"):
    helpers.require(replace(part, teacher=not teacher), by)


def test_a_run_is_trained_with_its_helpers(run, monkeypatch):
  """The teacher is of the trained members, though another is larger."""
  config = run.config
  config = replace(
    config,
    train=replace(config.train, teacher=True, inherit=True),
    derive=replace(config.derive, num_trained=2),
  )
  condition, given = Condition((1.0,), 1.0), []
  networks = [
    Derived(name, genotype, condition, "member")
    for name, genotype in (
      ("scale 1", SKIPS),
      ("scale 0.1", CONVOLUTION),
      ("scale 0.01", (2,) * 5),
    )
  ]
  swept = derived.Swept(networks, [], [], [])
  monkeypatch.setattr(derived, "derive", lambda *_: swept)
  monkeypatch.setattr(derived, "with_collapse", lambda *_: ())
  monkeypatch.setattr(baselines, "trained", lambda *_: networks[:2])
  monkeypatch.setattr(
    baselines, "choose", lambda *_: ([], collections.defaultdict(str))
  )
  monkeypatch.setattr(members, "describe", lambda *_: ())
  monkeypatch.setattr(
    training,
    "train_sized",
    lambda *all: given.append(all) or [Accuracies()] * 2,
  )
  finished = run.finished
  problem = dataclasses.replace(finished.problem, config=config)
  members._measure(problem, run.folder, run.dataset, finished.searched)
  ((*_, sized, by),) = given
  genotypes = [network.genotype for network in sized]
  assert genotypes == [SKIPS, CONVOLUTION]
  assert by == Helpers(CONVOLUTION, finished.searched.state.weights)


def test_a_finished_run_has_the_helpers_of_its_family(run, monkeypatch):
  """The same that its own networks were trained with."""
  part = replace(run.config.train, teacher=True, inherit=True)
  asked = dataclasses.replace(run)
  # What a run reads once: its config, and the search that other tests share.
  vars(asked).update(
    config=replace(run.config, train=part), finished=run.finished
  )
  sizes = {
    network.genotype: network.member.macs
    for network in run.networks
    if helpers.may_teach(network.member)
  }
  largest = max(sizes, key=sizes.get)
  weights = run.finished.searched.state.weights
  assert asked.helpers == Helpers(largest, weights)
  assert run.helpers == helpers.ALONE
  # A query's answer is trained with them.
  given = []
  monkeypatch.setattr(training, "train_sized", lambda *all: given.append(all))
  answers = (
    Network(asked, genotype, None)
    for genotype in itertools.product(range(3), repeat=len(largest))
  )
  untrained = next(a for a in answers if a.test_accuracy is None)
  untrained.train()
  ((*_, networks, by),) = given
  assert networks == [(untrained.genotype, 1.0)] and by is asked.helpers
