"""Trains derived networks, compiling the next ones meanwhile.

A small network compiles for longer than it trains: on 2 cores the one is done
while the other goes on.
"""

import contextlib
import functools
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from hwnas_jax import build
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


class _Compiled(NamedTuple):
  """Programs of one network: see `train.step` for what they take."""

  init: Any
  steps: Any
  evaluate: Any


def train(
  config: ConfigDict,
  folder: pathlib.Path,
  dataset: arrays.Dataset,
  net: Spec,
  genotypes: Sequence[Genotype],
) -> list[list[float]]:
  """Trains networks from each seed, or reads what was trained before.

  Writes `folder`/networks/<id>/: architecture.json, weights.npz of the first
  seed, metrics.

  Returns:
    The test accuracies of each network, [] untrained.

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
    return [[] for _ in genotypes]
  done = {g: home / "metrics.json" for g, home in homes.items()}
  todo = [g for g in homes if not done[g].exists()]
  compiled = ahead(functools.partial(_compile, config, dataset, net), todo)
  with contextlib.closing(compiled):
    for genotype, programs in zip(todo, compiled, strict=True):
      _train(config, homes[genotype], dataset, programs)
  found = {g: writers.read_json(path) for g, path in done.items()}
  return [found[g]["test_accuracies"] for g in genotypes]


def _compile(
  config: ConfigDict, dataset: arrays.Dataset, net: Spec, genotype: Genotype
) -> _Compiled:
  network, optimiser, one = build.make_training(config, dataset, net, genotype)
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
  return _Compiled(
    jit(init).lower(jax.random.key(0)).compile(),
    steps.lower(state, dataset.train).compile(),
    evaluate.lower(state.params, state.stats, dataset.test).compile(),
  )


def _train(
  config: ConfigDict,
  home: pathlib.Path,
  dataset: arrays.Dataset,
  programs: _Compiled,
) -> None:
  """Trains the network of a folder and writes what came of it."""
  edges = writers.read_json(home / "architecture.json")["edges"]
  accuracies = []
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
    accuracy = programs.evaluate(state.params, state.stats, dataset.test)
    accuracies.append(float(accuracy))
    if seed == 0:
      weights = {"params": state.params, "stats": state.stats}
      writers.write_arrays(home / "weights.npz", weights)
  metrics = {
    "test_accuracy": float(np.mean(accuracies)),
    "test_accuracies": accuracies,
  }
  writers.write_json(home / "metrics.json", metrics)
