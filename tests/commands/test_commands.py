"""What all commands share, and the small ones among them."""

import dataclasses
import errno
import inspect
import json
import signal
import sys
from unittest import mock

import pytest
from absl import app, flags
from jobs import here, process

import hwnas_jax as hw
from hwnas_jax import commands
from hwnas_jax.config import files
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.io.stop import Stopped
from hwnas_jax.runs import comfort_zone as zone
from hwnas_jax.runs import profile

NAMES = list(commands.COMMANDS)
WORKDIR = "--workdir=runs/digits"


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_flags_of_all_commands_can_live_in_one_process(name):
  with pytest.raises(flags.Error, match="Unknown command line flag 'none'"):
    here(name, "--none=1")
  required = {
    "query": (WORKDIR, "--latency=1ms"),
    "export": (WORKDIR, "--id=x", "--out=x"),
    "scale": (WORKDIR, "--id=x"),
    "report": (WORKDIR,),
  }
  with pytest.raises(app.UsageError, match="argument|give one data set"):
    here(name, *required.get(name, ()), "one")


def test_flags_have_the_defaults_of_the_functions(monkeypatch):
  """They stand twice: no command imports JAX before its flags are read."""
  given = []

  def stop(*arguments):
    given.append(arguments)
    raise ValueError("enough")

  monkeypatch.setattr(profile, "measure", stop)
  monkeypatch.setattr(hw, "load", lambda path: run)
  run = mock.Mock()
  run.network.return_value.scale = stop
  for name, flags_ in (("profile", ()), ("scale", (WORKDIR, "--id=x"))):
    with pytest.raises(SystemExit, match="enough"):
      here(name, *flags_)
  (_, effort, *_), scaled = given
  defaults = inspect.signature(hw.profile).parameters
  assert effort == profile.Effort()
  assert [defaults[f.name].default for f in dataclasses.fields(effort)] == [
    *dataclasses.astuple(effort)
  ]
  assert tuple(map(tuple, scaled[:2])) == (zone.WIDTHS, zone.SIDES)
  assert scaled[2] == zone.TOLERANCE


def test_a_mistake_is_one_line_and_a_fault_has_its_traceback():
  for mistake in (ValueError("v"), FileNotFoundError("f"), OSError("o")):
    with pytest.raises(SystemExit, match=rf"^query: {mistake}$"):
      with commands._one_line("query"):
        raise mistake
  for fault in (AttributeError("a"), KeyError("k"), TypeError("t")):
    with pytest.raises(type(fault)) as raised, commands._one_line("query"):
      raise fault
    (note,) = raised.value.__notes__
    assert note.startswith("This is a fault of hwnas_jax ")
    assert "Please report it" in note


@pytest.mark.parametrize(
  ("number", "path", "line"),
  [
    (errno.EISDIR, "t.json", "t.json: is a folder, and a file is needed"),
    (errno.ENOTDIR, "run", "run: is not a folder: give another path"),
    (errno.ENOSPC, "m.jsonl", "m.jsonl: the disk is full: free some space"),
    (errno.ENOSPC, None, "the disk is full: free some space and try again"),
    (errno.EROFS, "run", "run: is on a read-only disk"),
    (errno.EACCES, "run", "run: may not be read or written"),
  ],
)
def test_an_error_of_the_system_names_the_path_and_what_to_do(
  number, path, line
):
  with pytest.raises(SystemExit, match=f"^query: {line}"):
    with commands._one_line("query"):
      raise OSError(number, "as the system says it", path)


@pytest.mark.parametrize(
  ("stop", "code"),
  [
    (KeyboardInterrupt(), 130),
    (Stopped("search: stopped at step 2 of 4", signal.SIGINT), 130),
    (Stopped("search: stopped at step 2 of 4", signal.SIGTERM), 143),
  ],
)
def test_a_stop_is_one_line_and_the_code_of_its_signal(capsys, stop, code):
  with pytest.raises(SystemExit) as ended, commands._one_line("search"):
    raise stop
  assert ended.value.code == code
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith("search: ")
  assert line.endswith("; the same command goes on from there")


def test_what_fills_the_memory_is_one_line():
  full = RuntimeError("RESOURCE_EXHAUSTED: 9 GB\nmore")
  for error in (MemoryError("9 GB"), full):
    with pytest.raises(SystemExit, match="^search: out of memory: .*9 GB"):
      with commands._one_line("search"):
        raise error


def test_a_fault_of_a_persons_own_file_is_not_to_be_reported(tmp_path):
  (tmp_path / "mine.py").write_text("def get_config(v): return nothing")
  with pytest.raises(NameError) as raised, commands._one_line("search"):
    files.load(f"{tmp_path / 'mine.py'}")
  (note,) = raised.value.__notes__
  assert note == f"This was raised by your own code: {tmp_path / 'mine.py'}"
  for text, line in (
    ("a = (", "mine.py:1: .* it is not Python"),
    ("a = 1", "mine.py has no function get_config: it is no config"),
  ):
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(SystemExit, match=line), commands._one_line("search"):
      files.load(f"{tmp_path / 'mine.py'}")


def test_the_script_lists_its_commands(monkeypatch, capsys):
  for arguments in ([], ["help"], ["serach"]):
    monkeypatch.setattr(sys, "argv", ["hwnas-jax", *arguments])
    with pytest.raises(SystemExit) as ended:
      commands.console()
    out, err = capsys.readouterr()
    wrong = arguments == ["serach"]
    assert ended.value.code == (
      "hwnas-jax: there is no command 'serach'" if wrong else 0
    )
    for name, what in commands.COMMANDS.items():
      assert f"{name:8} {what}" in (err if wrong else out)


def test_flags_are_known_without_jax():
  """So that --help and a wrong flag answer at once."""
  imports = "".join(f"; import hwnas_jax.commands.{name}" for name in NAMES)
  done = process("-c", f"import sys{imports}; print(*sys.modules)")
  modules = set(done.stdout.split())
  assert f"hwnas_jax.commands.{NAMES[-1]}" in modules
  assert not {"jax", "numpy", "flax", "matplotlib"} & modules


def test_the_script_starts_a_command(monkeypatch):
  started = []
  monkeypatch.setattr(commands, "start", started.append)
  monkeypatch.setattr(sys, "argv", ["hwnas-jax", "query", "--latency=1ms"])
  commands.console()
  assert started == ["query"]
  assert sys.argv == ["hwnas-jax", "--latency=1ms"]


def test_a_report_is_written_again(example_run, capsys):
  folder = RunFolder.at(example_run / "runs/digits")
  page = folder.report.read_text()
  folder.report.unlink()
  here("report", WORKDIR)
  assert capsys.readouterr().out == "runs/digits/report.html\n"
  assert folder.report.read_text() == page
  (folder.path / "family.json").unlink()
  with pytest.raises(SystemExit, match=r"^report: runs/digits has no family"):
    here("report", WORKDIR)
  with pytest.raises(SystemExit, match=r"^report: \S+ is no run folder"):
    here("report", f"--workdir={example_run}")


def test_a_network_is_exported(example_run, capsys):
  folder = RunFolder.at(example_run / "runs/digits")
  names = sorted(
    member.id
    for member in folder.family().members
    if member.accuracies.test_accuracies
  )
  with pytest.raises(SystemExit) as ended:
    here("export", WORKDIR, "--id=none", "--out=out")
  line = str(ended.value)
  assert line.startswith("export: ") and "no network 'none'" in line
  assert line.endswith(f"it has {', '.join(names)}")
  assert not (example_run / "out").exists()
  here("export", WORKDIR, f"--id={names[0]}", "--out=out", "--batch_size=2")
  out = capsys.readouterr().out
  assert "out/network.onnx: any batch; logits differ from JAX's by" in out
  export = json.loads((example_run / "out/export.json").read_text())
  assert (export["batch_size"], export["image"]) == (2, [8, 8, 1])


def test_a_query_prints_its_certificate(example_run, capsys):
  here("query", WORKDIR, "--latency=1000ms", "--params=1e9")
  printed, _, path = capsys.readouterr().out.rpartition("network: ")
  certificate = json.loads(printed)
  assert certificate["kind"] == "measured"
  assert certificate["budget"]["limits"] == {"params": 1e9}
  saved = example_run / path.strip() / "certificate.json"
  assert json.loads(saved.read_text()) == certificate
  for row in ("source", "largest", "committee", "candidates"):
    assert certificate[row]
  with pytest.raises(SystemExit, match="^query: latency must be a number > 0"):
    here("query", WORKDIR, "--latency=fast")
  with pytest.raises(SystemExit, match="^query: no judge is called 'zen': syn"):
    here("query", WORKDIR, "--latency=1ms", "--judges=macs,zen")
  for flag in ("--finalists=3", "--finalist_steps=20"):
    with pytest.raises(SystemExit, match="^query: --finalists and --finalist_"):
      here("query", WORKDIR, "--latency=1ms", flag)
