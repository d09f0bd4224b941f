"""Checks and measures hwnas_jax on a GPU, in stages that resume.

  python experiments/gpu/run.py --out=DIR --data=FOLDER --seconds=720
  python experiments/gpu/run.py --out=DIR --stages=a,c_small --seconds=180
  python experiments/gpu/run.py --out=/tmp/gpu --smoke     (any machine, CPU)

Writes DIR/<stage>.json after each piece and within it. What is done there, or
in the folder of --resume, is skipped; what failed is tried again. The exit
status is 1 if a piece failed or was interrupted; with --smoke also if one was
not started for lack of time.
"""

import argparse
import os
import pathlib
import shutil
import sys
import time
from typing import Any

ROOT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
STAGES = (
  *("a", "c_small", "b", "d", "c_big", "e", "c_compiled", "b_cifar"),
  "accuracy",
)
ALONE = ("b", "b_cifar", "e", "accuracy")  # nothing may compile beside these


def parse(words: list[str] | None = None) -> argparse.Namespace:
  """The command line."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--out", type=pathlib.Path, required=True)
  parser.add_argument("--resume", type=pathlib.Path, help="an earlier --out")
  parser.add_argument("--stages", default=",".join(STAGES))
  parser.add_argument("--seconds", type=float, default=3600.0, help="of all")
  parser.add_argument(
    "--data",
    type=pathlib.Path,
    default=ROOT / ".gpu_data",
    help="data_batch_*.npz, test_batch.npz, nb201_cifar10.npz,"
    " fashion_mnist.npz",
  )
  parser.add_argument("--commit", default="", help="where there is no git")
  parser.add_argument("--smoke", action="store_true", help="tiny, on a CPU")
  parser.add_argument("--rounds", type=int, default=10)
  parser.add_argument("--block", type=int, default=10, help="steps a dispatch")
  parser.add_argument(
    "--forms", default="lax", help="of our convolutions: lax, shifted or both"
  )
  parser.add_argument("--networks", type=int, default=20)
  parser.add_argument("--held_out", type=int, default=10)
  parser.add_argument("--search_steps", type=int, default=6000)
  parser.add_argument("--search_seconds", type=float, default=120.0)
  parser.add_argument("--cells", type=int, default=200, help="ranked in d")
  parser.add_argument(
    "--no_ahead",
    action="store_true",
    help="do not compile c_big beside d's search",
  )
  args = parser.parse_args(words)
  args.stages = args.stages.split(",")
  unknown = set(args.stages) - set(STAGES)
  if unknown:
    parser.error(f"unknown stages {sorted(unknown)}; there are {STAGES}")
  if args.smoke:  # b_cifar would run what b does
    args.stages = [name for name in args.stages if name != "b_cifar"]
    args.rounds, args.block, args.networks, args.held_out = 2, 1, 3, 1
  return args


def prepare(args: argparse.Namespace) -> None:
  """Makes --out, with what --resume has, and sets JAX's environment."""
  args.out.mkdir(parents=True, exist_ok=True)
  if args.resume:
    for path in args.resume.rglob("*"):
      copy = args.out / path.relative_to(args.resume)
      if path.is_file() and not copy.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
  # PyTorch needs a part of the memory, and the CPU is the reference.
  os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.5")
  # What one piece or call has compiled, another loads.
  os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(args.out / "xla"))
  if args.smoke:
    os.environ["JAX_PLATFORMS"] = "cpu"


def describe(args: argparse.Namespace) -> tuple[dict, dict]:
  """(what every record has, what every stage's file has once)."""
  import importlib.metadata

  import jax

  from experiments.gpu import twins
  from hwnas_jax.io import records, versions

  packages = versions.versions()
  packages["torch"] = (
    importlib.metadata.version("torch") if twins.HAS_TORCH else None
  )
  head = {
    "seed": 0,
    "commit": args.commit or packages["git"],
    "device_kind": jax.devices()[0].device_kind,
    "platform": jax.default_backend(),
    "smoke": args.smoke,
  }
  about = {
    **head,
    "versions": packages,
    "device": records.to_json(versions.device_fingerprint()),
    "host_cores": len(os.sched_getaffinity(0)),
    "arguments": {name: str(value) for name, value in vars(args).items()},
    "unix_time_s": time.time(),
  }
  return head, about


def make_pieces(args: argparse.Namespace, programs: Any) -> dict[str, list]:
  """The pieces of each stage that is wanted, in the order given."""
  from experiments.gpu import (
    accuracy,
    checks,
    convolutions,
    latency,
    runner,
    search,
    steps,
  )
  from experiments.gpu import programs as compiled

  def on_timed() -> None:
    if "c_big" in args.stages and not args.no_ahead:
      done = runner.read(args.out / "c_big.json")["pieces"]
      for kind in steps.AHEAD:
        if steps.wants(kind, done):
          for form in compiled.forms(args):
            programs.start(kind, form)

  stages = {
    "a": lambda: checks.pieces(args),
    "c_small": lambda: steps.small_pieces(programs, args),
    "c_compiled": lambda: steps.compiled_pieces(programs, args),
    "e": lambda: convolutions.pieces(args),
    "b": lambda: latency.pieces("nasbench201", 80, args),
    "b_cifar": lambda: latency.pieces("cifar", 130, args),
    "d": lambda: search.pieces(args, on_timed),
    "c_big": lambda: steps.big_pieces(programs, args),
    "accuracy": lambda: accuracy.pieces(args),
  }
  return {name: stages[name]() for name in args.stages}


def main() -> None:
  """Runs the stages in the order given."""
  start = time.monotonic()
  args = parse()
  prepare(args)

  from experiments.gpu import programs as compiled
  from experiments.gpu import runner

  head, about = describe(args)
  runner.say(f"{head}, imports took {time.monotonic() - start:.1f} s")
  deadline = start + args.seconds
  context = runner.Context(args.out, head, about, deadline, args.smoke)
  programs = compiled.Programs(args)
  states: dict[str, str] = {}
  for stage, pieces in make_pieces(args, programs).items():
    if stage in ALONE:
      programs.wait(max(context.left_s(), 0.0))
    found = runner.run_stage(stage, pieces, context)
    states |= {f"{stage} {piece}": state for piece, state in found.items()}
  runner.say(f"ended after {time.monotonic() - start:.1f} s")
  status = runner.exit_status(states, args.smoke)
  sys.stdout.flush()
  os._exit(status)  # threads that still compile do not hold it up


if __name__ == "__main__":
  main()
