"""Makes what trains a derived network, by the recipe of a config."""

import optax

from hwnas_jax.config.fields import Config
from hwnas_jax.config.method import make_augment, sgd
from hwnas_jax.core.types import Genotype
from hwnas_jax.data.arrays import Dataset
from hwnas_jax.nets.models import make_network
from hwnas_jax.nets.ops import Module
from hwnas_jax.spaces.spec import Spec
from hwnas_jax.train.step import TrainStep, make_train_step


def make_training(
  config: Config,
  dataset: Dataset,
  net: Spec,
  genotype: Genotype,
  teacher: Module | None = None,
) -> tuple[Module, optax.GradientTransformation, TrainStep]:
  """(network, optimiser, step) that train one derived network.

  Args:
    config: checked; the recipe is `config.train`.
    dataset: for its normalisation.
    net: the networks' dimensions.
    genotype: the architecture to train.
    teacher: in mode `eval`; None where there is none.
  """
  part = config.train
  network = make_network(
    net, genotype, "train", auxiliary=bool(part.auxiliary_weight)
  )
  decay = optax.add_decayed_weights(part.weight_decay)
  optimiser = sgd(part.lr, part.num_steps, part.momentum, decay, part.clip)
  step = make_train_step(
    network,
    optimiser,
    part,
    make_augment(config, dataset, part.cutout),
    teacher,
  )
  return network, optimiser, step
