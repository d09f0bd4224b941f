"""How long the steps of 8-cell supernets take to compile, and to load again.

  python experiments/benchmarks/loading.py

On CPU, with and without YNNPACK's fusions (`core.compile.jit`, large). Each
program is compiled in a process of its own, with an empty cache and then with
the cache that this left; then it makes a few steps. Rows that loading.json has
are not made again.
"""

import argparse
import functools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

HERE = pathlib.Path(__file__).parent
RESULTS = HERE / "loading.json"
KINDS = ("darts_one_level", "darts_bilevel_first_order")
BATCH, STEPS = 64, 4


def measure(kind: str, large: bool) -> dict[str, object]:
  """Seconds to trace, lower, compile or load, and of each step."""
  import jax

  from experiments.benchmarks.supernet import make_config
  from hwnas_jax.config import method
  from hwnas_jax.config import problem as problems
  from hwnas_jax.core.compile import jit, repeat
  from hwnas_jax.core.rng import stream
  from hwnas_jax.data import load
  from hwnas_jax.method.step import init_state, make_step

  config = problems.resolve(make_config(kind, BATCH, 1))
  dataset = load.load(config.data.name)
  net = problems.make_nets(config, dataset).supernet
  problem = problems.make(config, problems.Nets(net, net), None)
  parts, settings = method.make_parts(problem, dataset)
  data, _ = method.make_search_data(config, dataset)
  (span,) = spans = method.make_phases(config)
  init = functools.partial(init_state, parts, spans)
  step = make_step(parts, settings, span.phase)
  run = jit(repeat(step, 1), large=large, donate_argnums=0)
  state = jit(init)(stream(0, "search"))
  start = time.perf_counter()
  lowered = run.lower(state, data, problem.costs)
  traced = time.perf_counter()
  compiled = lowered.compile()
  ended = time.perf_counter()
  seconds = []
  for _ in range(STEPS + 1):  # the first is not counted
    began = time.perf_counter()
    state, metrics = compiled(state, data, problem.costs)
    jax.block_until_ready(metrics)
    seconds.append(time.perf_counter() - began)
  return {
    "trace_and_lower_s": traced - start,
    "compile_s": ended - traced,
    "step_s": float(np.median(seconds[1:])),
    "step_iqr_s": float(np.subtract(*np.percentile(seconds[1:], [75, 25]))),
    "fusions": compiled.as_text().count('kind":"__ynn_fusion'),
  }


def child(kind: str, large: bool, cache: str) -> dict[str, object]:
  """`measure` in a process of its own, with a folder as its cache."""
  environment = {
    **os.environ,
    "JAX_COMPILATION_CACHE_DIR": cache,
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "PYTHONPATH": str(HERE.parents[1]),
  }
  command = [sys.executable, __file__, "--kind", kind]
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
  from hwnas_jax.io import readers, versions, writers

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
