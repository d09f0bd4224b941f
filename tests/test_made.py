"""What JSON files of experiments say about their making."""

import hashlib
import importlib
import json
import pathlib
import sys

from hwnas_jax.io import versions

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
made = importlib.import_module("experiments.made")


def test_versions_are_those_before_the_first_write(monkeypatch):
  monkeypatch.setattr(versions, "versions", lambda: {"git": "abc"})
  start = made.begin()
  monkeypatch.setattr(versions, "versions", lambda: {"git": "abc-dirty"})
  found = made.made(start, split=0)
  assert found["seeds"] == {"split": 0}
  assert found["versions"] == {"git": "abc"}
  assert found["wall_s"] >= 0


def test_picks_are_those_of_the_results_that_name_them():
  folder = ROOT / "experiments" / "nasbench201"
  results = json.loads((folder / "own_full_size" / "results.json").read_text())
  digest = hashlib.sha256((folder / "picks.json").read_bytes()).hexdigest()
  assert results["picks_sha256"] == digest
  assert not results["made"]["versions"]["git"].endswith("-dirty")
