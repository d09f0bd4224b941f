"""A user's model with choices in it: its supernet and its networks.

Both have the model's weights by the model's own names. The supernet has those
of every operation, such as `layer_0/conv3/kernel`; a network has those of its
operations. They start as the user's modules initialise them.
"""

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from hwnas_jax.core import precision
from hwnas_jax.core.precision import wide
from hwnas_jax.core.types import ABSENT, Array, Genotype, Params, Paths
from hwnas_jax.io.source import blaming
from hwnas_jax.nets import choice as choices
from hwnas_jax.nets import user_model
from hwnas_jax.nets.kind import SpaceKind
from hwnas_jax.nets.norm import Mode
from hwnas_jax.nets.supernet import Net
from hwnas_jax.nets.tracing import trace
from hwnas_jax.spaces.custom import Custom


class Network(nn.Module):
  """The model with one operation a choice, in one of the modes of `norm`.

  Raises:
    ValueError: when called, if a choice has no operation.
  """

  net: Custom
  genotype: Genotype
  mode: Mode

  @nn.compact
  def __call__(
    self, images: Array, drop_rate: Array | None = None
  ) -> tuple[Array, None]:
    """Class logits [B, num_classes], and None: no auxiliary head.

    Args:
      images: [B, H, W, C], in whose type it computes.
      drop_rate: not read: the model decides what it drops.
    """
    del drop_rate
    chosen = _chosen(self.net, self.genotype)
    with choices.running(choices.only(chosen)):
      model = user_model.shared(self, self.net.model, self.net.num_classes)
      return _in_type_of(images, model), None


def _in_type_of(images: Array, model: nn.Module) -> Array:
  """A user's model, which computes in the type of its images; its logits.

  Flax's modules take the wider type of images and weights, so these are
  converted first.
  """
  if wide(images).dtype == images.dtype:
    return model(images)
  run = nn.map_variables(
    lambda model, x: model(x),
    "params",
    functools.partial(precision.cast, dtype=images.dtype),
  )
  return wide(run(model, images))


def _chosen(net: Custom, genotype: Genotype) -> dict[str, str]:
  """The operation of each choice, by the choice's name."""
  names = net.space().choices
  if len(names) != len(genotype) or ABSENT in genotype:
    raise ValueError(
      f"{net.name} needs an operation at each of its {len(names)} choices, got"
      f" {genotype}"
    )
  return {name: net.ops[op] for name, op in zip(names, genotype, strict=True)}


def make_supernet(net: Custom) -> Net:
  """The supernet of a user's model; its weights are the model's own."""
  space = net.space()
  columns = {op: column for column, op in enumerate(space.ops)}
  rows = {name: row for row, name in enumerate(space.choices)}
  module = user_model.instance(net.model, "search", net.num_classes)

  def init(key: Array) -> Params:
    with choices.running(choices.every):
      return module.init(key, jnp.zeros((1, *net.image)))["params"]

  def apply(
    weights: Params,
    mix: Array,
    images: Array,
    paths: Paths | None = None,
    identity: Array | None = None,
  ) -> Any:
    run = choices.mixing(columns, rows, mix, paths, identity)
    with choices.running(run):
      params = precision.cast(weights, images.dtype)
      logits: Any = module.apply({"params": params}, images)
      return wide(logits)

  return Net(init, apply)


def inherit(net: Custom, genotype: Genotype, weights: Params) -> Params:
  """The supernet's weights without those of operations that are not chosen.

  They fit mode `search`.
  """
  chosen = _chosen(net, genotype)

  def prune(part: Params, name: str) -> Params:
    if not isinstance(part, dict):
      return part
    if name in chosen:
      return {op: w for op, w in part.items() if op == chosen[name]}
    parts = {k: prune(w, f"{name}/{k}" if name else k) for k, w in part.items()}
    # In a network, a choice whose operation has no weights has no entry.
    return {k: w for k, w in parts.items() if not isinstance(w, dict) or w}

  return prune(weights, "")


def make(
  values: Mapping[str, Any], image: tuple[int, int, int], num_classes: int
) -> Custom:
  """The Spec of the model that space.model names; see `nets.kind.MakeSpec`."""
  reference = values["model"]
  try:
    with blaming(f"space.model={reference}"):
      return trace(user_model.load(reference), image, num_classes)
  except ValueError as error:
    raise ValueError(f"space.model={reference!r}: {error}") from error


# model: FILE.py:NAME or package.module:NAME.
KIND = SpaceKind(
  spec=Custom,
  fields={"model": ""},
  make=make,
  make_supernet=make_supernet,
  make_network=Network,
  inherit=inherit,
  own_init=True,
)
