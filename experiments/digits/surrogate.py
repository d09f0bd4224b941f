"""The search on the digits by the supernet, and by a surrogate of quality.

  python experiments/digits/surrogate.py --table=table.json --workdir=runs/sur

Both search with the same latency table, which
`python -m hwnas_jax.profile --config=digits --out=table.json` measures, and
with the same seeds. Networks are trained for --train_steps steps, not the
config's 600. A run that was stopped goes on; one that is in --json is skipped.
"""

import argparse
import pathlib
import statistics
import sys
import time
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from scipy import stats

import hwnas_jax as hw
from hwnas_jax.config import problem as problems
from hwnas_jax.costs.table import LatencyTable
from hwnas_jax.io import readers, records, versions, writers
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.report import family as reading
from hwnas_jax.runs import pipeline, searching

RESULTS = pathlib.Path(__file__).parent / "surrogate.json"
CHANGES: dict[str, dict[str, Any]] = {
  "supernet": {},
  "surrogate": {
    "quality.name": "surrogate",
    "search.num_steps": 5000,
    "search.warmup_steps": 0,
    "search.steps_per_dispatch": 100,
    "sampler.name": "straight_through",
    # A deviation of the labels is more than a nat: smaller scales only repeat
    # the most accurate network.
    "condition.low": 0.3,
  },
}
COLUMNS = (
  "search_s",
  "spearman_predicted",
  "num_members",
  "accuracy_members",
  "accuracy_random",
  "accuracy_smallest_scale",
)


def make_config(
  quality: str, seed: int, args: argparse.Namespace
) -> ConfigDict:
  """The digits' config with what this comparison changes."""
  config = hw.load_config("digits:smoke" if args.smoke else "digits")
  if not args.smoke:
    config.train.num_steps = args.train_steps
  config.seed = seed
  config.latency.table = str(args.table)
  config.update_from_flattened_dict(CHANGES[quality])
  if args.smoke and quality == "surrogate":
    config.search.update(num_steps=100, checkpoint_every=100)
    config.quality.architectures = 40
  return config


def run(quality: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
  """Searches, times that, then runs the rest of the main job."""
  folder = RunFolder.at(args.workdir / f"{quality}_{seed}")
  config = make_config(quality, seed, args)
  fields = problems.resolve(config)
  table = LatencyTable.load(args.table)
  problem = problems.make(fields, problems.make_nets(fields), table)
  dataset = pipeline.load_dataset(fields)
  command = " ".join(sys.argv)
  resumed = folder.exists()
  pipeline.begin(folder, fields, command, dataset, problem.nets)
  start = time.perf_counter()
  searching.search(problem, folder, dataset)
  seconds = time.perf_counter() - start
  hw.search(config, workdir=folder.path, table=table, command=command)
  judged = folder.judgements()
  return {
    "search_s": seconds,
    "resumed": resumed,
    "judging_s": judged.wall_s if judged else None,
    "leave_one_out": judged.rank_correlation if judged else None,
    **describe(folder),
  }


def describe(folder: RunFolder) -> dict[str, Any]:
  """The numbers of a family; latencies are the table's, as all is busy here."""
  family = folder.family()
  assert family is not None
  by_id = {member.id: member for member in family.members}
  sweep = sorted(family.sweep, key=lambda point: point.condition.scale)
  scales = [point.condition.scale for point in sweep]
  predicted_ms = [by_id[point.id].predicted_ms or 0.0 for point in sweep]
  measured_ms = [by_id[point.id].latency_ms or 0.0 for point in sweep]
  kinds = reading.by_kind(family.members)
  members = kinds["member"]
  trained = [a for m in members if (a := reading.accuracy(m)) is not None]
  return {
    "spearman_predicted": float(stats.spearmanr(scales, predicted_ms)[0]),
    "spearman_measured": float(stats.spearmanr(scales, measured_ms)[0]),
    "num_members": len(members),
    "accuracy_members": float(np.mean(trained)),
    "accuracy_random": float(
      np.mean([reading.accuracy(member) or 0.0 for member in kinds["random"]])
    ),
    "accuracy_smallest_scale": reading.accuracy(by_id[sweep[0].id]),
    "members": records.to_json(family.members),
  }


def main() -> None:
  """Runs what --json lacks; prints all of it."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--table", type=pathlib.Path, required=True)
  parser.add_argument("--workdir", type=pathlib.Path, required=True)
  parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
  parser.add_argument("--train_steps", type=int, default=200)
  parser.add_argument("--json", type=pathlib.Path, default=RESULTS)
  parser.add_argument("--smoke", action="store_true", help="tiny")
  args = parser.parse_args()
  if args.smoke and args.json == RESULTS:
    parser.error("--smoke needs a --json of its own")
  results = readers.read_json(args.json) if args.json.exists() else {}
  for seed in args.seeds:
    for quality in CHANGES:
      name = f"{quality}, seed {seed}"
      if name in results:
        continue
      start = time.perf_counter()
      row = {"seed": seed, **run(quality, seed, args)}
      results[name] = row | {
        "train_steps": args.train_steps,
        "wall_s": time.perf_counter() - start,
        "table": LatencyTable.load(args.table).digest(),
        "versions": versions.versions(),
        "device": records.to_json(versions.device_fingerprint()),
      }
      writers.write_json(args.json, results)
  for quality in CHANGES:
    rows = [r for name, r in results.items() if name.startswith(quality + ",")]
    for column in COLUMNS:
      values = [row[column] for row in rows]
      spread = statistics.stdev(values) if len(values) > 1 else 0.0
      print(
        f"{quality:10} {column:24} {statistics.mean(values):.4g}"
        f" (sd {spread:.2g}, {len(values)} seeds)"
      )


if __name__ == "__main__":
  main()
