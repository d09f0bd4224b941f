"""Latency tables by the API: measured, gone on with, moved, and planned."""

import json

import pytest
import toy_device
import toy_plan
from msgspec.structs import replace
from toy_config import config

import hwnas_jax as hw
from hwnas_jax.config import files, problem
from hwnas_jax.costs.measure import networks, timing
from hwnas_jax.io import document as documents
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.runs import pipeline
from hwnas_jax.runs import profile as profiling
from hwnas_jax.runs.profile import Effort

SMOKE = files.typed(files.load("digits:smoke"))
TOY = {
  "space__ops": "three",
  "space__num_cells": 1,
  "space__num_nodes": 1,
  "space__channels": 2,
  "latency__batch_size": 2,
  "derive__rule": "argmax",
}


@pytest.fixture
def device(monkeypatch):
  return toy_device.install(monkeypatch)


def profile(out, made=SMOKE, **keywords):
  """hw.profile without networks, unless they are asked for."""
  return hw.profile(made, out=out, **{"networks": 0, **keywords})


def test_a_table_has_every_site_and_its_error(device, tmp_path):
  out = tmp_path / "table.json"
  table = profile(out, networks=5, held_out=4, repeats=4)
  assert hw.Table.load(out) == table
  sites = problem.make_nets(SMOKE).derived.space().unique_sites()
  assert [entry.site.key for entry in table.entries] == [s.key for s in sites]
  assert {len(entry.samples_ms) for entry in table.entries} == {4}
  assert len(table.calibration.networks) == 5
  assert len(set(device.networks)) == 9
  assert (table.errors.networks, table.errors.held_out) == (4, True)
  assert table.errors.raw.median_absolute_error == pytest.approx(0.5)
  assert table.errors.calibrated.median_absolute_error < 0.05
  assert profile(out, networks=5, held_out=4) == table
  assert len(device.networks) == 9


def test_a_small_space_is_seen_before_anything_is_measured(device, tmp_path):
  """It has fewer networks than are asked for."""
  out = tmp_path / "table.json"
  with pytest.raises(
    ValueError, match=r"networks in \d+ draws, and 40 are to be"
  ):
    profile(out, config(**TOY), networks=30, held_out=10)
  assert device.groups == [] and not out.exists()


def test_a_path_is_checked_first(device, tmp_path):
  with pytest.raises(IsADirectoryError, match=str(tmp_path)):
    profile(tmp_path)
  assert device.groups == []


def test_a_config_is_checked_first(device):
  with pytest.raises(ValueError, match="latency.batch_size must be > 0"):
    profile(None, config(latency__batch_size=0))
  assert device.groups == []


@pytest.mark.parametrize(
  ("effort", "message"),
  [
    ({"networks": 2}, "networks must be 0, or at least 3"),
    ({"networks": -1}, "networks must be 0, or at least 3"),
    ({"held_out": -1}, "held_out 0 or more"),
    ({"repeats": 2}, "repeats must be 3 or more"),
  ],
)
def test_an_effort_has_bounds(effort, message):
  with pytest.raises(ValueError, match=message):
    profile("table.json", **effort)


@pytest.mark.parametrize("count", [0, 4])
def test_the_main_job_calibrates_if_asked(device, tmp_path, count):
  latency = replace(SMOKE.latency, calibration_networks=count)
  made, folder = replace(SMOKE, latency=latency), RunFolder.at(tmp_path)
  net = problem.make_nets(made).derived
  table = pipeline._table(made, folder, net, None)
  assert hw.Table.load(tmp_path / "table.json") == table
  assert len(device.networks) == count
  assert (table.calibration is not None) == bool(count)
  # A run that goes on has the same prices.
  assert pipeline._table(made, folder, net, None) == table
  assert len(device.networks) == count


@pytest.mark.parametrize("searched", [True, False])
def test_a_table_that_a_search_was_priced_with_stays(
  device, tmp_path, searched
):
  """Though it was given, the run may go on without naming it again."""
  latency = replace(SMOKE.latency, calibration_networks=4)
  made, folder = replace(SMOKE, latency=latency), RunFolder.at(tmp_path / "run")
  net = problem.make_nets(made).derived
  given = profile(tmp_path / "given.json", networks=0 if searched else 5)
  assert pipeline._table(made, folder, net, given) == given
  if searched:
    (folder.search / "checkpoints" / "40").mkdir(parents=True)
  device.networks.clear()
  assert pipeline._table(made, folder, net, None) == given
  assert hw.Table.load(folder.table) == given and device.networks == []


def test_a_stopped_measurement_goes_on(device, tmp_path, monkeypatch):
  honest = timing.measure_networks
  monkeypatch.setattr(networks, "GROUP", 2)
  calls: list[int] = []

  def stops(compiled, repeats, meter):
    calls.append(1)
    if len(calls) == 3:
      raise KeyboardInterrupt
    return honest(compiled, repeats, meter)

  monkeypatch.setattr(timing, "measure_networks", stops)
  out = tmp_path / "table.json"
  with pytest.raises(KeyboardInterrupt):
    profile(out, networks=5, held_out=0)
  assert hw.Table.load(out).calibration is None
  before = json.loads((tmp_path / "table.networks.json").read_text())
  assert len(before["networks"]) == 4
  device.networks.clear()
  table = profile(out, networks=5, held_out=0)
  assert len(device.networks) == 1
  assert hw.Table.load(out) == table and len(table.calibration.networks) == 5


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"fingerprint": "toaster"}, "`fingerprint` is 'toaster', the table's"),
    ({"batch_size": 3}, "`batch_size` is 3, the table's"),
    ({"networks": {}}, r"Expected `array`, got `object` - at `\$.networks`"),
    ({"digest": "0"}, "`digest` does not match"),
  ],
)
def test_networks_of_another_device_are_refused(
  device, tmp_path, change, message
):
  profile(tmp_path / "table.json", networks=3, held_out=0)
  path = tmp_path / "table.networks.json"
  document = json.loads(path.read_text()) | change
  if "digest" not in change:
    document["digest"] = documents.digest(document)
  path.write_text(json.dumps(document))
  with pytest.raises(ValueError, match=message):
    profile(tmp_path / "table.json", networks=3, held_out=0)


def test_the_default_table_is_named_after_the_device(
  device, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  table = profile(None)
  (path,) = (tmp_path / "tables").iterdir()
  assert path.stem == table.fingerprint == hw.Table.load(path).fingerprint


@pytest.fixture
def toaster(device, tmp_path):
  """Makes another device's table of a space."""

  def make(made=SMOKE):
    table = profile(tmp_path / "toaster.json", made)
    device.groups.clear()
    return replace(table, fingerprint="toaster")

  return make


def test_a_table_is_transferred_by_networks_alone(toaster, device, tmp_path):
  other, out = toaster(), tmp_path / "here.json"
  keywords = {"transfer": [other, other], "networks": 10, "held_out": 4}
  table = profile(out, **keywords)
  assert (len(device.groups), len(set(device.networks))) == (0, 14)
  assert table.fingerprint != "toaster"
  assert table.versions["entries_of"] == "toaster"
  assert len(table.calibration.networks) == 10
  assert table.errors.raw.median_absolute_error == pytest.approx(0.5)
  assert table.errors.calibrated.median_absolute_error < 0.05
  with pytest.raises(ValueError, match=r"here\.json exists: delete it"):
    profile(out, **keywords)
  # Without a network it would have the toaster's numbers and this name.
  out = tmp_path / "none.json"
  with pytest.raises(ValueError, match="needs networks measured on its device"):
    profile(out, transfer=[other], networks=0)
  assert not out.exists()


def test_a_table_of_another_space_is_not_transferred(toaster, tmp_path):
  made = config(**TOY | {"space__channels": 3})
  with pytest.raises(ValueError, match="the latency table toaster"):
    profile(tmp_path / "t.json", made, networks=3, transfer=[toaster()])


def test_a_plan_of_networks_alone(toaster, tmp_path):
  made, folder = config(**TOY), tmp_path / "plan"
  others = [toaster(made)]
  assert profiling.write_plan(made, folder, 3, others) == 3
  planned = json.loads((folder / "plan.json").read_text())["entries"]
  assert [row["kind"] for row in planned] == ["network"] * 3
  toy_plan.measure(folder)
  out = tmp_path / "t.json"
  table, path = profiling.fit_plan(made, folder, out, others)
  assert path == out and hw.Table.load(out) == table
  assert table.versions["entries_of"] == "toaster"
  assert table.calibration.networks[0].measured_ms > 0
  with pytest.raises(ValueError, match=r"lacks .*measure with"):
    profiling.fit_plan(made, folder, tmp_path / "u.json")
  # Without a network the table would be the toaster's, under this name.
  empty, message = tmp_path / "empty", "needs networks measured on its device"
  with pytest.raises(ValueError, match=message):
    profiling.write_plan(made, empty, 0, others)
  assert not empty.exists()
  profiling.write_plan(made, empty, 0)
  toy_plan.measure(empty)
  with pytest.raises(ValueError, match=message):
    profiling.fit_plan(made, empty, tmp_path / "v.json", others)
  assert not (tmp_path / "v.json").exists()


@pytest.mark.parametrize(
  ("kind", "effort", "message"),
  [
    ("tree", Effort(), "there is no predictor 'tree': give mlp or graph"),
    ("mlp", Effort(networks=19), "a predictor needs --networks=20"),
    ("graph", Effort(held_out=0), "a predictor needs .*--held_out"),
  ],
)
def test_a_predictor_that_cannot_be_trained(kind, effort, message):
  with pytest.raises(ValueError, match=message):
    profiling.require_predictor(SMOKE, kind, effort)


def test_a_predictor_is_for_one_hot_samples():
  profiling.require_predictor(SMOKE, None, Effort(networks=0))
  profiling.require_predictor(SMOKE, "mlp", Effort())
  made = config(derive__rule="top_k")
  with pytest.raises(ValueError, match="derive.rule=top_k drops some"):
    profiling.require_predictor(made, "mlp", Effort())


def test_the_present_backend_is_accepted():
  profiling.use_backend("cpu")


def test_an_absent_backend_is_refused():
  with pytest.raises(
    ValueError, match="JAX finds no tpu here, but cpu .*--backend"
  ):
    profiling.use_backend("tpu")
