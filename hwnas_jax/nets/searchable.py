"""Refuses user models that cannot be searched, and says what to change.

A Choice copies its operations, a network runs one of them, and the whole is
compiled at once. Some things that work in an ordinary flax model do not work
then. They are found here while the model is traced.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

import flax.linen as nn

from hwnas_jax.core.types import Params
from hwnas_jax.nets.choice import Choice, label
from hwnas_jax.nets.norm import Mode

# Flax's transforms that a Choice cannot be in, by their names in debug_path,
# and what to do instead.
_TRANSFORMS = {
  "jit": "which would run the first network's choice in every other: leave it"
  " out, all is compiled as a whole",
  "scan": "which hides how often it runs: write a Choice for each call",
  "vmap": "which hides how often it runs: write a Choice for each call",
}
# By id, every module of an operation that has weights: the module as the user
# made it, and the name of the operation.
Users = dict[int, tuple[nn.Module, str]]


def check_transforms(choice: Choice) -> None:
  """Raises ValueError if a Choice is inside nn.jit, nn.scan or nn.vmap."""
  path = choice.scope.debug_path if choice.scope else ()
  for transform, remedy in _TRANSFORMS.items():
    if any(re.search(rf"\b{transform}\(", step) for step in path):
      raise ValueError(
        f"the Choice {label(choice)} is inside nn.{transform}, {remedy}"
      )


def note_use(
  users: Users, name: str, original: nn.Module, copy: nn.Module
) -> None:
  """Adds an operation's modules to `users`.

  Args:
    users: of the operations before; changed in place.
    name: of the operation.
    original: its module, as the user made it.
    copy: the module that ran, which shows which parts have weights.

  Raises:
    ValueError: another operation has one of the modules.
  """
  # A module that an operation has twice shares its weights there, by flax.
  with_weights = {
    id(module): module
    for module, ran in _pairs(original, copy)
    if ran.scope is not None and ran.variables
  }
  for key, module in with_weights.items():
    if key in users:
      raise ValueError(
        f"a module {type(module).__name__} is used in {users[key][1]} and in"
        f" {name}: each gets weights of its own here; make a module for each"
      )
    users[key] = (module, name)


def _pairs(original: Any, ran: Any) -> Iterator[tuple[nn.Module, nn.Module]]:
  """A module and all modules in its fields, each with its copy that ran.

  A field that a `setup` has filled with something else is left out.
  """
  if isinstance(original, nn.Module) and isinstance(ran, nn.Module):
    yield original, ran
    for field in dataclasses.fields(original):
      if field.init and field.name not in ("parent", "name"):
        parts = getattr(original, field.name), getattr(ran, field.name)
        yield from _pairs(*parts)
  elif isinstance(original, (list, tuple)) and isinstance(ran, (list, tuple)):
    for part, other in zip(original, ran, strict=False):
      yield from _pairs(part, other)
  elif isinstance(original, Mapping) and isinstance(ran, Mapping):
    for key in original:
      yield from _pairs(original[key], ran.get(key))


def check_users(users: Users, variables: Params) -> None:
  """Raises ValueError if the model uses an operation's module elsewhere too."""
  for module, name in users.values():
    part = variables.get("params", {}) if module.scope is not None else {}
    for step in module.path if part else ():
      part = part.get(step, {})
    if part:
      raise ValueError(
        f"a module {type(module).__name__} is used in {name} and outside of"
        " choices: each gets weights of its own here; make a module for each"
      )


def check_variables(variables: Params, mode: Mode) -> None:
  """Raises ValueError if the model has state that a network does not keep.

  A supernet keeps "params"; a network keeps "params" and "batch_stats".
  """
  allowed = {"params"} if mode == "search" else {"params", "batch_stats"}
  others = sorted(set(variables) - allowed)
  if others:
    remedy = (
      "normalise with hwnas_jax.nets.norm.BatchNorm(self.mode)"
      if others == ["batch_stats"]
      else "remove the module or the self.variable that makes it"
    )
    raise ValueError(
      f"it keeps {', '.join(others)} in mode {mode!r}, where nothing but"
      f" {' and '.join(sorted(allowed))} is kept: {remedy}"
    )
