"""Times the supernet search step against eager PyTorch.

  python -m experiments.benchmarks.supernet --batch 64
  python -m experiments.benchmarks.supernet --big --rounds 4 --steps 4

The step of the simplex experiment (3 cells, 3 operations, C=16, 28x28x1); with
--big those of DARTS (8 cells, 8 operations, C=16, 32x32x3), one-level and
bilevel. Ours and PyTorch in both memory formats (with --big, in channels_last,
the faster) live in a process each, with as many threads, and take turns: a
block of steps each, round after round. Ours also gathers and crops its images,
which PyTorch is handed ready. Results go to --json by case; what is there is
skipped. A block of ours is one dispatch.
"""

import argparse
import importlib.metadata
import json
import math
import os
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.benchmarks.worker import (
  Worker,
  peak_rss_mib,
  serve,
  take_turns,
)

HERE = pathlib.Path(__file__).parent
WAYS = ("ours", "torch channels_last", "torch channels_first")
SMALL = ("simplex_one_level",)
BIG = ("darts_one_level", "darts_bilevel_first_order")
Block = Callable[[], object]


def make_config(kind: str, batch: int, steps: int) -> Any:
  """The ConfigDict whose step is that of `torch_supernet` of this kind."""
  import hwnas_jax as hw

  config = hw.load_config("fashion_mnist" if kind in SMALL else "cifar")
  config.data.name = f"mock_{config.data.name}"  # only shapes matter
  config.search.update(batch_size=batch, steps_per_dispatch=steps)
  if kind in BIG:
    config.search.bilevel = kind == BIG[1]
    config.controller.name, config.condition.name = "table", "fixed"
    config.sampler.update(name="softmax", per_example=False)
    config.cost.update(name="paper", kappa=0.0)  # PyTorch's has no penalty
  return config


def our_block(kind: str, batch: int, steps: int) -> tuple[Block, Any]:
  """(a dispatch of `steps` steps, seconds and bytes of its compilation)."""
  from experiments.benchmarks.program import build
  from hwnas_jax.config import problem as problems
  from hwnas_jax.io.cache import use_compilation_cache

  use_compilation_cache()
  program = build(problems.resolve(make_config(kind, batch, steps)))
  return program.block, program.about | {"compile_peak_rss_mib": peak_rss_mib()}


def torch_block(
  kind: str, batch: int, steps: int, threads: int, channels_last: bool
) -> tuple[Block, Any]:
  """(`steps` steps, nothing: eager mode compiles nothing)."""
  import torch

  from experiments.benchmarks import torch_supernet

  torch.set_num_threads(threads)
  torch.manual_seed(0)
  cells, ops, size, depth = (3, 3, 28, 1) if kind in SMALL else (8, 8, 32, 3)
  layout = torch.channels_last if channels_last else torch.contiguous_format
  net = torch_supernet.Supernet(
    cells, 16, ops=torch_supernet.OPS[ops], in_channels=depth
  )
  net.to(memory_format=layout)  # type: ignore[call-overload]
  train, valid = (
    torch_supernet.random_batch(batch, depth, size, layout) for _ in range(2)
  )
  step = torch_supernet.make_step(kind, net)
  return lambda: [step(train, valid).item() for _ in range(steps)], {}


def work(args: argparse.Namespace) -> None:
  """A worker: answers each line on its input with a line of JSON."""
  os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.threads])
  (kind,) = args.kinds
  if args.worker == "ours":
    block, about = our_block(kind, args.batch, args.steps)
  else:
    block, about = torch_block(
      kind, args.batch, args.steps, args.threads, args.worker.endswith("last")
    )
  serve(block, about, args.steps)


def start(way: str, kind: str, args: argparse.Namespace, cache: str) -> Worker:
  """A worker of this script, ready for blocks."""
  command = [__spec__.name, f"--worker={way}", f"--kinds={kind}"]
  for name in ("batch", "steps", "threads"):
    command.append(f"--{name}={getattr(args, name)}")
  return Worker(command, {"HWNAS_CACHE_DIR": cache})


def measure(kind: str, args: argparse.Namespace) -> dict[str, Any]:
  """One case: compilation with a cold and a warm cache, then the rounds."""
  # All three large processes together do not fit in memory.
  names = WAYS if kind in SMALL else WAYS[:2]
  with tempfile.TemporaryDirectory() as cache:
    first = start(WAYS[0], kind, args, cache)
    first.close()
    workers = {way: start(way, kind, args, cache) for way in names}
    rows = take_turns(workers, args.rounds)
  ours = np.asarray([row["step_s"] for row in rows[WAYS[0]]])
  return {
    "compilation": {"cold": first.about, "warm": workers[WAYS[0]].about},
    "ways": {way: summary(some, ours) for way, some in rows.items()},
    **environment(args),
  }


def summary(rows: list[dict[str, float]], ours: np.ndarray) -> dict[str, Any]:
  """Medians over the rounds; ratio: seconds over ours of the same round."""
  seconds = np.asarray([row["step_s"] for row in rows])
  low, high = np.percentile(seconds, (25, 75))
  return {
    "median_s": float(np.median(seconds)),
    "iqr_s": float(high - low),
    "median_ratio": float(np.median(seconds / ours)),
    "step_s": seconds.tolist(),
    "median_system_s": float(np.median([row["system_s"] for row in rows])),
    "peak_rss_mib": rows[-1]["peak_rss_mib"],
  }


def environment(args: argparse.Namespace) -> dict[str, Any]:
  """What the times depend on; `versions` has the git commit."""
  from hwnas_jax.io import records, versions

  packages = versions.versions()
  return {
    "batch": args.batch,
    "steps_per_block": args.steps,
    "rounds": args.rounds,
    "threads": args.threads,
    "versions": packages | {"torch": importlib.metadata.version("torch")},
    "device": records.to_json(versions.device_fingerprint()),
  }


def print_case(name: str, result: dict[str, Any]) -> None:
  """The case's table."""
  print(f"\n{name}: {result['rounds']} rounds of {result['steps_per_block']}")
  for way, row in result["ways"].items():
    print(
      f"  {way:22}{1e3 * row['median_s']:9.1f} ms a step"
      f" (IQR {1e3 * row['iqr_s']:.1f}), {row['median_ratio']:.2f} of ours,"
      f" {row['median_system_s']:.2f} s of the system,"
      f" {row['peak_rss_mib']:.0f} MiB peak"
    )
  for cache, row in result["compilation"].items():
    print(
      f"  {cache} cache: trace {row['trace_s']:.1f} s, lower"
      f" {row['lower_s']:.1f} s, compile {row['compile_s']:.1f} s,"
      f" {row['temp_mib']:.0f} MiB temporary, up to"
      f" {row.get('compile_peak_rss_mib', math.nan):.0f} MiB to compile"
    )


def parse() -> argparse.Namespace:
  """The command line; --worker and --kinds are for the script itself."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--batch", type=int, default=64)
  parser.add_argument("--rounds", type=int, default=10)
  parser.add_argument("--steps", type=int, default=10, help="of a block")
  parser.add_argument("--threads", type=int, default=2)
  parser.add_argument(
    "--json", type=pathlib.Path, default=HERE / "supernet.json"
  )
  parser.add_argument("--big", action="store_true", help="8 cells, 8 ops")
  parser.add_argument("--smoke", action="store_true", help="tiny batch, fast")
  parser.add_argument("--worker", choices=WAYS, help=argparse.SUPPRESS)
  parser.add_argument("--kinds", nargs=1, help=argparse.SUPPRESS)
  args = parser.parse_args()
  if args.smoke:
    args.batch, args.rounds, args.steps, args.threads = 4, 2, 1, 1
  cores = len(os.sched_getaffinity(0))
  if args.threads > cores:
    parser.error(f"--threads={args.threads}, but this process has {cores}")
  return args


def main() -> None:
  """Measures what --json lacks; prints all of it."""
  args = parse()
  if args.worker:
    work(args)
    return
  results = json.loads(args.json.read_text()) if args.json.exists() else {}
  for kind in BIG if args.big else SMALL:
    name = f"{kind} batch={args.batch}"
    if name not in results:
      results[name] = measure(kind, args)
      args.json.write_text(json.dumps(results, indent=1) + "\n")
  for name, result in results.items():
    print_case(name, result)


if __name__ == "__main__":
  main()
