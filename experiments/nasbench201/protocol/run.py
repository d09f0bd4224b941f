"""The protocol on published data: tune on one half, freeze, report.

  python -m experiments.nasbench201.protocol.run tune --data_dir=DIR
  python -m experiments.nasbench201.protocol.run report --data_dir=DIR
  python -m experiments.nasbench201.protocol.run draw

From the repository root. DIR holds the files of `data.FILES`. `tune` looks at
the half of the cells alone, and writes tune.json and frozen.json to OUT;
`report` reads frozen.json and writes results.json (half, other half and all)
and, with --picks, PICKS: a form without room for its origin, which results.json
has with PICKS's hash. `draw` writes table.md, figure.png and the tables of
OUT/README.md from results.json. With --scores, once a supernet, everything is
judged by the scores of supernet.py in place of the published ones.
"""

import argparse
import hashlib
import pathlib
import time
from typing import Any

from experiments.made import Start, begin, made
from experiments.nasbench201.protocol import (
  choices,
  data,
  draw,
  report,
  tune,
)
from hwnas_jax.io import readers, writers

HERE = pathlib.Path(__file__).parent


def about(args: argparse.Namespace, start: Start) -> dict[str, Any]:
  """What every JSON says about its making."""
  seeds = {"split": data.SPLIT_SEED, "shuffles": args.shuffles}
  digests = data.digests(args.data_dir, args.scores)
  return made(start, **seeds) | {"data_sha256": digests}


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
    nargs="*",
    default=[],
    help="a .npz for each supernet, in order of their seeds from 0",
  )
  parser.add_argument("--shuffles", type=int, default=20, help="of ties")
  parser.add_argument("--out", type=pathlib.Path, default=HERE)
  parser.add_argument(
    "--picks", type=pathlib.Path, help="default: none written"
  )
  args = parser.parse_args()
  if args.shuffles < 2:
    parser.error("--shuffles must be 2 or more: there is a deviation")
  if args.command != "draw" and args.data_dir is None:
    parser.error(f"{args.command} needs --data_dir")
  return args


def main() -> None:
  """Runs the command."""
  args, start = parse(), begin()
  results = args.out / "results.json"
  if args.command == "draw":
    draw.draw(readers.read_json(results), args.out)
    return
  supernets = [data.load(args.data_dir, path) for path in args.scores or [None]]
  frozen_path = args.out / "frozen.json"
  if args.command == "tune":
    tuned = tune.tune([data.part_of(cells, "half") for cells in supernets])
    own = {"made": about(args, start)}
    writers.write_json(args.out / "tune.json", tuned.grids | own)
    writers.write_json(frozen_path, tuned.frozen.to_json() | own)
    return
  loaded = readers.read_json(frozen_path)
  frozen = choices.read(loaded)
  parts = {}
  for part in data.PARTS:
    of_part = [data.part_of(cells, part) for cells in supernets]
    parts[part] = report.report(of_part, frozen, args.shuffles)
    print(f"{part}: {time.monotonic() - start.seconds:.0f} s", flush=True)
  found = {"parts": parts, "frozen": loaded, "made": about(args, start)}
  if args.picks:
    picks: dict[str, Any] = {}
    for seed, cells in enumerate(supernets):
      report.add_picks(picks, cells, frozen, seed)
    writers.write_json(args.picks, picks)
    digest = hashlib.sha256(args.picks.read_bytes()).hexdigest()
    found["picks_sha256"] = digest
  writers.write_json(results, found)
  draw.draw(found, args.out)


if __name__ == "__main__":
  main()
