"""A family beside the largest and random networks that fit.

  python -m experiments.families.run choose fashion_mnist --data=npz:PATH \\
    --workdir=runs/fashion
  python -m experiments.families.run train fashion_mnist --data=npz:PATH \\
    --workdir=runs/fashion_trained --part=0/6
  python -m experiments.families.run report fashion_mnist \\
    --workdir=runs/fashion_trained
  python -m experiments.families.run draw fashion_mnist
  python -m experiments.families.run train_missing fashion_mnist \\
    --data=npz:PATH --workdir=runs/missing
  python -m experiments.families.run add fashion_mnist --workdir=runs/missing

From the repository root. PATH is a .npz of the data set (`hwnas_jax.data`).
`choose` searches, and chooses a network of each role at six latency budgets of
this device (choices.json); `train` trains them, on any machine and in several
processes; `report` joins both in results.json, and draws figure.png and the
table of README.md. `train_missing` trains the networks that results.json has no
accuracy of, and `add` adds them. All resume. --smoke is a tiny size that shows
that it runs.
"""

import argparse
import pathlib

from experiments import part
from experiments.families import choose, missing, report, sizes, train
from hwnas_jax.data import load
from hwnas_jax.io import readers

HERE = pathlib.Path(__file__).parent


def parse() -> argparse.Namespace:
  """The command line."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  commands = ("choose", "train", "report", "draw", "train_missing", "add")
  parser.add_argument("command", choices=commands)
  parser.add_argument("name", choices=sizes.SIZES)
  parser.add_argument("--data", help="default: TFDS's")
  parser.add_argument("--workdir", type=pathlib.Path)
  part.add_flag(parser, "work")
  parser.add_argument("--out", type=pathlib.Path, help="default: beside this")
  parser.add_argument("--smoke", action="store_true")
  args = parser.parse_args()
  args.data = args.data or args.name
  if args.command != "draw" and args.workdir is None:
    parser.error("--workdir is needed")
  return args


def main() -> None:
  """Runs the command."""
  args = parse()
  out = args.out or HERE / args.name
  choices, results = out / "choices.json", out / "results.json"
  if args.command == "choose":
    choose.choose(args, choices)
  elif args.command == "train":
    train.train(args, choices, load.load(args.data))
  elif args.command == "report":
    report.report(choices, args.workdir, out)
  elif args.command == "train_missing":
    missing.train(args, results)
  elif args.command == "add":
    missing.add(results, args.workdir)
  else:
    report.draw(readers.read_json(results), out)


if __name__ == "__main__":
  main()
