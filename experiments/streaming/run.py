"""Data larger than memory: how fast they are read, and what the steps consume.

  python experiments/streaming/run.py --workdir=runs/streaming
  python experiments/streaming/run.py --workdir=/tmp/s --smoke

Writes a stand-in for ImageNet, 20,000 JPEG photos of 224 to 336 pixels in
ArrayRecord files, and streams it at 224x224 with random crops and jitter by two
workers:

- `feed`: one epoch, by nothing but the feed, so images a second that can be
  read, augmented and put on the device, and the memory meanwhile;
- `steps`: search steps of FBNet's supernet that are fed at the same time:
  images a second that they consume, and the share of time they wait. The first
  step is compiled, which takes minutes.

Memory is the proportional set size (PSS) of this process and its workers, which
counts a shared page once, sampled each second. A part that results.json of the
workdir has is skipped.
"""

import argparse
import contextlib
import os
import pathlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

import hwnas_jax as hw
from hwnas_jax.config import method
from hwnas_jax.config import problem as problems
from hwnas_jax.core.rng import stream
from hwnas_jax.data import embedded
from hwnas_jax.io import readers, records, versions, writers
from hwnas_jax.runs import feeding, pipeline

RESULTS = pathlib.Path(__file__).parent / "results.json"
SEED = 0


def main() -> None:
  """Measures what is not measured yet, and writes it."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--workdir", type=pathlib.Path, required=True)
  parser.add_argument("--images", type=int, default=20_000)
  parser.add_argument("--size", type=int, default=224)
  parser.add_argument("--workers", type=int, default=2)
  parser.add_argument("--batch", type=int, default=32, help="of the feed")
  parser.add_argument("--step_batch", type=int, default=8)
  parser.add_argument("--dispatches", type=int, default=12)
  parser.add_argument("--smoke", action="store_true", help="256 images")
  args = parser.parse_args()
  if args.smoke:
    args.images, args.size, args.dispatches, args.step_batch = 256, 64, 3, 4
  name = "results_smoke.json" if args.smoke else "results.json"
  path = args.workdir / name
  results = readers.read_json(path) if path.exists() else {}
  home = args.workdir / f"stand_in_{args.images}_{args.size}"
  if not (home / "records.json").exists():
    start = time.monotonic()
    embedded.write_stand_in(home, (args.images, 256), args.size)
    print(f"written in {time.monotonic() - start:.0f} s: {home}")
  settings = {
    key: value for key, value in vars(args).items() if key != "workdir"
  }
  for part, measure in (("feed", feed), ("steps", steps)):
    if results.get(part, {}).get("settings") == settings:
      print(f"{part}: in {path}")
      continue
    start = time.monotonic()
    found = measure(args, home)
    wall_s = round(time.monotonic() - start, 1)
    results[part] = {
      **found,
      "settings": settings,
      "seed": SEED,
      "wall_s": wall_s,
      "versions": versions.versions(),
      "device": records.to_json(versions.device_fingerprint()),
    }
    writers.write_json(path, results)
    print(part, {k: v for k, v in found.items() if k != "memory_mib"})
  if not args.smoke:
    writers.write_json(RESULTS, results)


def make_problem(
  args: argparse.Namespace, home: pathlib.Path, batch: int, num_steps: int
) -> tuple[problems.Problem, Any]:
  """The search of configs/imagenet.py with smaller batches, priced by MACs."""
  config = hw.load_config("imagenet")
  config.seed = SEED
  side = f"{args.size}x{args.size}"
  config.data.update(name=f"records:{home}", resize=side, workers=args.workers)
  config.cost.name = "macs"
  if args.smoke:
    config.space.skeleton = "tiny"
  config.latency.calibration_networks = 0
  config.search.update(
    num_steps=num_steps,
    warmup_steps=0,
    batch_size=batch,
    bilevel=False,
    weights_fraction=1.0,
    steps_per_dispatch=1,
    checkpoint_every=1,
  )
  config.train.num_steps = 0
  fields = problems.resolve(config)
  dataset = pipeline.load_dataset(fields)
  nets = problems.make_nets(fields, dataset)
  return problems.make(fields, nets, None), dataset


def feed(args: argparse.Namespace, home: pathlib.Path) -> dict[str, Any]:
  """Images a second of one epoch that nothing consumes, and memory."""
  num_steps = args.images // args.batch
  problem, dataset = make_problem(args, home, args.batch, num_steps)
  data, _ = method.make_search_data(problem.config, dataset)
  key = stream(0, "search")
  made = feeding.SearchFeed(problem.config, dataset, data, key)
  at_s = []
  with contextlib.closing(made), sampled_memory() as memory:
    for step in range(num_steps):
      jax.block_until_ready(made.at(step).data.windows)
      at_s.append(time.monotonic())
  # The first windows wait for the workers to start.
  skipped = min(10, num_steps // 2)
  count = (num_steps - 1 - skipped) * args.batch
  rates = args.batch / np.diff(at_s[skipped:])
  return {
    "images": num_steps * args.batch,
    "images_per_s": round(count / (at_s[-1] - at_s[skipped]), 1),
    "batch_images_per_s_iqr": np.percentile(rates, (25, 75)).round(1).tolist(),
    **described(memory),
  }


def steps(args: argparse.Namespace, home: pathlib.Path) -> dict[str, Any]:
  """Images a second that search steps consume while they are fed."""
  batch, count = args.step_batch, args.dispatches
  problem, dataset = make_problem(args, home, batch, count)
  parts, settings = method.make_parts(problem, dataset)
  data, _ = method.make_search_data(problem.config, dataset)
  init, run = method.make_search(problem.config, parts, settings)
  state = init(stream(0, "search"))
  made = feeding.SearchFeed(problem.config, dataset, data, state.key)
  step_s, waits = [], []
  with contextlib.closing(made), sampled_memory() as memory:
    for number in range(count):
      start = time.monotonic()
      given = made.at(number)
      waits.append(time.monotonic() - start)
      state, metrics = run(state, given.data, problem.costs)
      assert np.isfinite(float(metrics["loss"]))
      step_s.append(time.monotonic() - start)
      if not number:
        memory.clear()  # it grows while the first step is compiled
  median = float(np.median(step_s[1:]))  # the first compiles
  return {
    "batch": batch,
    "step_s_median": round(median, 3),
    "step_s_iqr": np.percentile(step_s[1:], (25, 75)).round(3).tolist(),
    "images_per_s": round(batch / median, 2),
    "wait_share": round(sum(waits[1:]) / sum(step_s[1:]), 4),
    **described(memory),
  }


def described(memory: list[float]) -> dict[str, Any]:
  """Samples of memory in MiB, and the means of their second and last quarter.

  In the first quarter workers start and buffers fill.
  """
  quarters = np.array_split(np.asarray(memory), 4)
  second, last = (float(q.mean()) if len(q) else None for q in quarters[1::2])
  return {
    "memory_mib_second_quarter": second and round(second),
    "memory_mib_last_quarter": last and round(last),
    "memory_mib": [round(value) for value in memory],
  }


@contextlib.contextmanager
def sampled_memory() -> Iterator[list[float]]:
  """A list that grows by a sample a second, MiB."""
  samples: list[float] = []
  stop = threading.Event()

  def sample() -> None:
    while not stop.wait(1.0):
      samples.append(sum(map(pss_mib, family())))

  thread = threading.Thread(target=sample, daemon=True)
  thread.start()
  try:
    yield samples
  finally:
    stop.set()
    thread.join()


def family() -> list[int]:
  """The ids of this process and of its children."""
  own = os.getpid()
  children = pathlib.Path(f"/proc/{own}/task").glob("*/children")
  return [own, *(int(p) for c in children for p in c.read_text().split())]


def pss_mib(process: int) -> float:
  """The proportional set size of a process; 0 of one that has ended."""
  try:
    text = pathlib.Path(f"/proc/{process}/smaps_rollup").read_text()
  except OSError:
    return 0.0
  (line,) = (row for row in text.splitlines() if row.startswith("Pss:"))
  return int(line.split()[1]) / 1024


if __name__ == "__main__":
  main()
