"""How commands are started."""

import importlib
import sys

import command_line
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


def test_flags_are_known_without_jax():
  """So that --help and a wrong flag answer at once."""
  imports = "".join(f"; import hwnas_jax.commands.{name}" for name in NAMES)
  done = command_line.process("-c", f"import sys{imports}; print(*sys.modules)")
  modules = set(done.stdout.split())
  assert f"hwnas_jax.commands.{NAMES[-1]}" in modules
  assert not {"jax", "numpy", "flax", "matplotlib"} & modules


@pytest.mark.parametrize("argument", [[], ["help"], ["--help"]])
def test_the_script_lists_its_commands(monkeypatch, capsys, argument):
  monkeypatch.setattr(sys, "argv", ["hwnas-jax", *argument])
  with pytest.raises(SystemExit) as stopped:
    commands.console()
  assert stopped.value.code == 0
  printed = capsys.readouterr().out
  for name, what in commands.COMMANDS.items():
    assert f"{name:8} {what}" in printed


def test_the_script_refuses_another_command(monkeypatch, capsys):
  monkeypatch.setattr(sys, "argv", ["hwnas-jax", "serch"])
  with pytest.raises(SystemExit, match="hwnas-jax: no command 'serch'"):
    commands.console()
  captured = capsys.readouterr()
  assert captured.out == "" and "search" in captured.err


def test_the_script_hands_on_the_flags(monkeypatch):
  monkeypatch.setattr(sys, "argv", ["hwnas-jax", "profile", "--networks=3"])
  started = []
  monkeypatch.setattr(commands, "start", started.append)
  commands.console()
  assert (started, sys.argv) == (["profile"], ["hwnas-jax", "--networks=3"])


@pytest.mark.parametrize("error", [ValueError, FileNotFoundError, OSError])
def test_a_mistake_is_one_line(error):
  with pytest.raises(SystemExit, match="query: what is wrong"):
    with commands._one_line("query"):
      raise error("what is wrong")


def test_a_fault_keeps_its_traceback():
  with pytest.raises(ZeroDivisionError), commands._one_line("query"):
    1 / 0  # noqa: B018


@pytest.mark.parametrize(
  ("file", "module"),
  [
    ("profile.py", "hwnas_jax.profile"),
    ("report/__main__.py", "hwnas_jax.report"),
  ],
)
def test_run_as_a_file_it_says_how_to_run_it(file, module):
  done = command_line.process(f"hwnas_jax/{file}", "--backend=cpu")
  assert done.returncode == 1
  assert done.stderr.strip() == f"run it as a module: python -m {module}"


def test_the_script_runs_a_command():
  program = "from hwnas_jax.commands import console; console()"
  done = command_line.process("-c", program, "profile", "--config=none")
  assert done.returncode == 1
  (line,) = done.stderr.splitlines()
  assert line.startswith("profile: no config 'none' in the package; it has")
