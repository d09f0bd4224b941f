"""The main job: what a run leaves, and how it goes on."""

import re

import msgspec
import numpy as np
import pytest
import shared
from msgspec.structs import replace
from toy_origin import ORIGIN

import hwnas_jax as hw
from hwnas_jax.costs.table import LatencyTable
from hwnas_jax.io import checkpoint, readers, records, writers
from hwnas_jax.io.records import Accuracies, Settings
from hwnas_jax.io.run_folder import RunFolder


@pytest.fixture(scope="module")
def folder(finished_run):
  return RunFolder(finished_run / "runs/digits")


def test_a_run_leaves_its_results(finished_run, folder):
  printed = (finished_run / "printed.txt").read_text()
  assert "report: runs/digits/report.html" in printed
  assert re.search(r"reachable: \d.* ms smallest, .* ms largest", printed)
  page = folder.report.read_text()
  assert page.rstrip().endswith("</html>")
  assert {"Training", "Search"} < set(re.findall(r"<h2[^>]*>([^<]+)", page))
  settings = folder.settings()
  assert "-m hwnas_jax.main --config=tiny.py" in settings.command
  search = settings.config["search"]
  assert folder.made_with().versions
  batch_size = LatencyTable.load(folder.table).batch_size
  assert batch_size == settings.config["latency"]["batch_size"]
  rows = readers.read_jsonl(folder.search / "metrics.jsonl")
  assert rows[-1]["step"] == search["num_steps"]
  assert len(rows) == search["num_steps"] // search["steps_per_dispatch"]
  assert all(row["expected_latency_ms"] > 0 for row in rows)
  saved = checkpoint.steps(folder.search / "checkpoints")
  assert saved[-1] == search["num_steps"]


def test_a_run_describes_its_family(folder):
  family = folder.family()
  derive = folder.settings().config["derive"]
  kinds = [member.kind for member in family.members]
  assert kinds.count("random") == derive["num_random"]
  assert 1 <= kinds.count("member") <= derive["num_scales"]
  assert [b.kind for b in family.baselines].count("largest") == 1
  assert family.num_test == 360 and family.cost == "latency"
  assert len(family.sweep) == derive["num_scales"]
  ids = {member.id for member in family.members}
  assert {point.id for point in family.sweep} <= ids
  for member in family.members:
    assert member.latency.median_ms > 0 and member.predicted_ms > 0
    assert member.params > 0


def test_a_member_and_its_baselines_are_trained(folder):
  family = folder.family()
  by_id = {member.id: member for member in family.members}
  (member,) = {b.member for b in family.baselines}
  beside = [by_id[b.network] for b in family.baselines]
  assert by_id[member].kind == "member"
  for network in (by_id[member], *beside):
    assert 0 <= network.accuracies.test_accuracy <= 1
  trained = [m for m in family.members if m.accuracies.test_accuracies]
  assert {m.id for m in trained} == {member, *(m.id for m in beside)}
  largest = [b for b in family.baselines if b.kind == "largest"]
  assert by_id[largest[0].network].macs >= by_id[member].macs
  assert folder.measured() is None


def test_a_run_prints_who_wins(finished_run, folder):
  printed = (finished_run / "printed.txt").read_text()
  assert "the family's " in printed and "test split of 360" in printed
  assert "the family&#39;s " in folder.report.read_text()


def test_a_run_keeps_its_networks(folder):
  family = folder.family()
  train = folder.settings().config["train"]
  names = {home.name for home in (folder.path / "networks").iterdir()}
  assert names == {member.id for member in family.members}
  for member in family.members:
    home = folder.network(member.id)
    assert home.read_architecture().architecture == member.architecture
    if not member.accuracies.test_accuracies:
      assert not home.weights.exists()
      continue
    last = readers.read_jsonl(home.metrics)[-1]
    assert last["step"] == train["num_steps"]
    weights = readers.read_sealed(home.weights)
    sizes = [w.size for name, w in weights.items() if "params/" in name]
    assert all(np.isfinite(w).all() for w in weights.values())
    assert sum(sizes) == member.params


@pytest.fixture
def tiny(example_run):
  """The config of the finished run, in a folder that has it."""
  config = hw.load_config("tiny.py")
  path = shared.table_of(example_run).relative_to(example_run)
  config.latency.table = str(path)
  return config


def files_of(folder):
  """The JSON files of a run, its table among them, by name."""
  paths = folder.path.glob("*.json")
  return {path.name: path.read_text() for path in paths}


def test_a_finished_run_is_read_and_reported_again(tiny):
  folder = RunFolder.at("runs/digits")
  before = files_of(folder)
  folder.report.unlink()
  run = hw.search(tiny, workdir="runs/digits", command="another")
  assert run.report.path.exists()
  assert files_of(folder) == before
  # Its own table gives the same prices.
  hw.search(tiny, workdir="runs/digits", table=run.table)
  assert files_of(folder) == before


def test_a_run_that_goes_on_trains_the_baselines_that_were_chosen(tiny):
  """Nothing is derived or measured again, and nothing trained twice."""
  folder = RunFolder.at("runs/digits")
  family = folder.family()
  untrained = [replace(m, accuracies=Accuracies()) for m in family.members]
  (folder.path / "family.json").unlink()
  folder.write_measured(replace(family, members=tuple(untrained)))
  hw.search(tiny, workdir="runs/digits")
  assert folder.family() == family and folder.measured() is None


def test_another_table_is_refused_and_replaces_nothing(tiny):
  folder = RunFolder.at("runs/digits")
  before = files_of(folder)
  table = LatencyTable.load(folder.table)
  first, *others = table.entries
  slower = replace(first, latency_ms=first.latency_ms + 1)
  other = replace(table, entries=(slower, *others))
  with pytest.raises(ValueError, match="began with another latency table"):
    hw.search(tiny, workdir="runs/digits", table=other)
  assert files_of(folder) == before


def small():
  config = hw.load_config("digits:smoke")
  config.space.num_cells = 1
  config.cost.name, config.condition.name = "paper", "simplex"
  config.derive.vectors = {"A": (1.0, 1.0, 1.0)}
  return config


@pytest.mark.parametrize("prices", [(1.0, 1.0), (1.0, -1.0, 1.0), (0.0,) * 3])
def test_wrong_vectors_are_refused_before_the_search(tmp_path, prices):
  config = small()
  config.derive.vectors = {"A": prices}
  with pytest.raises(ValueError, match="derive.vectors needs names with 3"):
    hw.search(config, workdir=tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_a_folder_of_hwnas_jax_0_1_is_refused_by_name(tmp_path):
  """Its config.json has no schema."""
  config = small()
  document = {"config": config.to_dict(), "command": "python -m ..."}
  writers.write_json(tmp_path / "config.json", document)
  before = files_of(RunFolder(tmp_path))
  for use in (
    lambda: hw.load(tmp_path),
    lambda: hw.search(config, workdir=tmp_path),
  ):
    with pytest.raises(ValueError, match=r"config.json is of hwnas_jax 0\.1"):
      use()
  assert files_of(RunFolder(tmp_path)) == before


def test_a_damaged_config_is_refused(tmp_path):
  folder, fields = RunFolder(tmp_path), msgspec.to_builtins(small().to_dict())
  for change, message in (
    ({"search": {"num_steps": "3"}}, r"num_steps|search"),
    ({"serach": {}}, "serach"),
  ):
    settings = Settings(2, fields | change, "", ORIGIN)
    records.write(folder.path / "config.json", settings)
    with pytest.raises(ValueError, match=f"config.json is not a.*{message}"):
      hw.load(tmp_path)
