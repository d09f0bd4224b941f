"""A user's model with choices in it: its supernet and its networks.

All have the model's own weights under the model's own names: the supernet
those of every operation, `layer_0/conv3/kernel`, a network those of the chosen
ones. They start as the user's modules say.
"""

import inspect
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from hwnas_jax.core.types import ABSENT, Array, Genotype, Params, Paths
from hwnas_jax.nets import choice as choices
from hwnas_jax.nets.norm import Mode
from hwnas_jax.nets.supernet import Net
from hwnas_jax.spaces.custom import Custom


def instance(
  model: Callable[..., nn.Module], mode: Mode, num_classes: int
) -> nn.Module:
  """The user's module; it is given what it takes of `mode`, `num_classes`.

  Raises:
    ValueError: it needs more than that, or is no linen module.
  """
  given = {"mode": mode, "num_classes": num_classes}
  takes = inspect.signature(model).parameters
  missing = [
    name
    for name, p in takes.items()
    if p.default is p.empty
    and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
  ]
  unknown = sorted(set(missing) - set(given))
  if unknown:
    raise ValueError(
      f"it needs {', '.join(unknown)}: give it a default, only mode and"
      " num_classes are known here"
    )
  made = model(**{name: v for name, v in given.items() if name in takes})
  if not isinstance(made, nn.Module):
    raise ValueError(
      f"it makes a {type(made).__name__}, expected a flax.linen module"
    )
  return made


class Outside(nn.Module):
  """The model without its choices: what every architecture runs."""

  model: Callable[..., nn.Module]
  num_classes: int
  mode: Mode

  @nn.compact
  def __call__(self, images: Array) -> Array:
    """Images [B, H, W, C] -> class logits [B, num_classes]."""
    with choices.running(choices.skipping):
      return _shared(self, self.model, self.num_classes)(images)


class Network(nn.Module):
  """The model with one operation a choice, in one of the modes of `norm`.

  Raises:
    ValueError: called, where a choice has none.
  """

  net: Custom
  genotype: Genotype
  mode: Mode

  @nn.compact
  def __call__(
    self, images: Array, drop_rate: Array | None = None
  ) -> tuple[Array, None]:
    """Images [B, H, W, C] -> (class logits, no auxiliary logits).

    drop_rate: None; what is dropped is the model's own affair.
    """
    del drop_rate
    chosen = _chosen(self.net, self.genotype)
    with choices.running(choices.only(chosen)):
      model = _shared(self, self.net.model, self.net.num_classes)
      return model(images), None


def _shared(
  outer: Any, model: Callable[..., nn.Module], num_classes: int
) -> nn.Module:
  """The user's module, whose weights are the outer one's."""
  inner = instance(model, outer.mode, num_classes)
  nn.share_scope(outer, inner)
  return inner


def _chosen(net: Custom, genotype: Genotype) -> dict[str, str]:
  names = net.space().choices
  if len(names) != len(genotype) or ABSENT in genotype:
    raise ValueError(
      f"{net.name} needs an operation at each of its {len(names)} choices, got"
      f" {genotype}"
    )
  return {name: net.ops[op] for name, op in zip(names, genotype, strict=True)}


def make_supernet(net: Custom) -> Net:
  """The supernet of a user's model; weights are the model's own."""
  space = net.space()
  columns = {op: column for column, op in enumerate(space.ops)}
  rows = {name: row for row, name in enumerate(space.choices)}
  module = instance(net.model, "search", net.num_classes)

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
      return module.apply({"params": weights}, images)

  return Net(init, apply)


def inherit(net: Custom, genotype: Genotype, weights: Params) -> Params:
  """The supernet's weights without those of what was not chosen.

  They fit mode `search`.
  """
  chosen = _chosen(net, genotype)

  def prune(part: Params, name: str) -> Params:
    if not isinstance(part, dict):
      return part
    if name in chosen:
      return {op: w for op, w in part.items() if op == chosen[name]}
    parts = {k: prune(w, f"{name}/{k}" if name else k) for k, w in part.items()}
    # A choice whose operation has no weights has no place in a network's.
    return {k: w for k, w in parts.items() if not isinstance(w, dict) or w}

  return prune(weights, "")
