"""The main job at the corners of its numbers: is anything silently not finite?

  python -m experiments.faults.numbers --workdir=runs/faults

From the repository root, after `experiments.faults.kill`, whose table is used.
The smoke variant of the digits runs with one thing at a corner: temperatures of
1e-3 and 1e3, logits of 1e4, one class, one operation, batches of one image,
prices of 1e6, learning rates that diverge. A run has to end with finite
metrics and weights, or to stop with exit code 1 and one line that says why.

Writes numbers.json, a row a corner; what is there is not done again.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from experiments.faults import kill
from experiments.made import begin, made
from hwnas_jax.data import embedded
from hwnas_jax.io import readers, writers
from hwnas_jax.io.run_folder import RunFolder

HERE = pathlib.Path(__file__).parent
CUSTOM = "--config=experiments/custom_space/config.py:smoke"
CORNERS: dict[str, list[str]] = {
  "temperature 1e-3": ["temperature.start=1e-3", "temperature.end=1e-3"],
  "temperature 1e3": ["temperature.start=1e3", "temperature.end=1e3"],
  "logits of 1e4": ["controller.reference_std=1e4"],
  "bfloat16": ["precision=bfloat16"],
  "bfloat16, temperature 1e-3": [
    "precision=bfloat16",
    "temperature.start=1e-3",
    "temperature.end=1e-3",
  ],
  "bfloat16, logits of 1e4": [
    "precision=bfloat16",
    "controller.reference_std=1e4",
  ],
  "one class": ["data.name=npz:{data}"],
  "one operation": ["space.model={model}:Net"],
  "search batch of 1": ["search.batch_size=1"],
  "training batch of 1": ["train.batch_size=1"],
  "prices of 1e6": ["condition.high=1e6"],
  "prices of 1e-6": ["condition.low=1e-6", "condition.high=1e-5"],
  "search diverges": ["search.weights_lr=1e30", "search.weights_clip=1e30"],
  "controller's rate 1e30": ["search.controller_lr=1e30"],
  "training diverges": ["train.lr=1e30", "train.clip=1e30"],
}


MODEL = '''"""One choice of one operation."""

import flax.linen as nn

import hwnas_jax as hw


class Net(nn.Module):
  """A convolution and a classifier."""

  mode: str

  @nn.compact
  def __call__(self, x):
    x = hw.Choice({"conv": nn.Conv(4, (3, 3))}, name="layer")(x)
    return nn.Dense(10)(nn.relu(x).mean((1, 2)))
'''


def write_inputs(folder: pathlib.Path) -> None:
  """The digits, all of the class 0; and a model of one operation."""
  folder.mkdir(parents=True, exist_ok=True)
  digits = embedded.digits()
  arrays = {}
  for name, split in (("train", digits.train), ("test", digits.test)):
    arrays[f"x_{name}"] = np.asarray(split.images)
    arrays[f"y_{name}"] = np.zeros(len(split.labels), np.int32)
  np.savez(folder / "one.npz", **arrays)
  (folder / "one.py").write_text(MODEL)


def not_finite(folder: RunFolder) -> Iterator[str]:
  """What there is in a run folder that is not finite."""
  for path in folder.path.rglob("*.jsonl"):
    for line in path.read_text().splitlines():
      row = json.loads(line)
      bad = [
        name
        for name, value in row.items()
        if value is None  # as NaN and infinity are written
      ]
      if bad:
        yield f"{path.name} step {row.get('step')}: {', '.join(bad)}"
  for path in folder.path.rglob("weights.npz"):
    for name, array in readers.read_sealed(path).items():
      if not np.isfinite(array).all():
        yield f"{path.parent.name}/weights.npz: {name}"


def corner(args: argparse.Namespace, fields: list[str]) -> dict[str, Any]:
  """Runs the main job at one corner."""
  run, base = args.workdir / "corner", args.workdir / "base"
  shutil.rmtree(run, ignore_errors=True)
  paths = {"data": args.workdir / "one.npz", "model": args.workdir / "one.py"}
  given = [f"--config.{field.format(**paths)}" for field in fields]
  command = kill.arguments("main", run, base)
  if "space.model" in fields[0]:
    command = ["hwnas_jax.main", CUSTOM, f"--workdir={run}"]
  if "precision=bfloat16" in fields:  # the table is of float32
    command = ["hwnas_jax.main", kill.CONFIG, f"--workdir={run}"]
  done = subprocess.run(
    [sys.executable, "-m", *command, *given],
    capture_output=True,
    text=True,
    timeout=kill.LIMIT_S,
    check=False,
  )
  lines = [line for line in done.stderr.splitlines() if line.strip()]
  return {
    "exit": done.returncode,
    "last": (lines or [""])[-1][:300] if done.returncode else "",
    "traceback": "Traceback" in done.stderr,
    "not_finite": list(not_finite(RunFolder(run)))[:5],
    "networks": len(kill.trained(RunFolder(run))),
  }


def main() -> None:
  """Runs the corners that have no row."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--workdir", type=pathlib.Path, required=True)
  parser.add_argument("--only", nargs="*", default=list(CORNERS))
  parser.add_argument(
    "--json", type=pathlib.Path, default=HERE / "numbers.json"
  )
  args, start = parser.parse_args(), begin()
  write_inputs(args.workdir)
  rows = readers.read_json(args.json) if args.json.exists() else {}
  for name in args.only:
    if name in rows:
      continue
    rows[name] = corner(args, CORNERS[name])
    rows["made"] = made(start, all=0)
    print(name, rows[name], flush=True)
    writers.write_json(args.json, rows)


if __name__ == "__main__":
  main()
