"""The protocol on published data: tune on one half, freeze, report.

  python -m experiments.nasbench201.protocol.run tune --data_dir=DIR
  python -m experiments.nasbench201.protocol.run report --data_dir=DIR
  python -m experiments.nasbench201.protocol.run draw

From the repository root. DIR holds the files of `data.FILES`. `tune` looks at
the half of the cells alone, and writes tune.json and frozen.json; `report`
reads frozen.json and writes results.json (half, other half and all) and
../picks.json; `draw` writes table.md, figure.png and the
tables of README.md from results.json.
"""

import argparse
import pathlib
import time
from typing import Any

from experiments.nasbench201.protocol import (
  choices,
  data,
  draw,
  report,
  tune,
)
from hwnas_jax.io import versions, writers

HERE = pathlib.Path(__file__).parent
PICKS = HERE.parent / "picks.json"
SEEDS = 3  # of ties in picks.json, where there is no supernet


def made(args: argparse.Namespace, start: float) -> dict[str, Any]:
  """What every JSON says about its making."""
  return {
    "seeds": {"split": data.SPLIT_SEED, "shuffles": args.shuffles},
    "supernet_seed": args.seed,
    "versions": versions.versions(),
    "wall_s": round(time.monotonic() - start, 1),
    "data_sha256": data.digests(args.data_dir, args.scores),
  }


def parse() -> argparse.Namespace:
  """The command line."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("command", choices=("tune", "report", "draw"))
  parser.add_argument("--data_dir", type=pathlib.Path)
  parser.add_argument(
    "--scores",
    type=pathlib.Path,
    action="append",
    default=[],
    help="FILE.npz with judges by cell, see data.load; may be repeated",
  )
  parser.add_argument(
    "--seed", type=int, help="of the supernet that --scores come from"
  )
  parser.add_argument("--shuffles", type=int, default=20, help="of ties")
  parser.add_argument(
    "--frozen", type=pathlib.Path, default=HERE / "frozen.json"
  )
  parser.add_argument("--out", type=pathlib.Path, default=HERE)
  parser.add_argument("--picks", type=pathlib.Path, default=PICKS)
  args = parser.parse_args()
  if args.shuffles < 2:
    parser.error("--shuffles must be 2 or more: there is a deviation")
  if args.command != "draw" and args.data_dir is None:
    parser.error(f"{args.command} needs --data_dir")
  if bool(args.scores) != (args.seed is not None):
    parser.error("--scores and --seed go together")
  return args


def main() -> None:
  """Runs the command."""
  args, start = parse(), time.monotonic()
  results = args.out / "results.json"
  if args.command == "draw":
    draw.draw(writers.read_json(results), args.out)
    return
  cells = data.load(args.data_dir, args.scores)
  if args.command == "tune":
    tuned = tune.tune(data.part_of(cells, "half"))
    made_with = made(args, start)
    writers.write_json(
      args.out / "tune.json", tuned.grids | {"made": made_with}
    )
    writers.write_json(
      args.frozen, tuned.frozen.to_json() | {"made": made_with}
    )
    return
  loaded = writers.read_json(args.frozen)
  frozen = choices.read(loaded)
  parts = {}
  for part in data.PARTS:
    parts[part] = report.report(
      data.part_of(cells, part), frozen, args.shuffles
    )
    print(f"{part}: {time.monotonic() - start:.0f} s", flush=True)
  found = {"parts": parts, "frozen": loaded, "made": made(args, start)}
  writers.write_json(results, found)
  draw.draw(found, args.out)
  picks = writers.read_json(args.picks) if args.picks.exists() else {}
  for seed in range(SEEDS) if args.seed is None else [args.seed]:
    report.add_picks(picks, cells, frozen, seed)
  writers.write_json(args.picks, picks)


if __name__ == "__main__":
  main()
