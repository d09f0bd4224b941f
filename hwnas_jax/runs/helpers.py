"""Networks that help to train a run's others: the teacher and the supernet.

train.teacher and train.inherit ask for them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from hwnas_jax.config.fields import Train
from hwnas_jax.core import tree
from hwnas_jax.core.types import Genotype, Params
from hwnas_jax.derive import capacity
from hwnas_jax.io.records import Member, Teacher
from hwnas_jax.io.run_folder import NetworkFolder
from hwnas_jax.nets.models import make_network
from hwnas_jax.runs import weights
from hwnas_jax.spaces.spec import Spec


class Helpers(NamedTuple):
  """What a run's networks are trained with, besides images.

  teacher: the architecture that is trained first and teaches the others.
  supernet: the supernet's weights, which all networks start from.
  """

  teacher: Genotype | None = None
  supernet: Params | None = None


ALONE = Helpers()


class Lesson(NamedTuple):
  """A trained teacher.

  variables: its flax variables, in mode `eval`.
  record: its name in records of the networks that it teaches.
  """

  genotype: Genotype
  variables: Params
  record: Teacher


def require(part: Train, helpers: Helpers) -> None:
  """Raises ValueError unless there are just the helpers that a recipe names."""
  wanted = {"train.teacher": part.teacher, "train.inherit": part.inherit}
  for (field, value), helper in zip(wanted.items(), helpers, strict=True):
    if value != (helper is not None):
      given = "none" if helper is None else "one"
      raise ValueError(
        f"{field}={value}, but the training is given {given}: give it what"
        " hwnas_jax.runs.helpers.choose returns"
      )


def choose(
  part: Train, net: Spec, family: Sequence[Genotype], supernet: Params
) -> Helpers:
  """The helpers that a recipe asks for.

  The teacher is the member of most live multiply-accumulates, the first of
  equals: which one will be the most accurate is not known before any is
  trained.

  Args:
    part: the recipe.
    net: the networks' dimensions.
    family: its trained members; read with train.teacher.
    supernet: its weights; read with train.inherit.
  """
  teacher = None
  if part.teacher:
    teacher = family[int(capacity.macs(net, family).argmax())]
  return Helpers(teacher, supernet if part.inherit else None)


def may_teach(member: Member) -> bool:
  """Whether a network of a run is one that `choose` chooses a teacher from."""
  trained = member.accuracies.test_accuracy is not None
  return member.kind == "member" and trained


def lesson(net: Spec, genotype: Genotype, home: NetworkFolder) -> Lesson:
  """Reads a trained teacher from its folder.

  Raises:
    FileNotFoundError, ValueError: see `weights.read`.
  """
  module = make_network(net, genotype, "eval")
  stored = weights.read(home.weights, module, net.image)
  variables = jax.tree.map(jnp.asarray, stored)
  record = Teacher(home.id, tree.digest(variables))
  return Lesson(genotype, variables, record)
