"""Stage accuracy: trains the networks of experiments/families at full size.

A piece trains the networks of one latency budget, by that experiment's own
code: five finalists briefly, then one network of each role three times. Each
network is stored when it is trained, and an interrupted piece goes on after the
last one. DIR/accuracy/<data set> is a --workdir of its command `report`.
"""

import argparse
import functools
import pathlib
from typing import Any

from experiments.families import sizes, train
from experiments.gpu import search
from experiments.gpu.runner import Piece, Record, Save
from experiments.part import Part
from hwnas_jax.data import load
from hwnas_jax.data.arrays import Dataset
from hwnas_jax.io import readers, records, writers

CHOICES = pathlib.Path(train.__file__).parent
DATASETS = ("fashion_mnist", "cifar10")  # the full-size ones
# An H200 took 132 to 147 s for a budget of Fashion-MNIST, six side by side.
EXPECTED_S = 200
SMOKE = "digits"  # in place of the data set


@functools.cache
def load_dataset(name: str, folder: pathlib.Path) -> Dataset:
  """FOLDER/<name>.npz, or CIFAR-10's batches that lie there."""
  if name == SMOKE:
    return load.load(name)
  path = folder / f"{name}.npz"
  if name == "cifar10" and not path.exists():
    return search.load_cifar10(folder)
  return load.load(f"npz:{path}")


def untrained(folder: pathlib.Path) -> list[int]:
  """The budgets of choices.json, by place, that results.json does not have.

  A budget that it has is trained but for what `train_missing` adds.
  """
  results, done = folder / "results.json", set()
  if results.exists():
    done = {r["budget_ms"] for r in readers.read_json(results)["budgets"]}
  rows = readers.read_json(folder / "choices.json")["budgets"]
  return [i for i, row in enumerate(rows) if row["budget_ms"] not in done]


def train_budget(
  save: Save, name: str, place: Part, choices: pathlib.Path, args: Any
) -> Record:
  """What `families.run train --part=<place>` writes."""
  del save
  data = SMOKE if args.smoke else name
  asked = argparse.Namespace(
    name=name,
    data=data,
    part=place,
    workdir=args.out / "accuracy" / name,
    smoke=args.smoke,
  )
  dataset = load_dataset(data, args.data)
  path = train.train(asked, choices, dataset)
  document: Record = readers.read_json(path)
  return document | {"data": dataset.name}


def stand_in(args: Any) -> pathlib.Path:
  """The smoke's choices.json: one network in all roles of one budget."""
  row = readers.read_json(CHOICES / "cifar10" / "choices.json")["budgets"][0]
  row |= {role: row["family"] for role in sizes.CHOSEN}
  path: pathlib.Path = args.out / "accuracy" / "choices.json"
  path.parent.mkdir(parents=True, exist_ok=True)
  writers.write_json(path, {"budgets": [row]})
  return path


def pieces(args: Any) -> list[Piece]:
  """A piece a budget that no training has yet."""
  if args.smoke:
    choices = {"cifar10": stand_in(args)}
    places = {"cifar10": [0]}
  else:
    choices = {name: CHOICES / name / "choices.json" for name in DATASETS}
    places = {name: untrained(CHOICES / name) for name in DATASETS}
  made = []
  for name, path in choices.items():
    rows = readers.read_json(path)["budgets"]
    asked = argparse.Namespace(name=name, smoke=args.smoke)
    settings = {"recipe": records.to_json(sizes.recipe(asked, False))}
    for place in places[name]:
      run = functools.partial(
        train_budget,
        name=name,
        place=Part(place, len(rows)),
        choices=path,
        args=args,
      )
      title = f"{name} {rows[place]['budget_ms']:.2f} ms"
      made.append(Piece(title, EXPECTED_S, run, settings))
  return made
