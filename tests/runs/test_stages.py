"""What a run was made of: what may change, and what is refused by name."""

import dataclasses
import shutil

import flax.linen as nn
import jax.numpy as jnp
import pytest
import toy_config
from msgspec.structs import replace
from toy_origin import ORIGIN

import hwnas_jax as hw
from hwnas_jax.config import problem as problems
from hwnas_jax.config.problem import Nets
from hwnas_jax.data import embedded
from hwnas_jax.io import checkpoint, records, versions
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.nets.choice import Choice
from hwnas_jax.nets.ops import Identity
from hwnas_jax.nets.tracing import trace
from hwnas_jax.runs import pipeline, stages

CONFIG = problems.resolve(toy_config.small())
DATA = embedded.digits()
NETS = problems.make_nets(CONFIG, DATA)
# What a stage leaves, from the first stage to the last.
LEFT = {
  "table": "table.json",
  "search": "search/checkpoints/10",
  "training": "networks/a1/checkpoints/10",
  "family": "measured.json",
}


@pytest.fixture
def folder(tmp_path):
  folder = RunFolder(tmp_path / "run")
  pipeline.begin(folder, CONFIG, "first", DATA, NETS)
  return folder


def leave(folder, stage):
  for name in stages.STAGES[: stages.STAGES.index(stage) + 1]:
    path = folder.path / LEFT[name]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def changed(field):
  section, _, name = field.partition("/")
  if not name:
    return replace(CONFIG, **{section: getattr(CONFIG, section) + 1})
  if section == "space":
    space = CONFIG.space | {name: CONFIG.space[name] + 1}
    return replace(CONFIG, space=space)
  part = getattr(CONFIG, section)
  old = getattr(part, name)
  new = old + ("2" if isinstance(old, str) else 1)
  return replace(CONFIG, **{section: replace(part, **{name: new})})


FIELDS = {
  "space/num_cells": "table",
  "latency/batch_size": "table",
  "derive/rule": "table",
  "seed": "search",
  "search/every": "search",
  "data/pad": "search",
  "train/lr": "training",
  "train/num_steps": "training",
  "derive/num_samples": "training",
  "derive/num_random": "family",
  "data/data_dir": None,
}


@pytest.mark.parametrize("left", [None, *stages.STAGES])
@pytest.mark.parametrize(("field", "stage"), FIELDS.items())
def test_a_field_may_change_until_a_stage_has_read_it(
  folder, field, stage, left
):
  if left:
    leave(folder, left)
  order = (None, *stages.STAGES)
  may = stage is None or order.index(stage) > order.index(left)
  if may:
    stages.require_same(folder, changed(field), DATA, NETS)
    return
  before = sorted(folder.path.rglob("*"))
  message = f"holds a {stage} of another config: {field} differ"
  with pytest.raises(ValueError, match=message):
    stages.require_same(folder, changed(field), DATA, NETS)
  assert sorted(folder.path.rglob("*")) == before


def test_every_field_has_a_stage_or_is_none_of_any():
  document = records.to_json(CONFIG)
  names = [
    f"{section}/{field}" if field else section
    for section, value in document.items()
    for field in (value if isinstance(value, dict) else ("",))
  ]
  assert {stages.stage_of(name) for name in names} == {None, *stages.STAGES}
  assert not set(stages._ANYWHERE) - set(names)


def test_a_field_that_is_newer_than_a_run_has_its_default_there(folder):
  settings = folder.settings()
  del settings.config["data"]["resize"]
  folder.write_settings(settings, versions.made_with())
  leave(folder, "family")
  stages.require_same(folder, CONFIG, DATA, NETS)
  resized = replace(CONFIG, data=replace(CONFIG.data, resize="8x8"))
  with pytest.raises(ValueError, match="another config: data/resize differ"):
    stages.require_same(folder, resized, DATA, NETS)
  identities = [
    stages.search_identity(config, DATA, NETS)["config"]
    for config in (CONFIG, resized)
  ]
  assert identities[1] == identities[0] | {"data/resize": "8x8"}
  assert "search/every" not in identities[0]  # it is at its default


def test_a_run_that_has_not_finished_takes_the_new_command(folder):
  pipeline.begin(folder, CONFIG, "second", DATA, NETS)
  assert folder.settings().command == "second"


def test_other_data_are_refused_once_a_search_has_begun(folder):
  other = dataclasses.replace(DATA, digest="other", name="mine")
  stages.require_same(folder, CONFIG, other, NETS)
  leave(folder, "search")
  with pytest.raises(ValueError, match="began with other data than mine now"):
    stages.require_same(folder, CONFIG, other, NETS)


class Ours(nn.Module):
  """Two operations at one choice, then the classifier."""

  @nn.compact
  def __call__(self, x):
    operations = {"skip": Identity(), "act": Act()}
    return nn.Dense(10)(Choice(operations, name="layer")(x).mean((1, 2)))


class Act(nn.Module):
  """An operation whose formula a test changes."""

  @nn.compact
  def __call__(self, x):
    return FORMULA["act"](x)


FORMULA = {"act": lambda x: 2 * x + nn.relu(x)}


def test_a_changed_model_is_refused_by_its_choices(folder, monkeypatch):
  config = replace(CONFIG, space=CONFIG.space | {"model": "net.py:Ours"})

  def nets():
    net = trace(Ours, DATA.image, 10)
    return Nets(net, net)

  origin = stages.origin(DATA, nets())
  folder.write_settings(
    replace(folder.settings(), origin=origin), versions.made_with()
  )
  stages.require_nets(folder, config, nets())
  # A constant, which changes no shape and no time.
  monkeypatch.setitem(FORMULA, "act", lambda x: 3 * x + nn.relu(x))
  message = r"than space.model='net.py:Ours' now makes; these differ: layer, m"
  with pytest.raises(ValueError, match=message):
    stages.require_nets(folder, config, nets())


def test_a_lost_config_is_written_again_for_the_same_run(
  finished_run, tmp_path, monkeypatch
):
  path = tmp_path / "run"
  shutil.copytree(finished_run / "runs/digits", path)
  settings = RunFolder(path).settings()
  (path / "config.json").unlink()
  config = problems.resolve(settings.config)
  nets = problems.make_nets(config, DATA)
  stages.require_same(RunFolder(path), config, DATA, nets)
  for field, place in (("lr", "config/train/lr"), ("momentum", "momentum")):
    train = replace(config.train, **{field: 0.5})
    with pytest.raises(ValueError, match=f"no config.json, .*{place} differ"):
      stages.require_same(
        RunFolder(path), replace(config, train=train), DATA, nets
      )
  seeded = replace(config, seed=config.seed + 1)
  with pytest.raises(ValueError, match="search was made .* config/seed differ"):
    stages.require_same(RunFolder(path), seeded, DATA, nets)


def test_a_lost_table_is_refused_before_anything_is_measured(folder):
  config = replace(CONFIG, cost=replace(CONFIG.cost, name="latency"))
  pipeline._require_table(folder, config, None)
  leave(folder, "search")
  (folder.path / "table.json").unlink()
  with pytest.raises(ValueError, match=r"table.json is missing, and the searc"):
    pipeline._require_table(folder, config, None)


def test_a_checkpoint_says_what_it_is_of(tmp_path):
  assert checkpoint.metadata(tmp_path) == {}
  checkpoint.save(tmp_path, 1, {"a": jnp.zeros(1)}, {"data": "x"})
  assert checkpoint.metadata(tmp_path) == {"data": "x"}


def test_a_run_is_its_record(finished_run):
  """Inference needs no data."""
  run = hw.load(finished_run / "runs/digits")
  origin = run.folder.settings().origin
  assert (origin.data.digest, origin.data.num_test) == (DATA.digest, 360)
  assert (origin.data.mean, origin.data.std) == (DATA.mean, DATA.std)
  assert origin.data.class_names == DATA.class_names
  assert "dataset" not in vars(run)
  network = next(n for n in run.networks if n.test_accuracy is not None)
  network.infer  # noqa: B018
  assert "dataset" not in vars(run)
  assert ORIGIN != origin
