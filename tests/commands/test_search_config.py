"""The main job's command line: the config it hands on, and what it prints."""

import types

import jobs
import pytest
from absl import app
from jobs import ROOT

import hwnas_jax as hw
from hwnas_jax.commands import search
from hwnas_jax.config.files import typed
from hwnas_jax.config.listing import listing

# ml_collections runs a config file so.
WARNING = "ignore:the load_module:DeprecationWarning"
pytestmark = pytest.mark.filterwarnings(WARNING)
DIGITS = ROOT / "configs" / "digits.py"


@pytest.fixture
def asked(monkeypatch):
  """What hw.search is called with; nothing runs."""
  calls = []

  def run(config, *, workdir, command):
    calls.append((typed(config), workdir))
    return types.SimpleNamespace(
      report=types.SimpleNamespace(path=f"{workdir}/report.html"),
      verdict="who wins",
    )

  monkeypatch.setattr(hw, "search", run)
  return calls


@pytest.mark.parametrize("config", ["digits", f"{DIGITS}"])
def test_a_name_and_a_file_are_one_config(asked, capsys, config):
  jobs.here(
    "search",
    f"--config={config}:smoke",
    "--config.seed=3",
    "--config.train.lr=0.5",
    "--config.penalty.target=5ms",
  )
  ((made, workdir),) = asked
  assert made.search.num_steps == 40  # the smoke variant's
  assert (made.seed, made.train.lr, made.penalty.target) == (3, 0.5, "5ms")
  assert workdir == "runs/digits"
  assert (
    capsys.readouterr().out == "who wins\nreport: runs/digits/report.html\n"
  )


def test_the_folder_may_be_given(asked):
  jobs.here("search", "--config=methods/fbnet:smoke", "--workdir=a/b")
  ((made, workdir),) = asked
  assert (made.space["name"], workdir) == ("mobile", "a/b")


def test_arguments_name_files():
  given = ["x", "--config", "digits:smoke", "--config.seed=1", "--list"]
  wanted = ["x", "--config", f"{DIGITS}:smoke", "--config.seed=1", "--list"]
  assert search.arguments(given) == wanted
  assert search.arguments(["-config=digits"]) == [f"-config={DIGITS}"]
  with pytest.raises(FileNotFoundError, match="no config 'x'"):
    search.arguments(["--config=x"])


def test_the_list_is_printed(capsys):
  jobs.here("search", "--list")
  assert capsys.readouterr().out == listing() + "\n"


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ([], "search: give --config=NAME or --config=FILE.py, or --list"),
    (["--config=digit"], "search: there is no config 'digit' in the package"),
    (["--config=digit.py"], "search: there is no config file digit.py"),
    (["--config=digits:x"], "search: digits.py has no variant 'x'; it has"),
    (["--config", "digits:x"], "search: digits.py has no variant 'x'"),
    (
      ["--config=digits", "--config.search.num_stpes=3"],
      "search: there is no field config.search.num_stpes: did you mean num_",
    ),
    (
      ["--config.sed=1", "--config=digits"],
      "search: there is no field config.sed: did you mean seed",
    ),
    (
      ["--config=digits", "--noconfig.data.flop"],
      "search: there is no field config.data.flop: did you mean flip",
    ),
    (
      ["--config=digits", "--config.seed.x=1"],
      "search: there is no field config.seed.x$",
    ),
  ],
)
def test_a_mistake_is_one_line(asked, arguments, message):
  with pytest.raises(SystemExit, match=message):
    jobs.here("search", *arguments)
  assert asked == []


def test_an_argument_is_no_flag(asked):
  with pytest.raises(app.UsageError, match="unexpected arguments: a b"):
    jobs.here("search", "--config=digits", "a", "b")
  assert asked == []
