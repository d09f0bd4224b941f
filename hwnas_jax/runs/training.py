"""Trains derived networks; while one trains, the next ones are compiled.

A small network takes longer to compile than to train.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from hwnas_jax.config.fields import Config
from hwnas_jax.config.training import make_training
from hwnas_jax.core.compile import ahead, jit, repeat
from hwnas_jax.core.rng import stream
from hwnas_jax.core.types import Genotype
from hwnas_jax.data import arrays
from hwnas_jax.data.augment import normalise
from hwnas_jax.io import loop, writers
from hwnas_jax.io.records import Accuracies, Network
from hwnas_jax.io.run_folder import NetworkFolder, RunFolder
from hwnas_jax.nets.models import make_network, scaled
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.spec import Spec
from hwnas_jax.train import step as train_step
from hwnas_jax.train.evaluate import make_evaluate

KEPT = 0.9  # share of the training split to train on, if the rest is held out


class _Compiled(NamedTuple):
  """The compiled programs of one network; `train.step` has their arguments.

  evaluate: {name of a split: (program, split)}.
  """

  init: Any
  steps: Any
  evaluate: dict[str, tuple[Any, arrays.Split]]


def train(
  config: Config,
  folder: RunFolder,
  dataset: arrays.Dataset,
  net: Spec,
  genotypes: Sequence[Genotype],
  width: float = 1.0,
) -> list[Accuracies]:
  """Trains each network train.num_seeds times, unless that was done before.

  With derive.num_samples a tenth of the training split is held out; accuracy on
  it chooses the sampled network that is kept.

  Writes networks/<id>/ of the run folder: architecture.json, weights.npz of
  the first seed, metrics.json.

  Args:
    config: checked; the recipe is `config.train`.
    folder: the run's folder.
    dataset: to train and test on.
    net: the dimensions of the run's networks.
    genotypes: the architectures to train, all different.
    width: factor of the channels, of networks that are scaled.

  Returns:
    The accuracies of each network; empty if train.num_steps is 0.

  Raises:
    io.loop.Stopped: asked to stop; what is trained is kept.
  """
  space = net.space()
  folders = {
    g: folder.network(architecture.identity(space, g, width)) for g in genotypes
  }
  for genotype, home in folders.items():
    record = Network(architecture.to_json(space, genotype), width)
    home.write_architecture(record)
  if not config.train.num_steps:
    return [Accuracies() for _ in genotypes]
  dataset, held_out = _hold_out(config, dataset)
  todo = [g for g, home in folders.items() if home.accuracies() is None]
  compiled = ahead(
    functools.partial(_compile, config, dataset, held_out, scaled(net, width)),
    todo,
  )
  with contextlib.closing(compiled):
    for genotype, programs in zip(todo, compiled, strict=True):
      _train(config, folders[genotype], dataset, programs)
  return [folders[g].accuracies() or Accuracies() for g in genotypes]


def _hold_out(
  config: Config, dataset: arrays.Dataset
) -> tuple[arrays.Dataset, dict[str, arrays.Split]]:
  """(the data set to train on, {"held_out": the rest} or {})."""
  if not config.derive.num_samples:
    return dataset, {}
  count = dataset.train.labels.shape[0]
  rows = arrays.halves(count, KEPT, config.seed)
  train, rest = (
    arrays.Split(dataset.train.images[r], dataset.train.labels[r]) for r in rows
  )
  return dataclasses.replace(dataset, train=train), {"held_out": rest}


def _compile(
  config: Config,
  dataset: arrays.Dataset,
  held_out: dict[str, arrays.Split],
  net: Spec,
  genotype: Genotype,
) -> _Compiled:
  network, optimiser, one = make_training(config, dataset, net, genotype)
  init = functools.partial(train_step.init_state, network, optimiser)
  state = jax.eval_shape(init, jax.random.key(0))
  steps = jit(repeat(one, config.train.steps_per_dispatch), donate_argnums=0)
  evaluate = jit(
    make_evaluate(
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
  config: Config,
  home: NetworkFolder,
  dataset: arrays.Dataset,
  programs: _Compiled,
) -> None:
  """Trains the network of a folder and writes its weights and accuracies."""
  operations = home.read_architecture().architecture
  accuracies: dict[str, list[float]] = {name: [] for name in programs.evaluate}
  for seed in range(config.train.num_seeds):
    job = loop.Job(
      num_steps=config.train.num_steps,
      checkpoint_every=config.train.checkpoint_every,
      directory=home.path / f"seed_{seed}" if seed else home.path,
      label=f"train {home.id}" + (f" seed {seed}" if seed else ""),
      identity=loop.Identity(data=dataset.digest, architecture=operations),
    )
    state = loop.run(
      job,
      lambda state: programs.steps(state, dataset.train),
      programs.init(stream(config.seed, f"train {seed}")),
    )
    for name, (evaluate, split) in programs.evaluate.items():
      accuracy = evaluate(state.params, state.stats, split)
      accuracies[name].append(float(accuracy))
    if seed == 0:
      weights = {"params": state.params, "stats": state.stats}
      writers.write_arrays(home.weights, weights)
  means = {f"{n}_accuracy": float(np.mean(a)) for n, a in accuracies.items()}
  home.write_accuracies(
    Accuracies(**means, test_accuracies=tuple(accuracies["test"]))
  )
