"""Run folders as a search leaves them, with made-up numbers."""

import itertools
import json
import pathlib
from typing import Any

import numpy as np
import pytest
from toy_origin import ORIGIN

from hwnas_jax.io.records import (
  Accuracies,
  Baseline,
  ComfortZone,
  Condition,
  Device,
  Family,
  MadeWith,
  Measurement,
  Member,
  ScaledNetwork,
  Settings,
  Shares,
)
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.spaces import architecture, darts

NET = {"num_cells": 3, "num_nodes": 4, "channels": 8, "num_classes": 10}


@pytest.fixture
def run(tmp_path):
  """(folder of a whole run with three operations, its family)."""
  folder = RunFolder(tmp_path)
  return folder, write_run(folder)


@pytest.fixture(scope="session")
def family_of():
  """`make_family`, for tests of parts that read no files."""
  return make_family


@pytest.fixture(scope="session")
def run_of():
  """`write_run`, for tests that want another space."""
  return write_run


@pytest.fixture(scope="session")
def zone_of():
  """`make_zone`, a network that was scaled up."""
  return make_zone


DEVICE = Device(
  platform="cpu", device_kind="cpu", cpu_model="AMD EPYC 7763", cpu_cores=2
)
VERSIONS = {"python": "3.12.1", "jax": "0.10.2", "hwnas_jax": "0.2.0"}


def write_run(
  folder: RunFolder, ops: str = "three", num_members: int = 8
) -> Family:
  """Writes a whole run and returns its family."""
  family = make_family(ops, num_members)
  folder.write_family(family)
  folder.write_settings(
    Settings(
      schema=2,
      config={"space": {"ops": ops}, "search": {"steps": 300}},
      command="python -m hwnas_jax.main --config=configs/digits.py",
      origin=ORIGIN,
    ),
    MadeWith(VERSIONS, DEVICE, "cpu-amd-epyc-2core-32f3a957"),
  )
  _write_rows(folder.search / "metrics.jsonl", _search_rows())
  for i, member in enumerate(family.members):
    _write_rows(folder.network(member.id).metrics, _training_rows(i))
  return family


def make_zone(name: str) -> ComfortZone:
  """A network of eight channels; twice as many take no longer."""
  points = [
    ScaledNetwork(
      channels=(channels, 2 * channels),
      image=(side, side),
      macs=1000 * channels * side,
      params=100 * channels,
      latency=Measurement(1 + channels * side / 1000, 0.1),
      over_found=(1.0,),
      overrides=flags,
      needs_images=None,
    )
    for side in (8, 12)
    for channels, flags in ((8, ()), (16, ("--config.derive.channels=16",)))
  ]
  return ComfortZone(
    id=name,
    batch_size=64,
    tolerance=0.02,
    knee=points[1],
    points=tuple(points),
    versions=VERSIONS,
    device=DEVICE,
  )


def _write_rows(path: pathlib.Path, rows: list[dict[str, Any]]) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def make_family(ops: str = "three", num_members: int = 8) -> Family:
  """A family of `num_members` networks, and five random ones beside it."""
  net = darts.Darts(ops=darts.OP_SETS[ops], image=(8, 8, 1), **NET)
  space = darts.make_space(net)
  rng = np.random.default_rng(3)
  priced = [op for op in space.ops if op != "none"]
  members = []
  for i in range(num_members + 5):
    is_random = i >= num_members
    size = rng.uniform() if is_random else i / max(num_members - 1, 1)
    members.append(_member(space, rng, size, is_random, priced))
  beside = [
    Baseline("random", members[i].id, members[num_members + i].id)
    for i in range(min(num_members, 5))
  ]
  return Family(
    ops=space.ops,
    choices=space.choices,
    latency_batch_size=64,
    base_latency_ms=0.4,
    priced=tuple(priced),
    members=tuple(members),
    shares=_shares(space.ops, priced),
    baselines=tuple(beside),
    num_test=360,
  )


def _member(space, rng, size, is_random, priced) -> Member:
  weights = np.where(["conv" in op for op in space.ops], 0.05 + 2 * size, 1.0)
  drawn = rng.choice(
    len(space.ops), len(space.choices), p=weights / weights.sum()
  )
  genotype = tuple(int(op) for op in drawn)
  if len(space.ops) == 8:  # DARTS keeps two edges a node
    kept = {0, 1, 2, 4, 5, 8, 10, 13}
    genotype = tuple(
      op if i % 14 in kept else -1 for i, op in enumerate(genotype)
    )
  chosen = architecture.to_json(space, genotype)
  convs = sum("conv" in op for op in chosen.values())
  latency = 0.62 + 0.13 * convs + 0.05 * rng.uniform()
  top = 0.962 if is_random else 0.971
  accuracy = top + 0.019 * (1 - np.exp(-convs / 5)) + 0.002 * rng.normal()
  seeds = [float(accuracy + d) for d in (-0.002, 0.0, 0.002)]
  scale = float(10 ** (1 - 2 * size))
  simplex = (1 / len(priced),) * len(priced)
  return Member(
    id=architecture.identity(space, genotype),
    name="random" if is_random else f"scale {scale:.2f}",
    kind="random" if is_random else "member",
    condition=None if is_random else Condition(simplex, scale),
    architecture=chosen,
    params=4000 + 1450 * convs,
    op_params=1450 * convs,
    macs=310_000 + 92_000 * convs,
    predicted_ms=float(latency * (1 + 0.06 * rng.normal())),
    latency=Measurement(float(latency), 0.018, float(latency - 0.02), 50),
    accuracies=Accuracies(float(accuracy), tuple(seeds)),
  )


def _shares(ops, priced) -> tuple[Shares, ...]:
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
  return tuple(
    Shares(
      Condition(tuple(simplex), scale),
      _softmax_shares(ops, priced, simplex, scale),
    )
    for simplex, scale in conditions
  )


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
