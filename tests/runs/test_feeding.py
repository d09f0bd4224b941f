"""Searches and trainings of streamed data: the examples of those in memory.

And the same bits after a stop.
"""

import contextlib

import jax
import numpy as np
import pytest
from toy_config import config
from toy_files import as_records

import hwnas_jax as hw
from hwnas_jax import config as base
from hwnas_jax.config import method, problem
from hwnas_jax.data.streamed import Streamed
from hwnas_jax.io import loop, readers
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.method import phases
from hwnas_jax.runs import feeding, pipeline, searching, training
from hwnas_jax.spaces.rules import RULES

STEPS = {"num_steps": 8, "checkpoint_every": 4, "steps_per_dispatch": 4}
SMALL = {
  "space__ops": "three",
  "space__num_cells": 1,
  "space__num_nodes": 1,
  "space__channels": 2,
  "cost__name": "params",
  "data__resize": "8x8",
  "data__flip": True,
  "derive__rule": "argmax",
  **{f"search__{name}": value for name, value in STEPS.items()},
  **{f"train__{name}": value for name, value in STEPS.items()},
  "search__bilevel": True,
  "search__batch_size": 8,
  "train__batch_size": 10,
}
STREAMED = {"data__in_memory_gib": 0.0, "data__workers": 0}
CHANGED = {**STREAMED, "data__crop_area": 0.3, "data__jitter": 0.4}


class Stop(Exception):
  pass


@pytest.fixture(scope="module")
def name(tmp_path_factory):
  return as_records(tmp_path_factory.mktemp("files"))


def made(name, **fields):
  """(problem, data set) of a config."""
  resolved = problem.resolve(config(**{"data__name": name, **SMALL, **fields}))
  dataset = pipeline.load_dataset(resolved)
  nets = problem.make_nets(resolved)
  return problem.make(resolved, nets, None), dataset


def search(path, name, **fields):
  """The final state of a search."""
  of, dataset = made(name, **fields)
  return searching.search(of, RunFolder.at(path), dataset).state


def assert_same(one, other):
  jax.tree.map(
    np.testing.assert_array_equal,
    *(jax.tree.map(np.asarray, s.weights | s.controller) for s in (one, other)),
  )


def stop_after(monkeypatch, step):
  """Kills a loop when it has saved a step."""
  save = loop.checkpoint.save

  def saving(path, at, *rest):
    save(path, at, *rest)
    if at == step:
      raise Stop

  monkeypatch.setattr(loop.checkpoint, "save", saving)


@pytest.mark.parametrize(("bilevel", "count"), [(True, 1), (False, 2)])
def test_a_streamed_search_is_that_of_data_on_the_device(
  name, bilevel, count, tmp_path
):
  fields = {"search__bilevel": bilevel}
  whole = search(tmp_path / "a", name, **fields)
  streamed = search(tmp_path / "b", name, **fields, **STREAMED, devices=count)
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6),
    *(s.weights | s.controller for s in (whole, streamed)),
  )
  rows = readers.read_jsonl(tmp_path / "b/search/metrics.jsonl")
  assert len(rows) == 2
  assert all(0 <= row["data_wait_share"] <= 1 for row in rows)
  rows = readers.read_jsonl(tmp_path / "a/search/metrics.jsonl")
  assert not any("data_wait_share" in row for row in rows)


@pytest.mark.slow
def test_weights_and_controller_take_turns(name, tmp_path):
  """A phase that reads one level gets that level, after a restart too."""
  turns = {"search__epoch_steps": 4, "search__warmup_steps": 0}
  whole = search(tmp_path / "a", name, **turns)
  streamed = search(tmp_path / "b", name, **turns, **STREAMED)
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6),
    *(s.weights | s.controller for s in (whole, streamed)),
  )


@pytest.mark.slow
def test_a_killed_search_goes_on_bit_for_bit(name, tmp_path, monkeypatch):
  whole = search(tmp_path / "a", name, **CHANGED)
  with monkeypatch.context() as patched, pytest.raises(Stop):
    stop_after(patched, 4)
    search(tmp_path / "b", name, **CHANGED)
  # With other workers too: they change nothing.
  again = search(tmp_path / "b", name, **CHANGED | {"data__workers": 1})
  assert_same(whole, again)


def test_a_killed_training_goes_on_bit_for_bit(name, tmp_path, monkeypatch):
  one = {"derive__num_samples": 2, "condition__name": "fixed"}
  of, dataset = made(name, **CHANGED, **one)
  net = of.nets.derived
  genotype = RULES["argmax"](net.space(), np.eye(*net.space().shape))

  def train(path):
    arguments = of.config, RunFolder.at(path), dataset, net, [genotype]
    (accuracies,) = training.train(*arguments)
    (home,) = (path / "networks").iterdir()
    return accuracies, readers.read_sealed(home / "weights.npz")

  whole = train(tmp_path / "a")
  with monkeypatch.context() as patched, pytest.raises(Stop):
    stop_after(patched, 4)
    train(tmp_path / "b")
  again = train(tmp_path / "b")
  assert whole[0] == again[0] and whole[0].held_out_accuracy is not None
  assert whole[0].test_accuracy * 21 == pytest.approx(
    round(whole[0].test_accuracy * 21)
  )
  jax.tree.map(np.testing.assert_array_equal, whole[1], again[1])


def test_phases_say_whose_examples_they_read():
  turns = config(**SMALL, search__epoch_steps=2, search__warmup_steps=4)
  levels = [phases.levels(s.phase) for s in method.make_phases(turns)]
  assert levels == [(0,), (0,), (1,)]
  for fields, read in (
    ({}, (0, 1)),
    ({"search__bilevel": False}, (0,)),
    ({"quality__name": "surrogate"}, ()),
  ):
    (span,) = method.make_phases(config(**{**SMALL, **fields}))
    assert phases.levels(span.phase) == read


def test_accuracy_is_of_every_streamed_example(name):
  of, dataset = made(name, **STREAMED)
  assert isinstance(dataset.test, Streamed)

  def evaluate(params, stats, split):
    assert split.labels.shape == (10,)
    return (split.labels == 2).mean()

  share = feeding.accuracy(of.config, evaluate, {}, {}, dataset.test)
  assert share == 7 / 21


@pytest.mark.slow
def test_a_whole_run_of_the_stand_in(tmp_path, monkeypatch, capsys):
  """imagenet:smoke in bfloat16, its data streamed from ArrayRecord files."""
  monkeypatch.setenv("HWNAS_CACHE_DIR", str(tmp_path / "cache"))
  settings = hw.load_config("imagenet:smoke")
  small = {k: v for k, v in SMALL.items() if not k.startswith("data")}
  settings.update_from_flattened_dict(
    {k.replace("__", "."): v for k, v in small.items()}
    | {"space.name": "darts", "space.skeleton": "fbnet_32"}
    | {"derive.num_scales": 1, "derive.num_random": 1}
  )
  run = hw.search(settings, workdir=tmp_path / "run")
  assert "128 training images of 32x32, streamed" in capsys.readouterr().out
  origin = run.folder.settings().origin.data
  assert (origin.num_train, origin.num_test) == (128, 48)
  trained = [n for n in run.networks if n.test_accuracy is not None]
  assert trained and 0 <= trained[0].test_accuracy <= 1
  images, labels = trained[0]._examples()
  assert images.shape == (48, 32, 32, 3) and labels is None
  assert run.config.precision == "bfloat16"
  again = hw.search(settings, workdir=tmp_path / "run")
  assert again.folder.family() == run.folder.family()


def test_the_same_names_of_other_files_are_refused(name, tmp_path):
  settings = base.default()
  settings.update_from_flattened_dict(
    {
      k.replace("__", "."): v
      for k, v in {"data__name": name, **SMALL, **STREAMED}.items()
    }
  )
  settings.update_from_flattened_dict(
    {"train.num_steps": 0, "derive.num_scales": 1, "derive.num_random": 1}
  )
  hw.search(settings, workdir=tmp_path / "run")
  settings.data.name = as_records(tmp_path / "other", per_file=10)
  with pytest.raises(ValueError, match="began with other data than records:"):
    hw.search(settings, workdir=tmp_path / "run")


def test_a_feed_is_closed_when_a_search_fails(name, tmp_path, monkeypatch):
  closed = []
  close = feeding.Feed.close
  monkeypatch.setattr(
    feeding.Feed, "close", lambda feed: (closed.append(feed), close(feed))
  )
  with monkeypatch.context() as patched, contextlib.suppress(Stop):
    stop_after(patched, 4)
    search(tmp_path, name, **STREAMED)
  assert closed and closed[-1]._open is None
