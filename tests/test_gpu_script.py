"""The GPU script's pieces: guarded, limited in time; its exit status."""

import argparse
import importlib
import json
import pathlib
import sys
import time

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
accuracy, conv_check, programs, run, runner, steps = (
  importlib.import_module(f"experiments.gpu.{module}")
  for module in (
    "accuracy",
    "conv_check",
    "programs",
    "run",
    "runner",
    "steps",
  )
)
Piece = runner.Piece


def states(tmp_path, pieces, smoke=False):
  """Of the pieces, and what the stage's file has of them."""
  deadline = time.monotonic() + 60.0
  context = runner.Context(tmp_path, {"seed": 0}, {}, deadline, smoke)
  found = runner.run_stage("x", pieces, context)
  return found, json.loads((tmp_path / "x.json").read_text())["pieces"]


def good(save):
  return {"value": 1}


def bad(save):
  save({"before": 2})
  raise RuntimeError("no such device")


def slow(save):
  time.sleep(0.2)
  return {}


def test_an_error_ends_its_piece_and_not_the_stage(tmp_path):
  pieces = [Piece("bad", 1, bad), Piece("good", 1, good)]
  found, stored = states(tmp_path, pieces)
  assert found == {"bad": "error", "good": "done"}
  assert stored["bad"]["result"] == {"before": 2}
  assert "no such device" in stored["bad"]["error"][-1]
  assert stored["good"]["result"] == {"value": 1}
  assert runner.exit_status(found, smoke=False) == 1


def test_an_error_inside_a_record_makes_the_piece_one(tmp_path):
  def partly(save):
    rows = [runner.guarded(good, None), runner.guarded(bad, lambda _: None)]
    return {"errors": {"median": 0.1}, "rows": rows}

  found, stored = states(tmp_path, [Piece("partly", 1, partly)])
  assert runner.exit_status(found, smoke=False) == 1
  (error,) = stored["partly"]["error"]
  assert error == "rows/1: RuntimeError: no such device"


def test_what_runs_over_its_limit_is_interrupted(tmp_path, monkeypatch):
  monkeypatch.setattr(runner, "MOST_S", 0.05)
  found, stored = states(tmp_path, [Piece("slow", 0.01, slow)])
  assert found == {"slow": "error"}
  assert "over its limit" in stored["slow"]["error"][-1]
  assert runner.exit_status(found, smoke=False) == 1
  # A smoke runs on any machine, beside anything.
  found, _ = states(tmp_path, [Piece("slow", 0.01, slow)], smoke=True)
  assert found == {"slow": "done"}


def test_what_is_not_started_fails_a_smoke_alone(tmp_path, capsys):
  pieces = [Piece("good", 0, good), Piece("late", 100, good)]
  found, stored = states(tmp_path, pieces)
  assert found == {"good": "done", "late": runner.NOT_STARTED}
  assert "late" not in stored
  assert runner.exit_status(found, smoke=False) == 0
  assert "not started: late" in capsys.readouterr().out
  assert runner.exit_status(found, smoke=True) == 1
  assert runner.exit_status({"good": "done"}, smoke=True) == 0


def test_what_is_done_is_not_run_again_and_what_failed_is(tmp_path):
  states(tmp_path, [Piece("a", 1, good), Piece("b", 1, bad)])
  found, stored = states(tmp_path, [Piece("a", 1, bad), Piece("b", 1, good)])
  assert found == {"a": "done", "b": "done"}
  assert stored["a"]["result"] == stored["b"]["result"] == {"value": 1}


def test_a_piece_of_more_than_five_minutes_is_refused():
  with pytest.raises(ValueError, match="at most 300 s, not 301"):
    Piece("long", 301, good)


def make_pieces(tmp_path, *flags):
  args = run.parse([f"--out={tmp_path}", *flags])
  return run.make_pieces(args, programs.Programs(args))


def test_every_stage_has_pieces_in_the_order_that_was_asked_for(tmp_path):
  # None is expected to take more than 300 s, or it could not be made.
  stages = make_pieces(tmp_path, "--forms=lax,shifted")
  assert [*stages][:4] == ["a", "c_small", "b", "d"]
  late = [*stages].index("c_compiled")
  assert {"c_big", "e"} <= {*[*stages][:late]}
  for stage, pieces in stages.items():
    names = [piece.name for piece in pieces]
    assert names or stage == "accuracy"  # when all is trained
    assert len(names) == len({*names})
  with pytest.raises(ValueError, match="split it"):
    make_pieces(tmp_path, "--stages=d", "--search_seconds=600")


def test_long_programs_are_compiled_in_pieces_before_their_turns(tmp_path):
  (pieces,) = make_pieces(tmp_path, "--stages=c_big").values()
  names = [piece.name for piece in pieces]
  for turns in steps.BIG:
    if turns.kind in steps.COMPILE_S:
      for dtype in turns.dtypes:
        compiled = names.index(f"{turns.kind} compile ours {dtype}")
        assert compiled < names.index(turns.name)
  assert steps.wants("nasbench201", {})
  assert not steps.wants("nasbench201", {"nasbench201": {"state": "done"}})


@pytest.mark.parametrize(
  ("dtypes", "compiled", "names"),
  [
    (steps.FLOAT32, False, ["eager", "channels_last"]),
    (steps.BFLOAT16, False, ["channels_last amp"]),
    (steps.DTYPES, False, ["eager", "channels_last", "channels_last amp"]),
    (steps.BFLOAT16, True, ["channels_last amp compile"]),
  ],
)
def test_pytorchs_ways_are_of_the_types_of_ours(dtypes, compiled, names):
  turns = steps.Turns("darts_one_level", 1, dtypes, compiled)
  ways = steps._torch_ways(turns, argparse.Namespace(smoke=True))
  assert [*ways] == [f"torch {name}" for name in names]


@pytest.mark.parametrize(("piece", "status"), [(good, 0), (bad, 1)])
def test_the_script_ends_with_the_status(tmp_path, monkeypatch, piece, status):
  monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.5")
  monkeypatch.setattr(sys, "argv", ["run.py", f"--out={tmp_path}", "--smoke"])
  pieces = {"a": [Piece("first", 1, piece)], "d": [Piece("last", 1, good)]}
  monkeypatch.setattr(run, "make_pieces", lambda *_: pieces)
  monkeypatch.setattr(run.os, "_exit", sys.exit)
  with pytest.raises(SystemExit) as ended:
    run.main()
  assert ended.value.code == status
  assert (tmp_path / "d.json").exists()


def test_an_earlier_folder_is_copied_and_nothing_is_overwritten(
  tmp_path, monkeypatch
):
  monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.5")
  old, new = tmp_path / "old", tmp_path / "new"
  for path in (old / "a.json", old / "accuracy" / "x.npz", new / "a.json"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(path.parent.name)
  run.prepare(argparse.Namespace(out=new, resume=old, smoke=False))
  assert (new / "a.json").read_text() == "new"
  assert (new / "accuracy" / "x.npz").read_text() == "accuracy"


def test_accuracy_trains_the_budgets_that_have_no_training(tmp_path):
  def store(name, *budgets):
    rows = [{"budget_ms": budget} for budget in budgets]
    (tmp_path / name).write_text(json.dumps({"budgets": rows}))

  store("choices.json", 1.0, 2.0, 3.0)
  assert accuracy.untrained(tmp_path) == [0, 1, 2]
  store("results.json", 2.0)
  assert accuracy.untrained(tmp_path) == [0, 2]


def test_convolutions_are_numpys_in_both_forms():
  record = conv_check.convolutions(lambda _: None)
  assert {*record} == {"lax", "shifted"}
  assert runner.faults(record) == []


def test_a_wrong_convolution_is_an_error(monkeypatch):
  right = conv_check.ours

  def ours(case):
    function = right(case)
    if case.name != "depthwise k5 s2 d2":
      return function
    return lambda x, w: function(x, w) + 1e-2 * x.sum()

  monkeypatch.setattr(conv_check, "ours", ours)
  monkeypatch.setattr(conv_check, "FORMS", {"lax": "gpu"})
  (fault,) = runner.faults(conv_check.convolutions(lambda _: None))
  assert fault.startswith("lax/depthwise k5 s2 d2: ")


def test_the_reference_of_a_convolution_by_hand():
  case = conv_check.Case("dense", 3, 2)
  x = np.arange(9.0).reshape(1, 3, 3, 1)
  w, g = np.ones((3, 3, 1, 1)), np.zeros((1, 2, 2, 1))
  g[0, 0, 0] = 1.0
  y, dx, dw = conv_check.reference(case, x, w, g)
  assert y[0, :, :, 0].tolist() == [[8, 12], [20, 24]]
  assert dx[0, :, :, 0].tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]
  assert dw[:, :, 0, 0].tolist() == [[0, 0, 0], [0, 0, 1], [0, 3, 4]]
