"""Trains derived networks, compiling the next ones meanwhile.

A small network compiles for longer than it trains: on 2 cores the one is done
while the other goes on.
"""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from hwnas_jax.config import method
from hwnas_jax.core.compile import ahead, jit, repeat
from hwnas_jax.core.rng import stream
from hwnas_jax.core.types import Genotype
from hwnas_jax.data import arrays
from hwnas_jax.data.augment import normalise
from hwnas_jax.io import loop, writers
from hwnas_jax.nets.models import make_network
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.spec import Spec
from hwnas_jax.train import step as train_step

KEPT = 0.9  # of the training split, where the rest is held out


class _Compiled(NamedTuple):
  """Programs of one network: see `train.step` for what they take.

  evaluate: by the name of what they evaluate on, with it.
  """

  init: Any
  steps: Any
  evaluate: dict[str, tuple[Any, arrays.Split]]


def train(
  config: ConfigDict,
  folder: pathlib.Path,
  dataset: arrays.Dataset,
  net: Spec,
  genotypes: Sequence[Genotype],
) -> list[dict[str, Any]]:
  """Trains networks from each seed, or reads what was trained before.

  With derive.num_samples a tenth of the training split is held out, to tell
  which sample is kept.

  Writes `folder`/networks/<id>/: architecture.json, weights.npz of the first
  seed, metrics.json.

  Returns:
    Of each network what metrics.json has: test_accuracies of the seeds and
    their mean, test_accuracy; held_out_accuracy, where there is such; {}
    untrained.

  Raises:
    io.loop.Stopped: asked to stop; what is trained is kept.
  """
  space = net.space()
  homes = {
    g: folder / "networks" / architecture.identity(space, g) for g in genotypes
  }
  for genotype, home in homes.items():
    home.mkdir(parents=True, exist_ok=True)
    edges = architecture.to_json(space, genotype)
    writers.write_json(home / "architecture.json", {"edges": edges})
  if not config.train.num_steps:
    return [{} for _ in genotypes]
  dataset, held_out = _hold_out(config, dataset)
  done = {g: home / "metrics.json" for g, home in homes.items()}
  todo = [g for g in homes if not done[g].exists()]
  compiled = ahead(
    functools.partial(_compile, config, dataset, held_out, net), todo
  )
  with contextlib.closing(compiled):
    for genotype, programs in zip(todo, compiled, strict=True):
      _train(config, homes[genotype], dataset, programs)
  found = {g: writers.read_json(path) for g, path in done.items()}
  return [found[g] for g in genotypes]


def _hold_out(
  config: ConfigDict, dataset: arrays.Dataset
) -> tuple[arrays.Dataset, dict[str, arrays.Split]]:
  """(the data set to train on, what is held out of it)."""
  if not config.derive.num_samples:
    return dataset, {}
  count = dataset.train.labels.shape[0]
  rows = arrays.halves(count, KEPT, config.seed)
  train, rest = (
    arrays.Split(dataset.train.images[r], dataset.train.labels[r]) for r in rows
  )
  return dataclasses.replace(dataset, train=train), {"held_out": rest}


def _compile(
  config: ConfigDict,
  dataset: arrays.Dataset,
  held_out: dict[str, arrays.Split],
  net: Spec,
  genotype: Genotype,
) -> _Compiled:
  network, optimiser, one = method.make_training(config, dataset, net, genotype)
  init = functools.partial(train_step.init_state, network, optimiser)
  state = jax.eval_shape(init, jax.random.key(0))
  steps = jit(repeat(one, config.train.steps_per_dispatch), donate_argnums=0)
  evaluate = jit(
    train_step.make_evaluate(
      make_network(net, genotype, "eval"),
      functools.partial(normalise, mean=dataset.mean, std=dataset.std),
      config.train.batch_size,
    )
  )
  on = {"test": dataset.test, **held_out}
  return _Compiled(
    jit(init).lower(jax.random.key(0)).compile(),
    steps.lower(state, dataset.train).compile(),
    {
      name: (evaluate.lower(state.params, state.stats, split).compile(), split)
      for name, split in on.items()
    },
  )


def _train(
  config: ConfigDict,
  home: pathlib.Path,
  dataset: arrays.Dataset,
  programs: _Compiled,
) -> None:
  """Trains the network of a folder and writes what came of it."""
  edges = writers.read_json(home / "architecture.json")["edges"]
  accuracies: dict[str, list[float]] = {name: [] for name in programs.evaluate}
  for seed in range(config.train.num_seeds):
    state = loop.run(
      lambda state: programs.steps(state, dataset.train),
      programs.init(stream(config.seed, f"train {seed}")),
      num_steps=config.train.num_steps,
      checkpoint_every=config.train.checkpoint_every,
      directory=home / f"seed_{seed}" if seed else home,
      label=f"train {home.name}" + (f" seed {seed}" if seed else ""),
      identity={"data": dataset.digest, "edges": edges},
    )
    for name, (evaluate, split) in programs.evaluate.items():
      accuracy = evaluate(state.params, state.stats, split)
      accuracies[name].append(float(accuracy))
    if seed == 0:
      weights = {"params": state.params, "stats": state.stats}
      writers.write_arrays(home / "weights.npz", weights)
  means = {f"{n}_accuracy": float(np.mean(a)) for n, a in accuracies.items()}
  metrics = {**means, "test_accuracies": accuracies["test"]}
  writers.write_json(home / "metrics.json", metrics)
