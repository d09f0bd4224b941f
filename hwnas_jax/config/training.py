"""How a derived network is trained: the recipe of a config."""

import optax

from hwnas_jax.config.fields import Config
from hwnas_jax.config.method import make_augment, sgd
from hwnas_jax.core.types import Genotype
from hwnas_jax.data.arrays import Dataset
from hwnas_jax.nets.models import make_network
from hwnas_jax.nets.ops import Module
from hwnas_jax.spaces.spec import Spec
from hwnas_jax.train.step import Recipe, TrainStep, make_train_step


def make_training(
  config: Config, dataset: Dataset, net: Spec, genotype: Genotype
) -> tuple[Module, optax.GradientTransformation, TrainStep]:
  """(network, optimiser, step) that train one derived network."""
  part = config.train
  head = {"auxiliary": True} if part.auxiliary_weight else {}
  network = make_network(net, genotype, "train", **head)
  optimiser = sgd(
    part.lr, part.num_steps, part.momentum, part.weight_decay, part.clip
  )
  recipe = Recipe(
    num_steps=part.num_steps,
    batch_size=part.batch_size,
    drop_path=part.drop_path,
    auxiliary_weight=part.auxiliary_weight,
    label_smoothing=part.label_smoothing,
  )
  step = make_train_step(
    network, optimiser, recipe, make_augment(config, dataset, part.cutout)
  )
  return network, optimiser, step
