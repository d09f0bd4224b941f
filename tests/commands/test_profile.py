"""The profiler's command line."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from absl import app
from absl.testing import flagsaver

from hwnas_jax.commands import profile
from hwnas_jax.config import fields as configuration
from hwnas_jax.config import method
from hwnas_jax.costs import counts
from hwnas_jax.costs import table as tables
from hwnas_jax.costs.measure import networks, timing
from hwnas_jax.costs.predict import predictor
from hwnas_jax.io import fields
from hwnas_jax.runs import pipeline as run_module
from hwnas_jax.spaces.darts import EIGHT

ROOT = pathlib.Path(__file__).parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
  environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": ""}
  return subprocess.run(
    [sys.executable, *arguments],
    cwd=ROOT,
    env=environment,
    capture_output=True,
    text=True,
    timeout=60,
  )


def site_ms(site):
  return float(
    site.channels_in * (EIGHT.index(site.op) if site.op in EIGHT else 1)
  )


@pytest.fixture
def measured(monkeypatch):
  """Takes `site_ms` for a site's time; counts the groups."""
  groups: list[int] = []

  def measure_group(sites, batch_size, repeats):
    groups.append(len(sites))
    return [timing.entry_of(site, [site_ms(site)] * repeats) for site in sites]

  monkeypatch.setattr(timing, "_measure_group", measure_group)
  return groups


def profile_main(out: pathlib.Path, **flags) -> None:
  config = str(ROOT / "configs" / "digits.py") + ":smoke"
  given = {"config": config, "out": str(out), "networks": 0, **flags}
  with flagsaver.flagsaver(**given):
    profile.main(["profile"])


@pytest.fixture
def compiled(monkeypatch):
  """A network takes twice its table's sum; lists the networks."""
  done: list[tuple[int, ...]] = []

  def compile_network(net, genotype, batch_size):
    done.append(genotype)
    costs = counts.site_costs(net.space(), site_ms)
    return lambda: 2 * counts.genotype_cost(net, genotype, costs)

  def measure_networks(networks, repeats):
    return {name: {"median_ms": run()} for name, run in networks.items()}

  monkeypatch.setattr(timing, "compile_network", compile_network)
  monkeypatch.setattr(timing, "measure_networks", measure_networks)
  return done


def test_main_ends_with_the_error_on_networks_not_used(
  measured, compiled, tmp_path, capsys
):
  profile_main(tmp_path / "table.json", networks=5, held_out=4)
  table = tables.load(tmp_path / "table.json")
  assert len(table.calibration.networks) == 5
  assert len(set(compiled)) == 9
  lines = capsys.readouterr().out.splitlines()
  assert lines[-3] == "errors of the table on 4 networks not used in the fit:"
  raw, calibrated = (float(line.split()[3]) for line in lines[-2:])
  assert raw == 50 and calibrated < 5
  assert all("Spearman" in line for line in lines[-2:])
  profile_main(tmp_path / "table.json", networks=5, held_out=4)
  assert len(compiled) == 9
  assert tables.load(tmp_path / "table.json") == table
  assert capsys.readouterr().out.splitlines()[-3:] == lines[-3:]


@pytest.mark.parametrize("count", [0, 4])
def test_the_main_job_calibrates_if_asked(measured, compiled, tmp_path, count):
  config = configuration.load(str(ROOT / "configs" / "digits.py") + ":smoke")
  config.latency.calibration_networks = count
  net = method.make_nets(config)[1]
  table = run_module._table(config, tmp_path, net, None)
  assert tables.load(tmp_path / "table.json") == table
  assert len(compiled) == count
  assert (table.calibration is not None) == bool(count)
  # A run that goes on has the same prices.
  assert run_module._table(config, tmp_path, net, None) == table
  assert len(compiled) == count


def test_two_networks_cannot_calibrate(tmp_path):
  with pytest.raises(app.UsageError, match="--networks"):
    profile_main(tmp_path / "table.json", networks=2)


def test_networks_stopped_go_on(measured, compiled, tmp_path, monkeypatch):
  honest = timing.measure_networks
  monkeypatch.setattr(networks, "GROUP", 2)
  calls: list[int] = []

  def stops(compiled_networks, repeats):
    calls.append(1)
    if len(calls) == 3:
      raise KeyboardInterrupt
    return honest(compiled_networks, repeats)

  monkeypatch.setattr(timing, "measure_networks", stops)
  out = tmp_path / "table.json"
  with pytest.raises(KeyboardInterrupt):
    profile_main(out, networks=5, held_out=0)
  assert tables.load(out).calibration is None
  before = json.loads((tmp_path / "table.networks.json").read_text())
  assert len(before["networks"]) == 4
  compiled.clear()
  profile_main(out, networks=5, held_out=0)
  assert len(compiled) == 1
  assert len(tables.load(out).calibration.networks) == 5


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"fingerprint": "toaster"}, "'fingerprint' is 'toaster', the table's"),
    ({"batch_size": 3}, "'batch_size' is 3, the table's"),
    ({"networks": {}}, "'networks' is {}, expected a list"),
    ({"digest": "0"}, "'digest' does not match"),
  ],
)
def test_networks_of_another_device_are_refused(
  measured, compiled, tmp_path, change, message
):
  profile_main(tmp_path / "table.json", networks=3, held_out=0)
  path = tmp_path / "table.networks.json"
  document = json.loads(path.read_text()) | change
  if "digest" not in change:
    document["digest"] = fields.digest(document)
  path.write_text(json.dumps(document))
  with pytest.raises(SystemExit, match=message):
    profile_main(tmp_path / "table.json", networks=3, held_out=0)


TOY = """
from hwnas_jax import config as base

def get_config(variant=""):
  config = base.default()
  config.space.update(ops="three", num_cells=1, num_nodes=1, channels=2)
  config.latency.batch_size = 2
  config.derive.rule = "argmax"
  return config
"""


def measure_plan(folder: pathlib.Path) -> None:
  """By the plan's runner, whose times of a toy this small are then set."""
  subprocess.run(
    [sys.executable, "-I", "runner.py", "--repeats=3"],
    cwd=folder,
    check=True,
    capture_output=True,
    timeout=60,
  )
  path = folder / "timings.json"
  timings = json.loads(path.read_text())
  planned = json.loads((folder / "plan.json").read_text())["entries"]
  for i, row in enumerate(planned):
    found = timings["samples_ms"][row["id"]]
    assert found.keys() == row["onnx"].keys()
    found.update(
      {file: [5.0 + (i + 1) * n] * 3 for file, n in row["onnx"].items()}
    )
  timings["digest"] = fields.digest(timings)
  path.write_text(json.dumps(timings))


def test_plan_measure_elsewhere_fit(tmp_path, capsys):
  (tmp_path / "toy.py").write_text(TOY)
  folder, config = tmp_path / "plan", str(tmp_path / "toy.py")
  flags = {"config": config, "networks": 3}
  profile_main("", plan=str(folder), **flags)
  assert f"--fit={folder}" in capsys.readouterr().out
  with pytest.raises(SystemExit, match=r"timings\.json"):
    profile_main(tmp_path / "t.json", fit=str(folder), **flags)
  measure_plan(folder)
  profile_main(tmp_path / "t.json", fit=str(folder), **flags)
  table = tables.load(tmp_path / "t.json")
  assert len(table.calibration.networks) == 3
  assert "each predicted by the fit to the others" in capsys.readouterr().out
  with pytest.raises(SystemExit, match="exists: delete it"):
    profile_main(tmp_path / "t.json", fit=str(folder), **flags)
  with pytest.raises(SystemExit, match="holds a plan"):
    profile_main("", plan=str(folder), **flags)


def test_a_predictor_is_trained_beside_the_table(
  measured, compiled, tmp_path, capsys
):
  flags = {"networks": 20, "held_out": 5, "predictor": "mlp"}
  profile_main(tmp_path / "table.json", **flags)
  lines = capsys.readouterr().out.splitlines()
  assert len(compiled) == 25
  assert lines[-2].split()[0] == "mlp"
  # Twice its table's sum is what a calibrated table predicts exactly.
  assert lines[-1] == "use the calibrated table: mlp does not beat it here"
  found = predictor.load(tmp_path / "table.predictor.npz")
  costs = tables.raw_costs(tables.load(tmp_path / "table.json"))
  config = configuration.load(str(ROOT / "configs" / "digits.py") + ":smoke")
  prices = method.make_nets(config)[1].space().cost_array(costs)
  np.testing.assert_array_equal(found.reference, prices)
  for wrong in ({"networks": 19}, {"held_out": 0}, {"fit": "plan"}):
    with pytest.raises(app.UsageError, match="--predictor needs --networks=20"):
      profile_main(tmp_path / "table.json", **{**flags, **wrong})
  top_k = str(ROOT / "configs" / "cifar.py") + ":smoke"
  with pytest.raises(SystemExit, match="derive.rule=top_k drops some"):
    profile_main(tmp_path / "other.json", **{**flags, "config": top_k})


@pytest.fixture
def toaster(measured, tmp_path):
  """(path of) another device's table of the smoke space."""

  def write(**flags) -> pathlib.Path:
    path = tmp_path / "toaster.json"
    profile_main(path, **flags)
    table = tables.load(path)
    tables.save(path, dataclasses.replace(table, fingerprint="toaster"))
    measured.clear()
    return path

  return write


def test_a_table_is_transferred_by_networks_alone(
  toaster, measured, compiled, tmp_path, capsys
):
  other, out = toaster(), tmp_path / "here.json"
  flags = {"transfer": [str(other), str(other)], "networks": 10, "held_out": 4}
  profile_main(out, **flags)
  table = tables.load(out)
  assert (len(measured), len(set(compiled))) == (0, 14)
  assert table.fingerprint != "toaster"
  assert table.versions["entries_of"] == "toaster"
  assert len(table.calibration.networks) == 10
  raw, better = (
    float(line.split()[3]) for line in capsys.readouterr().out.splitlines()[-2:]
  )
  assert raw == 50 and better < 5
  with pytest.raises(SystemExit, match=r"here\.json exists: delete it"):
    profile_main(out, **flags)
  with pytest.raises(app.UsageError, match="--transfer needs --networks"):
    profile_main(out, transfer=[str(other)])


def test_a_table_of_another_space_is_not_transferred(toaster, tmp_path):
  other = toaster()
  (tmp_path / "toy.py").write_text(TOY.replace("channels=2", "channels=3"))
  flags = {"config": str(tmp_path / "toy.py"), "networks": 3}
  with pytest.raises(SystemExit, match="profile: the latency table toaster"):
    profile_main(tmp_path / "t.json", transfer=[str(other)], **flags)


def test_a_plan_of_networks_alone(toaster, tmp_path):
  (tmp_path / "toy.py").write_text(TOY)
  folder, flags = tmp_path / "plan", {"config": str(tmp_path / "toy.py")}
  flags["transfer"] = [str(toaster(**flags))]
  profile_main("", plan=str(folder), networks=3, **flags)
  planned = json.loads((folder / "plan.json").read_text())["entries"]
  assert [row["kind"] for row in planned] == ["network"] * 3
  measure_plan(folder)
  out = tmp_path / "t.json"
  profile_main(out, fit=str(folder), networks=3, **flags)
  table = tables.load(out)
  assert table.versions["entries_of"] == "toaster"
  assert table.calibration.networks[0].measured_ms > 0
  del flags["transfer"]
  with pytest.raises(SystemExit, match=r"lacks .*measure with"):
    profile_main(tmp_path / "u.json", fit=str(folder), networks=3, **flags)


def test_main_writes_the_table_and_says_what_is_dear(
  measured, tmp_path, capsys
):
  profile_main(tmp_path / "table.json")
  table = tables.load(tmp_path / "table.json")
  lines = capsys.readouterr().out.splitlines()
  assert lines[0].startswith(f"{table.fingerprint}, batch {table.batch_size}")
  assert f"{len(table.entries)} sites" in lines[0]
  times = [float(line.split()[0]) for line in lines if " +- " in line]
  assert len(times) == 8
  assert times == sorted(times, reverse=True)
  assert "base" in lines[-2]
  assert lines[-1] == str(tmp_path / "table.json")


def test_main_again_leaves_the_table_alone(measured, tmp_path, capsys):
  profile_main(tmp_path / "table.json")
  before = list(measured)
  profile_main(tmp_path / "table.json")
  assert measured == before
  assert "delete it to measure again" in capsys.readouterr().out


def test_the_default_table_is_named_after_the_device(
  measured, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  profile_main("")
  (path,) = (tmp_path / "tables").iterdir()
  assert path.stem == tables.load(path).fingerprint


def test_a_missing_config_is_one_line(tmp_path):
  with pytest.raises(SystemExit, match="profile: no config file.*none.py"):
    profile_main(tmp_path / "table.json", config="none.py")


def test_the_present_backend_is_accepted():
  profile.use_backend("cpu")


def test_an_absent_backend_is_one_line():
  found = run("-m", "hwnas_jax.profile", "--backend=tpu")
  assert found.returncode == 1
  assert found.stdout == ""
  (line,) = found.stderr.splitlines()
  assert line.startswith("profile: JAX finds no tpu here, but")
  assert "--backend=" in line


def test_run_as_a_file_it_says_how_to_run_it():
  found = run("hwnas_jax/profile.py", "--backend=cpu")
  assert found.returncode == 1
  assert found.stderr.strip() == (
    "run it as a module: python -m hwnas_jax.profile"
  )
