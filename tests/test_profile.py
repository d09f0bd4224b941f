"""The profiler's command line."""

import os
import pathlib
import subprocess
import sys

import pytest
from absl.testing import flagsaver

from hwnas_jax import profile
from hwnas_jax.costs import table as tables
from hwnas_jax.costs import timing

ROOT = pathlib.Path(__file__).parents[1]


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


@pytest.fixture
def measured(monkeypatch):
  """Takes a site's channels for its time; counts the groups."""
  groups: list[int] = []

  def measure_group(sites, batch_size, repeats):
    groups.append(len(sites))
    return [
      timing.entry_of(site, [float(site.channels_in)] * repeats)
      for site in sites
    ]

  monkeypatch.setattr(timing, "_measure_group", measure_group)
  return groups


def profile_main(out: pathlib.Path, **flags: str) -> None:
  config = str(ROOT / "configs" / "digits.py") + ":smoke"
  with flagsaver.flagsaver(**{"config": config, "out": str(out), **flags}):
    profile.main(["profile"])


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
  assert line.startswith("profile: no tpu here, JAX finds")
  assert "--backend=" in line


def test_run_as_a_file_it_says_how_to_run_it():
  found = run("hwnas_jax/profile.py", "--backend=cpu")
  assert found.returncode == 1
  assert found.stderr.strip() == (
    "run it as a module: python -m hwnas_jax.profile"
  )
