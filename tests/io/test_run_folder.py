"""Run folders: every record by its method, and what is refused."""

import json

import numpy as np
import pytest
from toy_origin import ORIGIN

from hwnas_jax.core import naming
from hwnas_jax.io import certificates, records
from hwnas_jax.io.records import (
  Accuracies,
  Condition,
  Device,
  Family,
  MadeWith,
  Measurement,
  Member,
  Network,
  Settings,
)
from hwnas_jax.io.run_folder import NetworkFolder, RunFolder

SETTINGS = Settings(
  2, {"seed": 0, "space": {"name": "darts"}}, "main --a=b", ORIGIN
)
DEVICE = Device(platform="cpu", device_kind="cpu", cpu_model="EPYC")
MADE_WITH = MadeWith({"jax": "0.10.2", "git": None}, DEVICE, "cpu-epyc")
FAMILY = Family(
  ops=("skip", "conv"),
  choices=("edge 0",),
  latency_batch_size=32,
  base_latency_ms=None,
  priced=("conv",),
  members=(
    Member(
      id="a1",
      name="scale 1",
      kind="member",
      condition=Condition((1.0,), 1.0),
      architecture={"edge 0": "conv"},
      params=10,
      op_params=9,
      macs=100,
      latency=Measurement(1.5, 0.25),
    ),
  ),
)
ZONE = records.ComfortZone(
  id="a1",
  batch_size=1,
  tolerance=0.02,
  knee=(
    SCALED := records.ScaledNetwork(
      channels=(8, 16),
      image=(8, 8),
      macs=1,
      params=2,
      latency=Measurement(1.5, 0.25),
      over_found=(1.0,),
      overrides=(),
      needs_images=None,
    )
  ),
  points=(SCALED,),
  versions={},
  device=DEVICE,
)
CERTIFICATE = certificates.Certificate(
  kind="predicted",
  budget=certificates.Budget("1.5ms", 1.5),
  predicted_ms=1.25,
  measured=None,
  tried=(),
  margin=None,
  source="both",
  candidates={"controller": 30, "both": 3},
  unconstrained_best_fits=True,
  simplex=(1.0,),
  simplex_residual=0.0,
  largest=certificates.Rival(
    id="0a", architecture={"a": "conv"}, macs=2000, predicted_ms=1.3
  ),
  committee=certificates.Committee(
    compared=50,
    place=2,
    votes=(certificates.Vote(judge="nwot", weight=1.0, score=None, place=4),),
    left_out={"jacov": "no gradients"},
  ),
  batch_size=32,
  table=certificates.TableIdentity("cpu-epyc", "ab12"),
  device=DEVICE,
  versions={},
)


@pytest.fixture
def folder(tmp_path):
  return RunFolder(tmp_path / "run")


def weights(home):
  home.path.mkdir(parents=True, exist_ok=True)
  np.savez(home.weights, a=np.zeros(1))


def test_the_records_of_a_run_come_back(folder):
  assert not folder.exists()
  assert folder.made_with() is None and folder.family() is None
  folder.write_settings(SETTINGS, MADE_WITH)
  assert folder.exists()
  assert folder.settings() == SETTINGS
  assert folder.made_with() == MADE_WITH
  assert folder.measured() is None
  folder.write_measured(FAMILY)
  assert folder.measured() == FAMILY and folder.family() is None
  folder.write_family(FAMILY)
  assert folder.family() == FAMILY and folder.measured() is None
  assert {p.name for p in folder.path.iterdir()} == {
    "config.json",
    "versions.json",
    "family.json",
  }


@pytest.mark.parametrize("kind", ["network", "answer"])
def test_the_records_of_a_network_come_back(folder, kind):
  home = getattr(folder, kind)("a1")
  assert home.id == "a1"
  assert home.accuracies() is home.comfort_zone() is home.certificate() is None
  with pytest.raises(FileNotFoundError, match="architecture.json"):
    home.read_architecture()
  network = Network({"edge 0": "conv"})
  home = getattr(folder, kind)(naming.network_id(network.architecture))
  home.write_architecture(network)
  home.write_accuracies(Accuracies(0.5, (0.25, 0.75)))
  home.write_comfort_zone(ZONE)
  home.write_certificate(CERTIFICATE)
  assert home.read_architecture() == network
  assert home.accuracies() == Accuracies(0.5, (0.25, 0.75))
  assert home.comfort_zone() == ZONE
  assert home.certificate() == CERTIFICATE


def test_paths_are_those_of_the_documentation(folder, monkeypatch):
  files = (folder.table, folder.predictor, folder.search, folder.report)
  assert [p.relative_to(folder.path).as_posix() for p in files] == [
    "table.json",
    "predictor.npz",
    "search",
    "report.html",
  ]
  home = folder.network("a1")
  assert home == NetworkFolder(folder.path / "networks" / "a1")
  assert folder.answer("a1").path == folder.path / "queries" / "a1"
  names = [home.weights.name, home.metrics.name, home.comfort_figure.name]
  assert names == ["weights.npz", "metrics.jsonl", "comfort.svg"]
  monkeypatch.setenv("HOME", "/home/someone")
  assert RunFolder.at("~/run").path.as_posix() == "/home/someone/run"


def test_a_network_is_found_by_its_weights(folder):
  with pytest.raises(FileNotFoundError, match="it has none$"):
    folder.find("a1")
  weights(folder.answer("a1"))
  assert folder.find("a1") == folder.answer("a1")
  weights(folder.network("a1"))
  assert folder.find("a1") == folder.network("a1")
  folder.network("b2").write_architecture(Network({}))  # without weights
  weights(folder.answer("c3"))
  with pytest.raises(FileNotFoundError, match="'b2' with weights; .* a1, c3$"):
    folder.find("b2")


@pytest.mark.parametrize(
  "document", [{"seed": 0}, {"schema": 1, "config": {}}, {}]
)
def test_a_folder_of_version_0_1_is_refused_by_name(folder, document):
  folder.path.mkdir()
  (folder.path / "config.json").write_text(json.dumps(document))
  with pytest.raises(ValueError, match=r"config\.json is of hwnas_jax 0\.1"):
    folder.settings()


@pytest.mark.parametrize(
  ("document", "place"),
  [
    ({"schema": 3, "config": {}, "command": "", "origin": {}}, "`$.schema`"),
    ({"schema": 2, "config": [], "command": ""}, "`$.config`"),
    ({"schema": 2, "config": {}}, "`command`"),
    ({"schema": 2, "config": {}, "command": "", "a": 1}, "`a`"),
    ([], "Expected `object`"),
  ],
)
def test_damaged_settings_are_refused_by_place(folder, document, place):
  folder.path.mkdir()
  path = folder.path / "config.json"
  path.write_text(json.dumps(document))
  with pytest.raises(ValueError) as error:
    folder.settings()
  assert str(error.value).startswith(f"{path}: ")
  assert place in str(error.value)


def test_settings_that_are_absent_or_no_json_are_refused(folder):
  with pytest.raises(FileNotFoundError, match=r"config\.json"):
    folder.settings()
  folder.path.mkdir()
  (folder.path / "config.json").write_text("{")
  with pytest.raises(ValueError, match=r"config\.json is not valid JSON"):
    folder.settings()


def test_a_damaged_record_names_its_file(folder):
  home = folder.network("a1")
  home.write_accuracies(Accuracies(0.5))
  path = home.path / "metrics.json"
  path.write_text(json.dumps({"test_accuracy": "high"}))
  with pytest.raises(ValueError, match=r"metrics\.json: .*\$\.test_accuracy"):
    home.accuracies()


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "/etc", "a/b", "a\\b"])
def test_an_id_does_not_lead_out_of_the_folder(tmp_path, name):
  folder = RunFolder(tmp_path)
  for find in (folder.network, folder.answer, folder.find):
    with pytest.raises(ValueError, match="is no network's id"):
      find(name)
