"""Trains what results.json has no accuracy of, and adds it there."""

import pathlib
import time
from typing import Any

from msgspec.structs import replace

from experiments.families import report, sizes
from hwnas_jax.config import problem as problems
from hwnas_jax.core.types import Genotype
from hwnas_jax.data import load
from hwnas_jax.io import readers, records, versions, writers
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.runs import training
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.spec import Space


def train(args: Any, results: pathlib.Path) -> None:
  """Trains every n-th network; writes WORKDIR/<id>.json of each.

  Those of the smallest budgets come first.
  """
  config = problems.resolve(sizes.make_config(args))
  dataset = load.load(args.data)
  net = problems.make_nets(config, dataset).derived
  full = replace(config, train=sizes.recipe(args, False))
  untrained = _untrained(net.space(), readers.read_json(results))
  for name, genotype in args.part.of(untrained.items()):
    start, folder = time.monotonic(), RunFolder.at(args.workdir / name)
    (trained,) = training.train(full, folder, dataset, net, [genotype])
    document = {
      "id": name,
      "test": list(trained.test_accuracies),
      "recipe": records.to_json(full.train),
      "train_images": len(dataset.train.labels),
      "versions": versions.versions(),
      "device": records.to_json(versions.device_fingerprint()),
      "wall_s_of_last_process": time.monotonic() - start,
    }
    writers.write_json(args.workdir / f"{name}.json", document)


def _untrained(space: Space, results: dict[str, Any]) -> dict[str, Genotype]:
  """{id: genotype} of the networks that have a role and no accuracy."""
  genotypes = {}
  for row in results["budgets"]:
    for role, name in row["ids"].items():
      stored = row["finalists" if role == "finalist" else role]
      for genotype in (architecture.from_json(space, each) for each in stored):
        same = architecture.identity(space, genotype) == name
        if same and name not in row["test"]:
          genotypes[name] = genotype
  return genotypes


def add(results: pathlib.Path, trained: pathlib.Path) -> None:
  """Adds WORKDIR's accuracies to results.json, and draws it anew."""
  document = readers.read_json(results)
  for path in sorted(trained.glob("*.json")):
    add_network(document, readers.read_json(path))
  document["comparison"] = [report.compare(row) for row in document["budgets"]]
  writers.write_json(results, document)
  report.draw(document, results.parent)


def add_network(document: dict[str, Any], network: dict[str, Any]) -> None:
  """Adds a network's accuracies of all seeds, unless they are there.

  The record of another process that found it trained has another wall time.
  """
  name = network["id"]
  if any(training.get("id") == name for training in document["trainings"]):
    return
  document["trainings"].append(network)
  for row in document["budgets"]:
    if name in row["ids"].values():
      row["test"][name] = network["test"]
