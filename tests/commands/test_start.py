"""How commands are started."""

import importlib
import sys

import jobs
import pytest
from absl import flags

from hwnas_jax import commands

NAMES = list(commands.COMMANDS)


def test_commands_define_no_flag_when_they_are_imported():
  """So that several can be used in one process."""
  modules = [importlib.import_module(f"hwnas_jax.commands.{n}") for n in NAMES]
  before = set(flags.FLAGS)
  for module in modules:
    importlib.reload(module)
  assert set(flags.FLAGS) == before
  assert not {"workdir", "config", "backend", "latency"} & before


@pytest.mark.parametrize("name", NAMES)
def test_flags_are_defined_on_demand_and_have_help(name):
  module = importlib.import_module(f"hwnas_jax.commands.{name}")
  before = set(flags.FLAGS)
  module.define_flags()
  try:
    defined = flags.FLAGS.flags_by_module_dict()
    added = set(flags.FLAGS) - before
    assert added and all(flags.FLAGS[flag].help for flag in added)
    # --help lists them as those of the main module.
    assert not [m for m in defined if m.startswith("hwnas_jax")]
  finally:
    flags.FLAGS.remove_flag_values(set(flags.FLAGS) - before)


def test_the_script_hands_on_the_flags(monkeypatch):
  monkeypatch.setattr(sys, "argv", ["hwnas-jax", "profile", "--networks=3"])
  started = []
  monkeypatch.setattr(commands, "start", started.append)
  commands.console()
  assert (started, sys.argv) == (["profile"], ["hwnas-jax", "--networks=3"])


@pytest.mark.parametrize(
  ("file", "module"),
  [
    ("profile.py", "hwnas_jax.profile"),
    ("report/__main__.py", "hwnas_jax.report"),
  ],
)
def test_run_as_a_file_it_says_how_to_run_it(file, module):
  done = jobs.process(f"hwnas_jax/{file}", "--backend=cpu")
  assert done.returncode == 1
  assert done.stderr.strip() == f"run it as a module: python -m {module}"


def test_the_script_runs_a_command():
  program = "from hwnas_jax.commands import console; console()"
  done = jobs.process("-c", program, "profile", "--config=none")
  assert done.returncode == 1
  (line,) = done.stderr.splitlines()
  assert line.startswith("profile: there is no config 'none'")
