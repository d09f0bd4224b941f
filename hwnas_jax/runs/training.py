"""Trains derived networks; while one trains, the next ones are compiled.

A small network takes longer to compile than to train.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import msgspec
import numpy as np

from hwnas_jax.config import data_checks
from hwnas_jax.config.fields import Config
from hwnas_jax.config.method import make_normalise
from hwnas_jax.config.training import make_training
from hwnas_jax.core import devices, hosts, tree
from hwnas_jax.core.compile import ahead, jit, repeat
from hwnas_jax.core.devices import Where
from hwnas_jax.core.rng import stream
from hwnas_jax.core.types import Genotype, Params
from hwnas_jax.data import arrays
from hwnas_jax.io import loop, writers
from hwnas_jax.io.records import Accuracies, Network, Teacher
from hwnas_jax.io.run_folder import NetworkFolder, RunFolder
from hwnas_jax.io.stop import StopSignal
from hwnas_jax.nets.models import inherit, make_network, scaled
from hwnas_jax.runs import feeding, helpers, stages, weights
from hwnas_jax.runs.helpers import ALONE, Helpers, Lesson
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.spec import Spec
from hwnas_jax.train import step as train_step
from hwnas_jax.train.evaluate import make_evaluate


class Sized(NamedTuple):
  """A network: its architecture, and the factor of its channels."""

  genotype: Genotype
  width: float = 1.0


class _Setting(NamedTuple):
  """What the networks of a run are trained with.

  dataset: to train and test on.
  held_out: {name of a further split to evaluate on: its examples}.
  net: the networks' dimensions.
  supernet: its weights, which networks start from, or None.
  digest: of these weights.
  lesson: the teacher, or None.
  where: the devices of a step.
  """

  config: Config
  dataset: arrays.Dataset
  held_out: dict[str, arrays.Examples]
  net: Spec
  supernet: Params | None
  digest: str | None
  lesson: Lesson | None = None
  where: Where = None

  @property
  def teacher(self) -> Teacher | None:
    """The teacher's record."""
    return self.lesson.record if self.lesson else None


class _Compiled(NamedTuple):
  """The compiled programs of one network; `train.step` has their arguments.

  evaluate: {name of a split: (program, split)}.
  inherited: what it starts from in place of random weights, or None.
  """

  init: Any
  steps: Any
  evaluate: dict[str, tuple[Any, arrays.Examples]]
  inherited: Params | None


def train(
  config: Config,
  folder: RunFolder,
  dataset: arrays.Dataset,
  net: Spec,
  genotypes: Sequence[Genotype],
  by: Helpers = ALONE,
) -> list[Accuracies]:
  """Trains each network train.num_seeds times, unless that was done before.

  With derive.num_samples a tenth of the training split is held out; accuracy on
  it chooses the sampled network that is kept. With train.teacher the teacher is
  trained before all others, whether it is among them or not.

  Writes networks/<id>/ of the run folder: architecture.json, weights.npz of
  the first seed, metrics.json.

  Args:
    config: checked; the recipe is `config.train`.
    folder: the run's folder.
    dataset: to train and test on.
    net: the dimensions of the run's networks.
    genotypes: the architectures to train, all different.
    by: the teacher and the supernet that the recipe asks for.

  Returns:
    The accuracies of each network; empty if train.num_steps is 0.

  Raises:
    ValueError: a helper of the recipe is missing, or one of the networks was
      trained by another teacher or from another supernet.
    io.loop.Stopped: asked to stop; what is trained is kept.
  """
  networks = [Sized(genotype) for genotype in genotypes]
  return train_sized(config, folder, dataset, net, networks, by)


def train_sized(
  config: Config,
  folder: RunFolder,
  dataset: arrays.Dataset,
  net: Spec,
  networks: Sequence[Sized],
  by: Helpers = ALONE,
) -> list[Accuracies]:
  """As `train`, for networks with scaled channels."""
  helpers.require(config.train, by)
  space = net.space()
  first = () if by.teacher is None else (Sized(by.teacher),)
  folders = {
    n: folder.network(architecture.identity(space, *n))
    for n in (*first, *networks)
  }
  for network, home in folders.items() if hosts.leads() else ():
    operations = architecture.to_json(space, network.genotype)
    home.write_architecture(Network(operations, network.width))
  hosts.wait()
  if not config.train.num_steps:
    return [Accuracies() for _ in networks]
  digest = None if by.supernet is None else tree.digest(by.supernet)
  setting = _Setting(
    config, *_hold_out(config, dataset), net, by.supernet, digest
  )
  for network in first:
    home = folders[network]
    _train_all(setting, {network: home})
    lesson = helpers.lesson(net, network.genotype, home)
    setting = setting._replace(lesson=lesson)
  _train_all(setting, {n: h for n, h in folders.items() if n not in first})
  return [folders[n].accuracies() or Accuracies() for n in networks]


def _train_all(setting: _Setting, folders: dict[Sized, NetworkFolder]) -> None:
  """Trains the networks of these folders that are not trained yet."""
  trained = [_trained(setting, home) for home in folders.values()]
  # The first process's folder says; elsewhere a file may be seen late.
  todo = {
    network: home
    for (network, home), done in zip(
      folders.items(), hosts.same(trained), strict=True
    )
    if not done
  }
  count = setting.config.devices
  if not todo:
    return
  if not setting.config.train.side_by_side:
    _train_on(devices.make_mesh(count), setting, todo)
    return
  networks = list(todo.items())
  loop.side_by_side(
    [
      functools.partial(_train_on, device, setting, dict(networks[i::count]))
      for i, device in enumerate(jax.devices()[: min(count, len(networks))])
    ]
  )


def _train_on(
  where: Where,
  setting: _Setting,
  folders: dict[Sized, NetworkFolder],
  shared: StopSignal | None = None,
) -> None:
  """Trains networks one after another, each on all of these devices."""
  setting = _placed(setting, where)
  compiled = ahead(functools.partial(_compile, setting), folders)
  with contextlib.closing(compiled):
    for home, programs in zip(folders.values(), compiled, strict=True):
      _train(setting, home, programs, shared)


def _trained(setting: _Setting, home: NetworkFolder) -> bool:
  """Whether a network was trained: by this recipe, with the same helpers.

  Damaged weights count as untrained: they are written again from the training's
  last checkpoint, or trained again where that is gone.
  """
  accuracies = home.accuracies()
  if accuracies is None:
    return False
  if accuracies.teacher != setting.teacher:
    by = accuracies.teacher
    raise ValueError(
      f"{home.path} was trained by {'no' if by is None else 'another'} teacher:"
      " delete it to train it again"
    )
  if accuracies.supernet != setting.digest:
    raise ValueError(
      f"{home.path} was not trained from this run's supernet: delete it to"
      " train it again"
    )
  loop.require_same(_job(setting, home, 0))
  if why := weights.fault(home.weights):
    print(f"written again from the training's last state: {why}")
  return not why


def _hold_out(
  config: Config, dataset: arrays.Dataset
) -> tuple[arrays.Dataset, dict[str, arrays.Examples]]:
  """(the data set to train on, {"held_out": the rest} or {})."""
  if not config.derive.num_samples:
    return dataset, {}
  count = arrays.size(dataset.train)
  rows = arrays.halves(count, data_checks.KEPT, config.seed)
  train, rest = (arrays.subset(dataset.train, r) for r in rows)
  return dataclasses.replace(dataset, train=train), {"held_out": rest}


def _placed(setting: _Setting, where: Where) -> _Setting:
  """With examples in memory on each device; streamed ones are placed later."""

  def place(examples: arrays.Examples) -> arrays.Examples:
    if not isinstance(examples, arrays.Split):
      return examples
    return devices.place(examples, where)

  config, dataset = setting.config, setting.dataset
  if isinstance(where, jax.Device):
    config = msgspec.structs.replace(config, devices=1)
  return setting._replace(
    config=config,
    dataset=dataclasses.replace(
      dataset, train=place(dataset.train), test=place(dataset.test)
    ),
    held_out={n: place(split) for n, split in setting.held_out.items()},
    where=where,
  )


def _compile(setting: _Setting, sized: Sized) -> _Compiled:
  config, dataset, genotype = setting.config, setting.dataset, sized.genotype
  net = scaled(setting.net, sized.width)
  teacher, variables = None, None
  if setting.lesson is not None:
    teacher = make_network(setting.net, setting.lesson.genotype, "eval")
    variables = devices.place(setting.lesson.variables, setting.where)
  network, optimiser, one = make_training(
    config, dataset, net, genotype, teacher
  )
  inherited = None
  if setting.supernet is not None:
    inherited = inherit(net, genotype, setting.supernet)
    inherited = devices.place(inherited, setting.where)
  where = setting.where
  placed, copies = devices.everywhere(where), devices.copies(where)
  window = feeding.sharding(dataset.train, where, 1)
  batch = feeding.sharding(dataset.test, where, 0)
  init = functools.partial(train_step.init_state, network, optimiser)
  state = jax.eval_shape(init, jax.random.key(0), inherited)
  several = repeat(one, config.train.steps_per_dispatch)
  steps = jit(
    several,
    donate_argnums=0,
    **devices.everywhere(where, (copies, window, copies)),
  )
  evaluate = jit(
    make_evaluate(
      make_network(net, genotype, "eval"),
      make_normalise(config, dataset),
      config.train.batch_size,
    ),
    **devices.everywhere(where, (copies, copies, batch)),
  )
  on: dict[str, arrays.Examples] = {"test": dataset.test, **setting.held_out}
  train = feeding.shapes(config, dataset.train)
  return _Compiled(
    jit(init, **placed).lower(jax.random.key(0), inherited).compile(),
    steps.lower(state, train, variables).compile(),
    {
      name: (
        evaluate.lower(
          state.params, state.stats, feeding.evaluated(config, split)
        ).compile(),
        split,
      )
      for name, split in on.items()
    },
    inherited,
  )


def _job(setting: _Setting, home: NetworkFolder, seed: int) -> loop.Job:
  """The training of a folder's network from a seed."""
  part = setting.config.train
  return loop.Job(
    num_steps=part.num_steps,
    checkpoint_every=part.checkpoint_every,
    directory=home.path / f"seed_{seed}" if seed else home.path,
    label=f"train {home.id}" + (f" seed {seed}" if seed else ""),
    identity=loop.Identity(
      **stages.training_identity(setting.config, setting.dataset, setting.net),
      architecture=home.read_architecture().architecture,
      teacher=setting.teacher,
      supernet=setting.digest,
    ),
  )


def _train(
  setting: _Setting,
  home: NetworkFolder,
  programs: _Compiled,
  shared: StopSignal | None,
) -> None:
  """Trains the network of a folder and writes its weights and accuracies."""
  config, dataset = setting.config, setting.dataset
  taught_by = setting.lesson.variables if setting.lesson else None
  variables = devices.place(taught_by, setting.where)
  accuracies: dict[str, list[float]] = {name: [] for name in programs.evaluate}
  for seed in range(config.train.num_seeds):
    state = programs.init(
      devices.place(stream(config.seed, f"train {seed}"), setting.where),
      programs.inherited,
    )
    feed = feeding.TrainFeed(config, dataset.train, state.key, setting.where)

    def dispatch(state: Any, feed: feeding.TrainFeed = feed) -> tuple:
      given = feed.at(int(state.step))
      state, metrics = programs.steps(state, given.data, variables)
      return state, {**metrics, **given.metrics}

    with contextlib.closing(feed):
      state = loop.run(_job(setting, home, seed), dispatch, state, shared)
    for name, (evaluate, split) in programs.evaluate.items():
      params, stats = devices.place((state.params, state.stats), setting.where)
      accuracies[name].append(
        feeding.accuracy(config, evaluate, params, stats, split, setting.where)
      )
    if seed == 0 and hosts.leads():
      writers.write_arrays(
        home.weights, {"params": state.params, "stats": state.stats}
      )
  means = {f"{n}_accuracy": float(np.mean(a)) for n, a in accuracies.items()}
  if hosts.leads():
    home.write_accuracies(
      Accuracies(
        **means,
        test_accuracies=tuple(accuracies["test"]),
        teacher=setting.teacher,
        supernet=setting.digest,
      )
    )
  hosts.wait()
