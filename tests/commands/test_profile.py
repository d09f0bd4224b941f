"""The profiler's command line; what it does is in runs/test_profiling.py."""

import functools

import jobs
import numpy as np
import pytest
import toy_device
import toy_plan
from absl import app
from msgspec.structs import replace

import hwnas_jax as hw
from hwnas_jax.config import files, problem
from hwnas_jax.costs import table as tables
from hwnas_jax.costs.predict import fit, predictor

TOY = """
from hwnas_jax import config as base

def get_config(variant=""):
  config = base.default()
  config.space.update(ops="three", num_cells=1, num_nodes=1, channels=2)
  config.latency.batch_size = 2
  config.derive.rule = "argmax"
  return config
"""


@pytest.fixture
def device(monkeypatch):
  return toy_device.install(monkeypatch)


def profile(**flags):
  """`profile --config=digits:smoke --networks=0`, or as the flags say."""
  none = {} if "fit" in flags else {"networks": 0}
  given = {"config": "digits:smoke", **none, **flags}
  jobs.here("profile", *(f"--{n}={v}" for n, v in given.items()))


def test_it_ends_with_the_error_on_networks_not_used(device, tmp_path, capsys):
  out = tmp_path / "table.json"
  profile(out=out, networks=5, held_out=4)
  table = hw.Table.load(out)
  assert len(table.calibration.networks) == 5
  assert len(set(device.networks)) == 9
  lines = capsys.readouterr().out.splitlines()
  assert lines[-3] == "errors of the table on 4 networks not used in the fit:"
  raw, calibrated = (float(line.split()[3]) for line in lines[-2:])
  assert raw == 50 and calibrated < 5
  assert all("Spearman" in line for line in lines[-2:])
  profile(out=out, networks=5, held_out=4)
  assert len(device.networks) == 9
  assert hw.Table.load(out) == table
  assert capsys.readouterr().out.splitlines()[-3:] == lines[-3:]


def test_it_prints_the_slowest_and_the_fastest_sites(device, tmp_path, capsys):
  out = tmp_path / "table.json"
  profile(out=out)
  table = hw.Table.load(out)
  lines = capsys.readouterr().out.splitlines()
  assert lines[0].startswith(f"{table.fingerprint}, batch {table.batch_size}")
  assert f"{len(table.entries)} sites" in lines[0]
  times = [float(line.split()[0]) for line in lines if " (IQR " in line]
  assert len(times) == 8
  assert times == sorted(times, reverse=True)
  assert "base" in lines[-2]
  assert lines[-1] == str(out)


def test_a_table_that_is_there_is_left_alone(device, tmp_path, capsys):
  out = tmp_path / "table.json"
  profile(out=out)
  before = list(device.groups)
  assert "delete it" not in capsys.readouterr().out
  profile(out=out)
  assert device.groups == before
  assert "delete it to measure again" in capsys.readouterr().out


def test_the_default_table_is_named_after_the_device(
  device, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  profile()
  (path,) = (tmp_path / "tables").iterdir()
  assert path.stem == hw.Table.load(path).fingerprint


def test_plan_measure_elsewhere_fit(tmp_path, capsys):
  (tmp_path / "toy.py").write_text(TOY)
  folder, out = tmp_path / "plan", tmp_path / "t.json"
  flags = {"config": tmp_path / "toy.py"}
  profile(plan=folder, networks=3, **flags)
  assert f"--fit={folder}" in capsys.readouterr().out
  with pytest.raises(SystemExit, match=r"timings\.json"):
    profile(out=out, fit=folder, **flags)
  toy_plan.measure(folder)
  profile(out=out, fit=folder, **flags)
  assert len(hw.Table.load(out).calibration.networks) == 3
  assert "each predicted by the fit to the others" in capsys.readouterr().out
  with pytest.raises(SystemExit, match="exists: delete it"):
    profile(out=out, fit=folder, **flags)
  with pytest.raises(SystemExit, match="holds a plan"):
    profile(plan=folder, networks=3, **flags)


def test_a_predictor_is_trained_beside_the_table(
  device, tmp_path, capsys, monkeypatch
):
  short = functools.partial(fit.train, settings=fit.Settings(2, 2))
  monkeypatch.setattr(fit, "train", short)
  flags = {"networks": 20, "held_out": 5, "predictor": "mlp"}
  out = tmp_path / "table.json"
  profile(out=out, **flags)
  lines = capsys.readouterr().out.splitlines()
  assert len(device.networks) == 25
  assert lines[-2].split()[0] == "mlp"
  # Twice its table's sum is what a calibrated table predicts exactly.
  assert lines[-1] == "use the calibrated table: mlp does not beat it here"
  trained = predictor.load(tmp_path / "table.predictor.npz")
  costs = tables.raw_costs(hw.Table.load(out))
  smoke = files.typed(files.load("digits:smoke"))
  prices = problem.make_nets(smoke).derived.space().cost_array(costs)
  np.testing.assert_array_equal(trained.reference, prices)


def test_a_table_is_transferred(device, tmp_path, capsys):
  other, out = tmp_path / "toaster.json", tmp_path / "here.json"
  profile(out=other)
  replace(hw.Table.load(other), fingerprint="toaster").save(other)
  device.groups.clear()
  profile(out=out, transfer=other, networks=10, held_out=4)
  assert (len(device.groups), len(set(device.networks))) == (0, 14)
  assert hw.Table.load(out).versions["entries_of"] == "toaster"
  rows = capsys.readouterr().out.splitlines()[-2:]
  raw, better = (float(row.split()[3]) for row in rows)
  assert raw == 50 and better < 5
  with pytest.raises(SystemExit, match=r"here\.json exists: delete"):
    profile(out=out, transfer=other, networks=10, held_out=4)
  (tmp_path / "toy.py").write_text(TOY.replace("channels=2", "channels=3"))
  with pytest.raises(SystemExit, match="profile: the latency table toaster"):
    profile(config=tmp_path / "toy.py", transfer=other, networks=3)


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    ({"networks": 2}, "--networks must be 0, or at least 3"),
    ({"plan": "a", "fit": "b"}, "--plan and --fit exclude each other"),
    ({"transfer": "toaster.json"}, "--transfer needs --networks"),
    ({"networks": 0, "held_out": 3}, "--held_out needs --networks"),
    ({"plan": "a", "repeats": 9}, "--plan does not read --repeats"),
    (
      {"fit": "a", "backend": "cpu", "held_out": 1},
      "--fit does not read --backend, --held_out",
    ),
    (
      {"predictor": "mlp", "fit": "plan"},
      "--predictor needs a table and",
    ),
  ],
)
def test_wrong_usage_is_said(flags, message):
  with pytest.raises(app.UsageError, match=message):
    profile(**flags)


def test_an_argument_is_no_flag():
  with pytest.raises(app.UsageError, match="unexpected argument: digits"):
    jobs.here("profile", "digits")


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    ({"config": "none.py"}, "profile: there is no config file none.py"),
    (
      {"config": "none"},
      "profile: there is no config .none.*it has cifar",
    ),
    (
      {"predictor": "mlp", "networks": 19},
      "profile: a predictor needs --networks=20",
    ),
    (
      {"predictor": "mlp", "networks": 20, "held_out": 0},
      "profile: a predictor needs .*--held_out",
    ),
    (
      {"predictor": "mlp", "networks": 20, "config": "cifar:smoke"},
      "profile: .*derive.rule=top_k drops some",
    ),
    ({"transfer": "none.json", "networks": 3}, "profile: .*none.json"),
  ],
)
def test_a_mistake_is_one_line(device, tmp_path, flags, message):
  with pytest.raises(SystemExit, match=message) as stopped:
    profile(out=tmp_path / "table.json", **flags)
  assert "\n" not in stopped.value.code
  assert device.groups == []  # it is said before anything is measured


def test_an_absent_backend_is_one_line():
  done = jobs.process("-m", "hwnas_jax.profile", "--backend=tpu")
  assert done.returncode == 1
  assert done.stdout == ""
  (line,) = done.stderr.splitlines()
  assert line.startswith("profile: JAX finds no tpu here, but")
  assert "--backend=" in line
