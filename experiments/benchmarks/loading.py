"""How long the steps of large supernets take to compile, and to load again.

  python -m experiments.benchmarks.loading

On CPU, with and without YNNPACK's fusions (`core.compile.jit`, large). Each
program is compiled in a process of its own, with an empty cache and then with
the cache that this left; then it makes a few steps. Rows that loading.json has
are not made again.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

from experiments.benchmarks import supernet
from experiments.benchmarks.program import build
from experiments.samplers import memory
from hwnas_jax.config import problem as problems
from hwnas_jax.config.fields import Config
from hwnas_jax.io import readers, versions, writers

HERE = pathlib.Path(__file__).parent
RESULTS = HERE / "loading.json"
KINDS = (*supernet.BIG, "fbnet_softmax", "fbnet_ordered")
BATCH, STEPS = 64, 4


def make_config(kind: str) -> Config:
  """The config whose step is measured."""
  if kind in supernet.BIG:
    return problems.resolve(supernet.make_config(kind, BATCH, 1))
  return memory.make_config(kind.removeprefix("fbnet_"), BATCH)


def measure(kind: str, large: bool) -> dict[str, object]:
  """Seconds to trace, lower, compile or load, and of each step."""
  program = build(make_config(kind), large)
  seconds = []
  for _ in range(STEPS + 1):  # the first is not counted
    began = time.perf_counter()
    program.block()
    seconds.append(time.perf_counter() - began)
  about = program.about
  return {
    "trace_and_lower_s": about["trace_s"] + about["lower_s"],
    "compile_s": about["compile_s"],
    "step_s": float(np.median(seconds[1:])),
    "step_iqr_s": float(np.subtract(*np.percentile(seconds[1:], [75, 25]))),
    "fusions": program.compiled.as_text().count('kind":"__ynn_fusion'),
  }


def child(kind: str, large: bool, cache: str) -> dict[str, object]:
  """`measure` in a process of its own, with a folder as its cache."""
  environment = {
    **os.environ,
    "JAX_COMPILATION_CACHE_DIR": cache,
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "PYTHONPATH": str(HERE.parents[1]),
  }
  command = [sys.executable, "-m", __spec__.name, "--kind", kind]
  out = subprocess.run(
    command + ["--large"] * large,
    env=environment,
    capture_output=True,
    text=True,
    check=True,
  ).stdout
  return json.loads(out.splitlines()[-1])


def main() -> None:
  """Writes loading.json."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--kind", choices=KINDS, help="one measurement")
  parser.add_argument("--large", action="store_true")
  args = parser.parse_args()
  if args.kind:
    print(json.dumps(measure(args.kind, args.large)))
    return
  document = readers.read_json(RESULTS) if RESULTS.exists() else {"rows": []}
  done = {(row["kind"], row["large"]) for row in document["rows"]}
  for kind in KINDS:
    for large in (False, True):
      if (kind, large) in done:
        continue
      with tempfile.TemporaryDirectory() as cache:
        pair = {name: child(kind, large, cache) for name in ("cold", "warm")}
      document["rows"].append({"kind": kind, "large": large, **pair})
      document["versions"] = versions.versions()
      writers.write_json(RESULTS, document)
      print(document["rows"][-1], flush=True)


if __name__ == "__main__":
  main()
