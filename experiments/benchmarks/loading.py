"""How long steps of large supernets take to compile, to load again and to run.

  python -m experiments.benchmarks.loading

On CPU, with and without YNNPACK's fusions (`core.compile.jit`, large). Each
program is compiled in a process of its own, with an empty cache, and loaded by
another process from the cache that this left. The two processes that loaded
then run blocks of steps in turns. Kinds that loading.json has are not made
again.
"""

import argparse
import pathlib
import tempfile

import numpy as np

from experiments.benchmarks import supernet
from experiments.benchmarks.program import build
from experiments.benchmarks.worker import Worker, serve, take_turns
from experiments.made import begin, made
from experiments.samplers import memory
from hwnas_jax import config as configuration
from hwnas_jax.config import problem as problems
from hwnas_jax.config.fields import Config
from hwnas_jax.io import readers, writers

RESULTS = pathlib.Path(__file__).with_suffix(".json")
KINDS = (*supernet.BIG, "nasbench201", "fbnet_ordered", "fbnet_softmax")
WAYS = {"fusions": False, "large": True}
BATCH, STEPS, ROUNDS = 64, 2, 6


def make_config(kind: str) -> Config:
  """The config whose step is measured."""
  if kind in supernet.BIG:
    return problems.resolve(supernet.make_config(kind, BATCH, STEPS))
  if kind == "nasbench201":
    config = configuration.load("nasbench201")
    config.data.name = "mock_cifar10"
    config.cost.name, config.penalty.name = "macs", "none"
    config.search.update(batch_size=BATCH, steps_per_dispatch=STEPS)
    return problems.resolve(config)
  return memory.make_config(kind.removeprefix("fbnet_"), BATCH, STEPS)


def work(kind: str, large: bool) -> None:
  """A worker; its first answer is about the compilation."""
  program = build(make_config(kind), large)
  about = program.about
  serve(
    program.block,
    {
      "trace_and_lower_s": about["trace_s"] + about["lower_s"],
      "compile_s": about["compile_s"],
      "fusions": program.compiled.as_text().count('kind":"__ynn_fusion'),
    },
    STEPS,
  )


def measure(kind: str, root: pathlib.Path) -> dict[str, object]:
  """Both ways: compiled, loaded, and run in turns."""
  row: dict[str, object] = {"kind": kind}
  workers = {}
  for way, large in WAYS.items():
    command = [__spec__.name, "--kind", kind] + ["--large"] * large
    environment = {
      "JAX_COMPILATION_CACHE_DIR": str(root / way),
      "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    cold = Worker(command, environment)
    cold.close()
    workers[way] = Worker(command, environment)
    row[way] = {"cold": cold.about, "warm": workers[way].about}
  seconds = {
    way: [block["step_s"] for block in blocks]
    for way, blocks in take_turns(workers, ROUNDS).items()
  }
  ratios = np.divide(seconds["large"], seconds["fusions"])
  low, median, high = np.percentile(ratios, (25, 50, 75)).tolist()
  return row | {
    "step_s": seconds,
    "large_over_fusions": {"median": median, "quartiles": [low, high]},
  }


def main() -> None:
  """Writes loading.json."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--kind", choices=KINDS, help=argparse.SUPPRESS)
  parser.add_argument("--large", action="store_true", help=argparse.SUPPRESS)
  args, start = parser.parse_args(), begin()
  if args.kind:
    work(args.kind, args.large)
    return
  document = readers.read_json(RESULTS) if RESULTS.exists() else {"rows": []}
  done = {row["kind"] for row in document["rows"]}
  for kind in KINDS:
    if kind in done:
      continue
    with tempfile.TemporaryDirectory() as root:
      document["rows"].append(measure(kind, pathlib.Path(root)))
    document["made"] = made(start, all=0)
    writers.write_json(RESULTS, document)
    print(document["rows"][-1], flush=True)


if __name__ == "__main__":
  main()
