"""Run folders as a search leaves them, with made-up numbers."""

import itertools
import json
import pathlib
from typing import Any

import numpy as np
import pytest

from hwnas_jax.io import writers
from hwnas_jax.spaces import architecture, darts

NET = {"num_cells": 3, "num_nodes": 4, "channels": 8, "num_classes": 10}


@pytest.fixture
def run(tmp_path):
  """A whole run with three operations, and its family.json."""
  return tmp_path, write_run(tmp_path)


@pytest.fixture(scope="session")
def family_of():
  """`make_family`, for tests of parts that read no files."""
  return make_family


@pytest.fixture(scope="session")
def run_of():
  """`write_run`, for tests that want another space."""
  return write_run


def write_run(
  folder: pathlib.Path, ops: str = "three", num_members: int = 8
) -> dict[str, Any]:
  """Writes a whole run and returns its family.json."""
  family = make_family(ops, num_members)
  writers.write_json(folder / "family.json", family)
  writers.write_json(
    folder / "config.json",
    {
      "config": {"space": {"ops": ops}, "search": {"steps": 300}},
      "command": "python -m hwnas_jax.main --config=configs/digits.py",
    },
  )
  writers.write_json(
    folder / "versions.json",
    {
      "versions": {"python": "3.12.1", "jax": "0.10.2", "hwnas_jax": "0.1.0"},
      "device": {
        "platform": "cpu",
        "device_kind": "cpu",
        "cpu_model": "AMD EPYC 7763",
        "cpu_cores": 2,
        "xla_flags": "",
      },
      "fingerprint": "cpu-amd-epyc-2core-32f3a957",
    },
  )
  _write_rows(folder / "search" / "metrics.jsonl", _search_rows())
  for i, member in enumerate(family["members"]):
    rows = _training_rows(i)
    _write_rows(folder / "networks" / member["id"] / "metrics.jsonl", rows)
  return family


def _write_rows(path: pathlib.Path, rows: list[dict[str, Any]]) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def make_family(ops: str = "three", num_members: int = 8) -> dict[str, Any]:
  """A family.json: `num_members` of the family and five random ones."""
  net = darts.Darts(ops=darts.OP_SETS[ops], image=(8, 8, 1), **NET)
  space = darts.make_space(net)
  rng = np.random.default_rng(3)
  priced = [op for op in space.ops if op != "none"]
  members = []
  for i in range(num_members + 5):
    is_random = i >= num_members
    dear = rng.uniform() if is_random else i / max(num_members - 1, 1)
    members.append(_member(space, rng, dear, is_random, priced))
  return {
    "ops": list(space.ops),
    "choices": list(space.choices),
    "latency_batch_size": 64,
    "base_latency_ms": 0.4,
    "baselines": {"logistic_regression_accuracy": 0.953},
    "priced": priced,
    "members": members,
    "shares": _shares(space.ops, priced),
  }


def _member(space, rng, dear, is_random, priced) -> dict[str, Any]:
  weights = np.where(["conv" in op for op in space.ops], 0.05 + 2 * dear, 1.0)
  drawn = rng.choice(
    len(space.ops), len(space.choices), p=weights / weights.sum()
  )
  genotype = tuple(int(op) for op in drawn)
  if len(space.ops) == 8:  # DARTS keeps two edges a node
    kept = {0, 1, 2, 4, 5, 8, 10, 13}
    genotype = tuple(
      op if i % 14 in kept else -1 for i, op in enumerate(genotype)
    )
  counts = architecture.op_counts(space, genotype)
  convs = sum(n for op, n in counts.items() if "conv" in op)
  latency = 0.62 + 0.13 * convs + 0.05 * rng.uniform()
  top = 0.962 if is_random else 0.971
  accuracy = top + 0.019 * (1 - np.exp(-convs / 5)) + 0.002 * rng.normal()
  seeds = [float(accuracy + d) for d in (-0.002, 0.0, 0.002)]
  scale = float(10 ** (1 - 2 * dear))
  simplex = [1 / len(priced)] * len(priced)
  return {
    "id": architecture.identity(space, genotype),
    "name": "random" if is_random else f"scale {scale:.2f}",
    "kind": "random" if is_random else "member",
    "condition": None if is_random else {"simplex": simplex, "scale": scale},
    "genotype": architecture.to_json(space, genotype),
    "op_counts": counts,
    "params": 4000 + 1450 * convs,
    "op_params": 1450 * convs,
    "macs": 310_000 + 92_000 * convs,
    "predicted_ms": float(latency * (1 + 0.06 * rng.normal())),
    "latency": {
      "median_ms": float(latency),
      "iqr_ms": 0.018,
      "min_ms": float(latency - 0.02),
      "repeats": 50,
    },
    "test_accuracy": float(accuracy),
    "test_accuracies": seeds,
  }


def _shares(ops, priced) -> list[dict[str, Any]]:
  uniform = [1 / len(priced)] * len(priced)
  conditions = [(uniform, float(s)) for s in np.geomspace(0.01, 10, 16)]
  if len(priced) == 3:
    steps = [
      (i / 6, j / 6, (6 - i - j) / 6)
      for i, j in itertools.product(range(7), repeat=2)
      if i + j <= 6
    ]
    conditions += [(list(s), 1.0) for s in steps]
  else:
    drawn = np.random.default_rng(1).dirichlet(np.ones(len(priced)), 48)
    conditions += [(s.tolist(), 1.0) for s in drawn]
  return [
    {
      "condition": {"simplex": simplex, "scale": scale},
      "shares": _softmax_shares(ops, priced, simplex, scale),
    }
    for simplex, scale in conditions
  ]


def _softmax_shares(ops, priced, simplex, scale) -> dict[str, float]:
  price = dict(zip(priced, simplex, strict=True))
  logits = np.asarray(
    [
      (2.0 if "conv" in op else 0.3)
      - 3 * price.get(op, 0) * scale**0.5 * (2 if "conv" in op else 1)
      for op in ops
    ]
  )
  weights = np.exp(logits) / np.exp(logits).sum()
  return {op: float(w) for op, w in zip(ops, weights, strict=True)}


def _search_rows() -> list[dict[str, Any]]:
  rng = np.random.default_rng(0)
  rows = []
  for step in range(1, 301):
    fade = np.exp(-step / 90)
    entropy = 0.25 + 2 * fade + 0.15 * rng.uniform()
    penalty = 0.4 * rng.uniform()
    rows.append(
      {
        "step": step,
        "unix_time_s": 1.0,
        "loss": entropy + penalty,
        "cross_entropy": entropy,
        "penalty": penalty,
        "expected_latency_ms": 2.2 + 0.8 * rng.uniform() - 0.6 * (1 - fade),
        "temperature": 5 * 0.99**step,
        "accuracy": None if step % 7 == 0 else 0.95 - 0.8 * fade,
      }
    )
  return rows


def _training_rows(seed: int) -> list[dict[str, Any]]:
  rng = np.random.default_rng(seed)
  return [
    {
      "step": 20 * i,
      "epoch": i,
      "loss": float(2.2 * np.exp(-i / (5 + seed)) + 0.03 * rng.uniform()),
      "train_accuracy": float(1 - 0.85 * np.exp(-i / (4 + seed))),
    }
    for i in range(1, 31)
  ]
