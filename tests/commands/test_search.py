"""The main job's command line: what it refuses, in one line."""

import re

import msgspec
import pytest
from absl import flags
from jobs import here, run

from hwnas_jax.config import listing
from hwnas_jax.costs.table import LatencyTable

TINY = "--config=tiny.py"


@pytest.fixture(scope="module")
def table(finished_run):
  return LatencyTable.load(finished_run / "runs/digits/table.json")


@pytest.fixture
def folder(example_run):
  """Of a run that must not begin; the test runs beside the finished one."""
  folder = example_run / "run"
  yield folder
  assert not folder.exists()


def refused(capsys, *arguments):
  """The one line that a command ends with, without `search: `."""
  with pytest.raises(SystemExit) as ended:
    here("search", *arguments)
  assert "report:" not in capsys.readouterr().out
  name, _, line = str(ended.value).partition(": ")
  assert name == "search"
  return line


def test_a_folder_of_another_config_is_refused(example_run, capsys):
  arguments = TINY, "--workdir=runs/digits", "--config.search.weights_lr=0.5"
  line = refused(capsys, *arguments)
  assert "runs/digits holds a search of another config: " in line
  assert "search/weights_lr" in line and "differ. Use another" in line


def test_a_table_that_lacks_an_entry_is_refused(folder, capsys, table):
  missing = next(e for e in table.entries if e.op == "sep_conv_3x3")
  rest = tuple(e for e in table.entries if e != missing)
  msgspec.structs.replace(table, entries=rest).save("part.json")
  line = refused(
    capsys, TINY, f"--workdir={folder}", "--config.latency.table=part.json"
  )
  assert missing.site.key in line and "python -m hwnas_jax.profile" in line


def test_a_target_out_of_reach_is_refused_with_the_range(folder, capsys):
  line = refused(
    capsys,
    TINY,
    f"--workdir={folder}",
    "--config.latency.table=runs/digits/table.json",
    "--config.condition.name=fixed",
    "--config.penalty.name=dual_ascent",
    "--config.penalty.target=1%",
  )
  assert line.startswith("penalty.target=1% is ")
  assert "out of reach" in line and line.endswith("ms by this table")


@pytest.mark.parametrize(
  ("flag", "message"),
  [
    ("search.num_stpes=3", "did you mean num_steps in place of num_stpes"),
    ("sampler.name=gumble", "sampler.name must be one of softmax"),
  ],
)
def test_a_wrong_override_is_refused(folder, capsys, flag, message):
  arguments = TINY, f"--workdir={folder}", f"--config.{flag}"
  assert message in refused(capsys, *arguments)


@pytest.mark.parametrize(
  ("flag", "message"),
  [
    ("train.batch_size=2000", "train.batch_size must be <= 1437, got 2000"),
    ("search.batch_size=800", "search.batch_size must be <= 718, got 800"),
    ("data.pad=8", "data.pad must be < 8, got 8"),
    ("seed=-1", "seed must be >= 0, got -1"),
    ("condition.high=inf", "condition.high must be a finite number, got inf"),
    ("data.resize=9x9", "data.resize is for folder:PATH, records:PATH and"),
    ("latency.table=.", r"\.: is a folder, and a file is needed"),
  ],
)
def test_what_does_not_fit_is_refused_before_anything_is_made(
  folder, capsys, flag, message
):
  arguments = TINY, f"--workdir={folder}", f"--config.{flag}"
  assert re.search(message, refused(capsys, *arguments))


def test_a_file_in_the_place_of_the_folder_is_refused(example_run, capsys):
  line = refused(capsys, TINY, "--workdir=tiny.py/run")
  assert line.endswith("tiny.py: is not a folder: give another path")


def test_a_value_of_another_type_is_refused(folder):
  with pytest.raises(flags.Error, match="num_steps=many"):
    here("search", TINY, "--config.search.num_steps=many")


def test_a_config_must_be_named(capsys):
  assert "--config=NAME" in refused(capsys)
  line = refused(capsys, "--config", "fbnet")
  assert "no config 'fbnet'" in line and "methods/fbnet" in line


def test_a_list_of_what_a_config_may_name(capsys):
  here("search", "--list")
  assert capsys.readouterr().out == listing.listing() + "\n"


@pytest.mark.slow
def test_an_absent_data_set_is_refused_with_the_ways_to_get_it(tmp_path):
  """In a process: the exit code, and nothing but the message."""
  folder, data_dir = tmp_path / "run", tmp_path / "data"
  done = run(
    "main",
    "--config=cifar",
    f"--config.data.data_dir={data_dir}",
    f"--workdir={folder}",
    timeout_s=60,  # 5 s on an idle machine, most of them imports
  )
  assert done.returncode == 1 and not folder.exists()
  assert "Traceback" not in done.stderr
  assert done.stderr.startswith("search: ")
  assert f"hwnas_jax.data cifar10 --data_dir={data_dir}" in done.stderr
  assert "download_and_prepare" in done.stderr and "folder:" in done.stderr
