"""Trains what was chosen: finalists briefly, one network of each role fully.

The accuracy of the short training on a held-out tenth of the training split
chooses among a budget's finalists. It needs choices.json and the data, and no
latency: it may run on another machine, in several processes.
"""

import pathlib
import time
from typing import Any

from msgspec.structs import replace

from experiments.families import sizes
from hwnas_jax.config import problem as problems
from hwnas_jax.config.fields import Config
from hwnas_jax.core.types import Genotype
from hwnas_jax.data.arrays import Dataset
from hwnas_jax.io import readers, records, versions, writers
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.runs import training
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.spec import Spec


def train(args: Any, choices: pathlib.Path, dataset: Dataset) -> pathlib.Path:
  """Trains every n-th budget's networks; writes WORKDIR/part<i>of<n>.json.

  Returns:
    The path of that file.
  """
  rows = args.part.of(readers.read_json(choices)["budgets"])
  config = problems.resolve(sizes.make_config(args))
  net = problems.make_nets(config, dataset).derived
  work = args.workdir / str(args.part)
  start, document = time.monotonic(), {
    "train_images": len(dataset.train.labels),
    "recipe": records.to_json(sizes.recipe(args, False)),
    "short_recipe": records.to_json(sizes.recipe(args, True)),
    "versions": versions.versions(),
    "device": records.to_json(versions.device_fingerprint()),
    "budgets": [],
  }  # fmt: skip
  for row in rows:
    document["budgets"].append(_budget(args, config, net, dataset, row, work))
    document["wall_s_of_last_process"] = time.monotonic() - start
    writers.write_json(work.with_suffix(".json"), document)
  return work.with_suffix(".json")


def _budget(
  args: Any,
  config: Config,
  net: Spec,
  dataset: Dataset,
  row: dict[str, Any],
  work: pathlib.Path,
) -> dict[str, Any]:
  """{budget_ms, short: {id: held out}, ids: {role: id}, test: {id: [..]}}."""
  space = net.space()
  genotypes = {
    role: [architecture.from_json(space, stored) for stored in row[role]]
    for role in sizes.CHOSEN
  }
  finalists = genotypes.pop("finalists")
  brief = replace(
    config,
    train=sizes.recipe(args, True),
    derive=replace(config.derive, num_samples=len(finalists)),
  )
  shortly = training.train(
    brief, RunFolder.at(work / "short"), dataset, net, finalists
  )
  held_out = [trained.held_out_accuracy for trained in shortly]
  best = held_out.index(max(held_out))
  roles = {role: of_role[0] for role, of_role in genotypes.items()}
  roles["finalist"] = finalists[best]
  distinct: list[Genotype] = [*dict.fromkeys(roles.values())]
  full = replace(config, train=sizes.recipe(args, False))
  trained = training.train(
    full, RunFolder.at(work / "full"), dataset, net, distinct
  )

  def name(genotype: Genotype) -> str:
    return architecture.identity(space, genotype)

  return {
    "budget_ms": row["budget_ms"],
    "short": {name(g): a for g, a in zip(finalists, held_out, strict=True)},
    "ids": {role: name(g) for role, g in roles.items()},
    "test": {
      name(g): list(a.test_accuracies)
      for g, a in zip(distinct, trained, strict=True)
    },
  }
